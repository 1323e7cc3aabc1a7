#include "api/codec/yaml_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/codec/yaml_scalar.h"
#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using testing::decode_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string pod(std::string_view name) {
    return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + std::string(name) + "\n";
}

TEST(YamlDocuments, AreReadOneAfterTheOther) {
    const auto got = decode_text(
        "# nothing\n---\n" + pod("a") + "---\n---\n# still nothing\n---\n" + pod("b") + "...\n---\n" + pod("c"),
        Format::kYaml);
    EXPECT_THAT(got.keys(), ElementsAre("Pod default/a", "Pod default/b", "Pod default/c"));
    EXPECT_EQ(got.objects[1].line, 11);
    EXPECT_TRUE(got.parsed);
    EXPECT_THAT(got.lines(), IsEmpty());
}

TEST(YamlDocuments, EmptyTextHoldsNothing) {
    for (const char* text : {"", "\n\n", "---\n", "# a\n", "null\n"}) {
        const auto got = decode_text(text, Format::kYaml);
        EXPECT_TRUE(got.parsed) << text;
        EXPECT_THAT(got.lines(), IsEmpty()) << text;
    }
}

TEST(YamlProblems, NameTheLineOfTheValue) {
    const auto got = decode_text(R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 80
    name: a
  - name: b
    port: http
---
apiVersion: v1
kind: Service
metadata: {}
)",
                                 Format::kYaml);
    EXPECT_THAT(got.lines(),
                ElementsAre("f:10: Service default/web: spec.ports[1].port: \"http\": must be a number from 1 to 65535",
                            "f:14: Service: metadata.name: is missing"));
    EXPECT_TRUE(got.parsed);
}

TEST(YamlProblems, AreOneLineWhateverTheFileHolds) {
    const auto got = decode_text("{apiVersion: v1, kind: Pod, metadata: {name: \"a\\nb\\\"c\\x1b\"}}", Format::kYaml);
    ASSERT_EQ(got.problems.size(), 1U);
    EXPECT_THAT(got.problems[0].text(),
                HasSubstr("Pod default/a\\x0ab\\\"c\\x1b: metadata.name: \"a\\x0ab\\\"c\\x1b\": must be"));
}

struct BrokenCase {
    const char* name;
    std::string text;
    std::string problem;
};

TEST(YamlText, ThatDoesNotParseSaysWhere) {
    std::string deep = "a: ";
    for (int i = 0; i < 200; ++i) deep += '[';
    const std::vector<BrokenCase> cases{
        {"unclosed", pod("a") + "---\na: [1\nb: 2\n",
         "f:7: is not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence)"},
        {"tab", pod("a") + "---\na:\n\tb: 1\n",
         "f:7: is not valid YAML: found character that cannot start any token (while scanning for the next token)"},
        {"twice", pod("a") + "---\na: 1\nb: {c: 1,\n  c: 2}\n", "f:8: the key \"c\" is there twice in one mapping"},
        {"twice at the top", pod("a") + "---\na: 1\na: 2\n", "f:7: the key \"a\" is there twice in one mapping"},
        {"alias", pod("a") + "---\na: &x 1\nb: *x\n",
         "f:7: has an alias (*name), which is not supported; write the value out"},
        {"alias as key", pod("a") + "---\na: &x y\n*x : 1\n",
         "f:7: has an alias (*name), which is not supported; write the value out"},
        {"key", pod("a") + "---\n? [a]\n: 1\n", "f:6: has a key that is no text"},
        {"depth", pod("a") + "---\n" + deep, "f:6: an object is nested more than 100 deep"},
        {"undefined alias", pod("a") + "---\nb: *x\n",
         "f:6: has an alias (*name), which is not supported; write the value out"},
    };
    for (const auto& test : cases) {
        const auto got = decode_text(test.text, Format::kYaml);
        EXPECT_FALSE(got.parsed) << test.name;
        EXPECT_THAT(got.lines(), ElementsAre(test.problem)) << test.name;
        // What stands before is good.
        EXPECT_THAT(got.keys(), ElementsAre("Pod default/a")) << test.name;
    }
}

// libyaml looks at bytes far ahead of what it parses, so what stands before may be lost; the line must be right.
TEST(YamlText, ThatIsNoUtf8SaysWhere) {
    std::string text = "# long\n";
    for (int i = 0; i < 5000; ++i) text += "# " + std::to_string(i) + "\n";
    for (const std::size_t chunk : {std::string_view::npos, std::size_t{100}}) {
        const auto got = decode_text(text + "a: \xff\n", Format::kYaml, chunk);
        EXPECT_FALSE(got.parsed);
        EXPECT_THAT(got.lines(), ElementsAre("f:5002: is not valid YAML: invalid leading UTF-8 octet"));
    }
}

TEST(YamlText, LaughsAreRefusedAtTheFirstAlias) {
    std::string text = "a: &a [x,x]\n";
    for (char name = 'b'; name < 'z'; ++name)
        text += std::string(1, name) + ": &" + name + " [*" + static_cast<char>(name - 1) + ", *" +
                static_cast<char>(name - 1) + "]\n";
    const auto got = decode_text(text, Format::kYaml);
    EXPECT_THAT(got.lines(), ElementsAre("f:2: has an alias (*name), which is not supported; write the value out"));
}

