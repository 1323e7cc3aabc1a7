// Values of a tree without a word about those that are absent or of another type: for descriptions, and for what is
// read though nobody could be told of an error.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/codec/tree.h"

namespace ghostip::api::codec {

// The member of a mapping, or null; also if there is no mapping.
[[nodiscard]] inline const TreeNode* peek(const Tree& tree, const TreeNode* mapping, std::string_view key) {
    return mapping != nullptr && mapping->kind == NodeKind::kMapping ? tree.find(*mapping, key) : nullptr;
}

// Empty if there is none.
[[nodiscard]] inline std::string_view peek_text(const Tree& tree, const TreeNode* mapping, std::string_view key) {
    const TreeNode* node = peek(tree, mapping, key);
    return node != nullptr && node->kind == NodeKind::kString ? node->text : std::string_view();
}

// 0 if there is none, or it is none that an int holds.
[[nodiscard]] int peek_number(const Tree& tree, const TreeNode* mapping, std::string_view key);

}  // namespace ghostip::api::codec
