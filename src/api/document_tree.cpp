#include "api/document_tree.h"

#include "api/byte_reader.h"
#include "api/codec/json_reader.h"
#include "api/codec/yaml_reader.h"
#include "api/problem.h"

namespace ghostip::api {
namespace {

class FirstDocument : public codec::Documents {
  public:
    FirstDocument(std::string_view file, DuplicateKeys duplicates) : file_(file), duplicates_(duplicates) {}

    void object(const codec::Tree& tree) override {
        if (tree_) return;
        tree_ = std::make_unique<codec::Tree>();
        tree_->copy(tree);
    }
    void list_part(const codec::Tree& tree) override { list_line_ = tree.line_of(tree.root()); }
    void item(const codec::Tree& /*tree*/) override {}
    void end_list() override {}
    [[nodiscard]] Error broken(int line, std::string message) override {
        return {Problem{file_, line, {}, {}, {}, std::move(message), Severity::kError}.text(), 0};
    }
    [[nodiscard]] DuplicateKeys duplicate_keys() const override { return duplicates_; }

    Result<std::unique_ptr<const codec::Tree>> take() {
        if (!tree_ && list_line_ > 0) return broken(list_line_, "is a list of objects; one mapping is expected");
        if (!tree_) return broken(0, "is empty");
        const codec::TreeNode& root = tree_->root();
        if (root.kind != codec::NodeKind::kMapping)
            return broken(tree_->line_of(root), "does not hold a mapping (`key: value`)");
        return std::unique_ptr<const codec::Tree>(std::move(tree_));
    }

  private:
    const std::string file_;
    const DuplicateKeys duplicates_;
    std::unique_ptr<codec::Tree> tree_;
    int list_line_ = 0;
};

}  // namespace

Result<std::unique_ptr<const codec::Tree>> parse_document(std::string_view text, std::string_view file,
                                                          DuplicateKeys duplicates) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    Result<void> json_flaw;
    if (begin != std::string_view::npos && text[begin] == '{') {
        FirstDocument document(file, duplicates);
        MemoryReader reader(text);
        json_flaw = codec::read_json(reader, document);
        if (json_flaw) return document.take();
    }
    FirstDocument document(file, duplicates);
    MemoryReader reader(text);
    const auto read = codec::read_yaml(reader, document);
    if (!read && !json_flaw) return json_flaw.error();  // who begins with a { means JSON
    RETURN_IF_ERROR(read);
    return document.take();
}

}  // namespace ghostip::api
