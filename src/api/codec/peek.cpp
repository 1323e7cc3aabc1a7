#include "api/codec/peek.h"

#include <charconv>

namespace ghostip::api::codec {

int peek_number(const Tree& tree, const TreeNode* mapping, std::string_view key) {
    const TreeNode* node = peek(tree, mapping, key);
    if (node == nullptr || node->kind != NodeKind::kNumber) return 0;
    int value = 0;
    const char* const end = node->text.data() + node->text.size();
    return std::from_chars(node->text.data(), end, value) == std::from_chars_result{end, std::errc{}} ? value : 0;
}

}  // namespace ghostip::api::codec
