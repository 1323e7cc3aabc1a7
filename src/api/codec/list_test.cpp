// Lists: as kubectl writes them, as the API gives them. JSON is also YAML, so each text goes through both readers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using testing::decode_text;
using ::testing::ElementsAreArray;

struct ListCase {
    const char* name;
    const char* text;
    std::vector<std::string> keys;
    std::vector<std::string> problems;
};

void PrintTo(const ListCase& test, std::ostream* out) { *out << test.name; }

class Lists : public ::testing::TestWithParam<std::tuple<ListCase, Format>> {};

TEST_P(Lists, AreReadItemByItem) {
    const auto& [test, format] = GetParam();
    const auto got = decode_text(test.text, format);
    EXPECT_TRUE(got.parsed);
    EXPECT_THAT(got.keys(), ElementsAreArray(test.keys));
    EXPECT_THAT(got.lines(), ElementsAreArray(test.problems));
}

const std::vector<ListCase> kCases{
    {"KindFirst",
     R"({"kind":"List","apiVersion":"v1","metadata":{},"items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}},{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}]})",
     {"Pod default/a", "Node n"},
     {}},
    {"KindLast",
     R"({"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}],"kind":"List","metadata":{"resourceVersion":""}})",
     {"Pod default/a"},
     {}},
    {"Typed",
     R"({"kind":"ServiceList","apiVersion":"v1","items":[{"metadata":{"name":"a","namespace":"x"}},{"metadata":{"name":"b"}}]})",
     {"Service x/a", "Service default/b"},
     {}},
    {"TypedSlices",
     R"({"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{"metadata":{"name":"a"},"addressType":"IPv4"}]})",
     {"EndpointSlice default/a"},
     {}},
    {"TypedSaysItAgain",
     R"({"kind":"NodeList","apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}]})",
     {"Node a"},
     {}},
    {"TypedKindTooLate",
     R"({"apiVersion":"networking.k8s.io/v1","items":[{"metadata":{"name":"a"}}],"kind":"ServiceCIDRList"})",
     {},
     {"f:1: a: kind: is missing; only items of a typed list that gives its kind before them may leave it out"}},
    {"Empty", R"({"kind":"List","apiVersion":"v1","items":[]})", {}, {}},
    {"BadItem",
     R"({"kind":"List","apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}},{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}]})",
     {"Pod default/a"},
     {"f:1: Secret s: kind: \"Secret\": is not a kind that ghostip reads; it reads Service, EndpointSlice, Node, "
      "ServiceCIDR, Pod, Namespace"}},
    {"ItemIsText",
     R"({"kind":"List","apiVersion":"v1","items":["x",null]})",
     {},
     {"f:1: \"x\": must be a mapping with apiVersion, kind and metadata",
      "f:1: null: must be a mapping with apiVersion, kind and metadata"}},
    {"UnknownList",
     R"({"kind":"SecretList","apiVersion":"v1","items":[{"metadata":{"name":"a"}}]})",
     {},
     {"f:1: SecretList: kind: \"SecretList\": is not a kind that ghostip reads; it reads List and the lists of "
      "Service, EndpointSlice, Node, ServiceCIDR, Pod, Namespace"}},
    {"KindOfTwoLines",
     R"({"kind":"a\nList","apiVersion":"v1","items":[]})",
     {},
     {"f:1: a\\x0aList: kind: \"a\\x0aList\": is not a kind that ghostip reads; it reads List and the lists of "
      "Service, "
      "EndpointSlice, Node, ServiceCIDR, Pod, Namespace"}},
    {"WrongVersion",
     R"({"kind":"EndpointSliceList","apiVersion":"v1","items":[]})",
     {},
     {"f:1: EndpointSliceList: apiVersion: \"v1\": must be \"discovery.k8s.io/v1\" for a EndpointSliceList"}},
    {"NoKind", R"({"apiVersion":"v1","items":[]})", {}, {"f:1: kind: is missing"}},
    {"NoVersion", R"({"kind":"List","items":[]})", {}, {"f:1: List: apiVersion: is missing"}},
    {"ItemsTwice",
     R"({"kind":"List","apiVersion":"v1","items":[],"items":[]})",
     {},
     {"f:1: List: items: a list: is given twice"}},
    {"KindTwice",
     R"({"kind":"List","apiVersion":"v1","items":[],"kind":"List"})",
     {},
     {"f:1: List: kind: \"List\": is given twice"}},
    {"ItemsOfAnObject",
     R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"items":[{}]})",
     {"Pod default/a"},
     {}},
    {"ListInList",
     R"({"kind":"List","apiVersion":"v1","items":[{"kind":"List","apiVersion":"v1","items":[]}]})",
     {},
     {"f:1: List: kind: \"List\": is not a kind that ghostip reads; it reads Service, EndpointSlice, Node, "
      "ServiceCIDR, Pod, Namespace"}},
};

INSTANTIATE_TEST_SUITE_P(
    Codec, Lists, ::testing::Combine(::testing::ValuesIn(kCases), ::testing::Values(Format::kYaml, Format::kJson)),
    [](const auto& test) {
        return std::string(std::get<0>(test.param).name) + (std::get<1>(test.param) == Format::kYaml ? "Yaml" : "Json");
    });

TEST(YamlLists, OfKubectlAreRead) {
    const auto got = decode_text(R"(apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata: {name: a, namespace: x}
- apiVersion: v1
  kind: Service
  metadata: {name: b, namespace: x}
  spec: {type: [1]}
kind: List
metadata:
  resourceVersion: ""
---
apiVersion: v1
kind: Pod
metadata: {name: p}
)",
                                 Format::kYaml);
    EXPECT_THAT(got.keys(), ElementsAreArray({"Service x/a", "Pod default/p"}));
    EXPECT_THAT(got.lines(), ElementsAreArray({"f:9: Service x/b: spec.type: a list: must be text"}));
}

}  // namespace
}  // namespace ghostip::api
