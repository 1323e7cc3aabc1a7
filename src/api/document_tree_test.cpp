#include "api/document_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::api {
namespace {

using ::testing::HasSubstr;

std::string flaw(std::string_view text, DuplicateKeys duplicates = DuplicateKeys::kRefuse) {
    const auto tree = parse_document(text, "f", duplicates);
    return tree ? std::string() : tree.error().message;
}

std::string member(std::string text, std::string_view key) {
    const auto tree = parse_document(text, "f");
    if (!tree) return tree.error().message;
    text.assign(text.size(), '#');  // the tree does not need it any more
    const auto* found = (*tree)->find((*tree)->root(), key);
    return found == nullptr ? "absent" : fmt::format("{}@{}", found->text, (*tree)->line_of(*found));
}

TEST(DocumentTree, ReadsYamlAndJson) {
    EXPECT_EQ(member("# c\na: x\nkind: Config\n", "kind"), "Config@3");
    EXPECT_EQ(member("---\n---\na: x\n---\na: y\n", "a"), "x@3");
    EXPECT_EQ(member("{\n\"a\": 1,\n\"kind\": \"\\u0043onfig\"}\n", "kind"), "Config@3");
    EXPECT_EQ(member("{a: x, kind: Config}", "kind"), "Config@1") << "YAML in braces";
}

TEST(DocumentTree, SaysWhatIsWrong) {
    EXPECT_EQ(flaw(""), "f: is empty");
    EXPECT_EQ(flaw("# nothing\n"), "f: is empty");
    EXPECT_THAT(flaw("\n- a\n"), HasSubstr("f:2: does not hold a mapping"));
    EXPECT_THAT(flaw("a: [\n"), HasSubstr("f:"));
    EXPECT_THAT(flaw("{\"a\": 1,\n"), HasSubstr("is not valid JSON"));
    EXPECT_THAT(flaw("kind: List\nitems: []\n"), HasSubstr("is a list of objects"));
}

TEST(DocumentTree, KeepsDuplicatesOnlyWhereTold) {
    for (const char* text : {"a: 1\na: 2\n", "{\"a\": 1,\n\"a\": 2}"}) {
        EXPECT_THAT(flaw(text), HasSubstr("f:2: the key \"a\" is there twice")) << text;
        const auto tree = parse_document(text, "f", DuplicateKeys::kKeep);
        ASSERT_TRUE(tree) << text;
        EXPECT_NE((*tree)->find_duplicate(0), nullptr) << text;
    }
}

}  // namespace
}  // namespace ghostip::api