TEST(YamlText, ObjectsAreBounded) {
    std::string text = "a: [";
    for (int i = 0; i < 1'000'100; ++i) text += "1,";
    EXPECT_THAT(decode_text(text + "]", Format::kYaml).lines(),
                ElementsAre("f:1: an object has more than 16 MiB or 1000000 values"));
}

TEST(YamlText, ThatIsNoMappingIsNoObject) {
    EXPECT_THAT(decode_text("- a\n", Format::kYaml).lines(),
                ElementsAre("f:1: a list: must be a mapping with apiVersion, kind and metadata"));
    EXPECT_THAT(decode_text("text\n", Format::kYaml).lines(),
                ElementsAre("f:1: \"text\": must be a mapping with apiVersion, kind and metadata"));
}

TEST(YamlText, MayComeInSmallPieces) {
    const std::string text = pod("a") + "---\n" + pod("b");
    for (const std::size_t chunk : {1U, 2U, 7U})
        EXPECT_THAT(decode_text(text, Format::kYaml, chunk).keys(), ElementsAre("Pod default/a", "Pod default/b"));
}

class FailingReader : public ByteReader {
  public:
    Result<std::size_t> read(std::span<char> out) override {
        if (first_) {
            first_ = false;
            return MemoryReader(R"({"apiVersion":"v1",)").read(out);
        }
        return fail("the disk is on fire");
    }

  private:
    bool first_ = true;
};

TEST(Reader, ThatFailsIsReported) {
    for (const Format format : {Format::kYaml, Format::kJson}) {
        FailingReader reader;
        testing::Collected got;
        const auto result = decode(reader, format, "f", got);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().message, "f: cannot be read: the disk is on fire");
        EXPECT_THAT(got.lines(), ElementsAre("f: cannot be read: the disk is on fire"));
    }
}

TEST(YamlPlainScalars, AreTypedAsByKubectl) {
    using codec::NodeKind;
    struct Case {
        const char* text;
        NodeKind kind;
        const char* value;
    };
    for (const Case& test : std::vector<Case>{{"", NodeKind::kNull, ""},
                                              {"~", NodeKind::kNull, ""},
                                              {"null", NodeKind::kNull, ""},
                                              {"NULL", NodeKind::kNull, ""},
                                              {"nULL", NodeKind::kString, "nULL"},
                                              {"true", NodeKind::kBool, "true"},
                                              {"yes", NodeKind::kBool, "true"},
                                              {"On", NodeKind::kBool, "true"},
                                              {"y", NodeKind::kBool, "true"},
                                              {"no", NodeKind::kBool, "false"},
                                              {"OFF", NodeKind::kBool, "false"},
                                              {"N", NodeKind::kBool, "false"},
                                              {"tRue", NodeKind::kString, "tRue"},
                                              {"0", NodeKind::kNumber, "0"},
                                              {"-0", NodeKind::kNumber, "0"},
                                              {"80", NodeKind::kNumber, "80"},
                                              {"+80", NodeKind::kNumber, "80"},
                                              {"-80", NodeKind::kNumber, "-80"},
                                              {"0x50", NodeKind::kNumber, "80"},
                                              {"0o17", NodeKind::kNumber, "15"},
                                              {"017", NodeKind::kNumber, "15"},
                                              {"0b11", NodeKind::kNumber, "3"},
                                              {"1_000", NodeKind::kNumber, "1000"},
                                              {"080", NodeKind::kNumber, "080"},
                                              {"1.5", NodeKind::kNumber, "1.5"},
                                              {".5", NodeKind::kNumber, ".5"},
                                              {"1e+3", NodeKind::kNumber, "1e+3"},
                                              {"1e3", NodeKind::kNumber, "1e3"},
                                              {"10.0.0.1", NodeKind::kString, "10.0.0.1"},
                                              {"1.", NodeKind::kNumber, "1."},
                                              {"-", NodeKind::kString, "-"},
                                              {"0x", NodeKind::kString, "0x"},
                                              {"2026-01-01", NodeKind::kString, "2026-01-01"},
                                              {"80/TCP", NodeKind::kString, "80/TCP"}}) {
        const auto got = codec::read_plain_scalar(test.text);
        EXPECT_EQ(got.kind, test.kind) << test.text;
        EXPECT_EQ(got.text, test.value) << test.text;
    }
}

TEST(YamlScalars, QuotesAndTagsMakeText) {
    const auto got = decode_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {a: \"1\", b: 'yes', c: !!str 2, d: |-\n  3\n}}}",
        Format::kYaml);
    EXPECT_FALSE(got.parsed);  // a block scalar cannot stand in a flow mapping
    const auto good = decode_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"0\"\n  labels:\n    a: \"1\"\n    b: 'yes'\n    c: !!str 2\n  "
        "  d: |-\n      3\n",
        Format::kYaml);
    EXPECT_THAT(good.lines(), IsEmpty());
    EXPECT_THAT(good.keys(), ElementsAre("Pod default/0"));
}

}  // namespace
}  // namespace ghostip::api
