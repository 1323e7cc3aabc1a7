#include "api/codec/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "api/codec/json_walk.h"
#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using testing::decode_text;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string pod(std::string_view name) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}"}}}})", name);
}

TEST(JsonText, MayHoldSeveralObjects) {
    const auto got = decode_text("\xef\xbb\xbf " + pod("a") + pod("b") + "\n\n" + pod("c") + "\n", Format::kJson);
    EXPECT_THAT(got.keys(), ElementsAre("Pod default/a", "Pod default/b", "Pod default/c"));
    EXPECT_EQ(got.objects[2].line, 3);
    EXPECT_TRUE(got.parsed);
}

TEST(JsonText, MayComeInSmallPieces) {
    const std::string text = fmt::format(
        "{{\"kind\":\"List\",\"apiVersion\":\"v1\", \"items\" : [ {} , {}\n], \"x\\\"]}}\":\"]}}\\\\\"}} {}", pod("a"),
        pod("b"), pod("c"));
    for (const std::size_t chunk : {1U, 2U, 3U, 7U, 50U}) {
        const auto got = decode_text(text, Format::kJson, chunk);
        EXPECT_THAT(got.keys(), ElementsAre("Pod default/a", "Pod default/b", "Pod default/c")) << chunk;
        EXPECT_THAT(got.lines(), IsEmpty());
        EXPECT_TRUE(got.parsed);
    }
}

TEST(JsonText, BracketsInsideOfStringsAreText) {
    const auto got = decode_text(R"({"a":"}{\"]\\","apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}})" + pod("b"),
                                 Format::kJson);
    EXPECT_THAT(got.keys(), ElementsAre("Pod default/a", "Pod default/b"));
}

TEST(JsonText, EscapesAreRead) {
    const auto got =
        decode_text(R"({"apiVersion":"v1","k\u0069nd":"P\u006fd","metadata":{"name":"\u0061"}})", Format::kJson);
    EXPECT_THAT(got.keys(), ElementsAre("Pod default/a"));
}

TEST(JsonText, LargerThanTheWindowIsRead) {
    const std::string text = fmt::format(R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"a"}},"spec":"{}"}})",
                                         std::string(3'000'000, 'x')) +
                             pod("b");
    const auto got = decode_text(text, Format::kJson);
    EXPECT_THAT(got.keys(), ElementsAre("Pod default/a", "Pod default/b"));
}

TEST(JsonProblems, NameTheLineOfTheValue) {
    const auto got = decode_text(R"(
{"apiVersion":"v1","kind":"List","items":[
  {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "labels": {"a": "1", "b": "2"}},
    "spec": {
      "clusterIPs": ["10.0.0.1"],
      "ports": [
        {"name": "a", "port": 80},
        {
          "name": "b",
          "port": "http"
        }
      ]
    }
  },
  {"apiVersion":"v1","kind":"Service",
   "metadata":{}}
]})",
                                 Format::kJson);
    EXPECT_THAT(got.lines(),
                ElementsAre("f:13: Service default/web: spec.ports[1].port: \"http\": must be a number from 1 to 65535",
                            "f:19: Service: metadata.name: is missing"));
    EXPECT_TRUE(got.parsed);
}

struct BrokenCase {
    const char* name;
    std::string text;
    std::string problem;
};

TEST(JsonText, ThatDoesNotParseSaysWhere) {
    std::string deep = "{\"a\":";
    for (int i = 0; i < 200; ++i) deep += '[';
    for (int i = 0; i < 200; ++i) deep += ']';
    const std::string in_list = R"({"apiVersion":"v1","kind":"List","items":[)" + pod("a");
    const std::vector<BrokenCase> cases{
        {"half an object", pod("a") + "\n{\"a\":\n[1,",
         "f:3: is not valid JSON: the text ends inside of what begins in line 2"},
        {"half a list", in_list + ",\n", "f:2: is not valid JSON: the text ends inside of what begins in line 2"},
        {"half a string", pod("a") + "{\"a", "f:1: is not valid JSON: the text ends inside of what begins in line 1"},
        {"no comma", pod("a") + "\n{\"a\":1\n\"b\":2}", "f:3: is not valid JSON: a , or } is expected here"},
        {"no comma inside", pod("a") + "\n{\"x\":{\"a\":1\n\"b\":2}}",
         "f:3: is not valid JSON: a , or } is expected here"},
        {"comma at the end", pod("a") + "\n{\"x\":[1,\n]}", "f:3: is not valid JSON: a value is expected here"},
        {"comma behind the last item", in_list + ",\n]}", "f:2: is not valid JSON: an object is expected here"},
        {"comma behind the last member", in_list + "],\n}", "f:2: is not valid JSON: a key in quotes is expected here"},
        {"no comma before items", pod("a") + "{\"kind\":\"List\"\n\"items\":[]}",
         "f:2: is not valid JSON: a , or } is expected here"},
        {"no colon", pod("a") + "{\"kind\" \"List\"}", "f:1: is not valid JSON: a : is expected here"},
        {"wrong word", pod("a") + "\n{\"a\":\n nul}", "f:3: is not valid JSON: \"nul\" is not a value"},
        {"a list at the top", pod("a") + "\n[]", "f:2: is not valid JSON: an object is expected here"},
        {"rubbish", pod("a") + "\nx", "f:2: is not valid JSON: an object is expected here"},
        {"twice", pod("a") + "\n{\"a\":1,\n\"a\":2}", "f:3: the key \"a\" is there twice in one mapping"},
        {"depth", pod("a") + "\n" + deep + "}", "f:2: an object is nested more than 100 deep"},
        {"no utf-8", pod("a") + "\n{\"a\":\"\xff\"}", "f:2: is not valid JSON: The input is not valid UTF-8"},
        {"too large", pod("a") + "\n{\"a\":\"" + std::string(17U << 20U, 'x') + "\"}",
         "f:2: an object has more than 16 MiB"},
    };
    for (const auto& test : cases) {
        const auto got = decode_text(test.text, Format::kJson);
        EXPECT_FALSE(got.parsed) << test.name;
        EXPECT_THAT(got.lines(), ElementsAre(test.problem)) << test.name;
        EXPECT_THAT(got.keys(), ElementsAre("Pod default/a")) << test.name;
    }
}

TEST(JsonText, ThatIsEmptyIsNoJson) {
    for (const char* text : {"", " \n"}) {
        const auto got = decode_text(text, Format::kJson);
        EXPECT_FALSE(got.parsed);
        EXPECT_THAT(got.lines(), ElementsAre("f: is empty"));
    }
}

TEST(JsonWalk, FindsValuesByTheirNumber) {
    const std::string_view text = R"( {"a": [10, "x,\"]", {}], "b": null} )";
    const std::vector<std::string_view> starts{"{\"a\"", "[10", "10", "\"x,", "{}", "null"};
    for (std::size_t i = 0; i < starts.size(); ++i)
        EXPECT_EQ(text.substr(codec::find_value(text, i), starts[i].size()), starts[i]);
    EXPECT_EQ(codec::find_value(text, starts.size()), text.size());
}

TEST(JsonWalk, FindsNoFlawInGoodText) {
    for (const char* text : {"{}", " [ ] ", R"({"a":[1,-2.5e3,true,false,null,"\u00e9\n"]})", "\"x\"", "7"})
        EXPECT_EQ(codec::find_flaw(text).message, "") << text;
}

}  // namespace
}  // namespace ghostip::api
