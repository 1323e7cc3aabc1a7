#include "source/kubernetes/tree_json.h"

#include <cctype>

#include <fmt/format.h>

namespace ghostip::source::kubernetes {
namespace {

using api::codec::kNoNode;
using api::codec::NodeId;
using api::codec::NodeKind;
using api::codec::Tree;
using api::codec::TreeNode;

std::size_t skip_digits(std::string_view text, std::size_t at) {
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0) ++at;
    return at;
}

// RFC 8259, section 6.
bool is_json_number(std::string_view text) {
    std::size_t at = text.starts_with('-') ? 1 : 0;
    const std::size_t whole = skip_digits(text, at);
    if (whole == at || (text[at] == '0' && whole > at + 1)) return false;
    at = whole;
    if (at < text.size() && text[at] == '.') {
        const std::size_t end = skip_digits(text, at + 1);
        if (end == at + 1) return false;
        at = end;
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
        const std::size_t end = skip_digits(text, at);
        if (end == at) return false;
        at = end;
    }
    return at == text.size();
}

// Depth is bounded by the reader (kMaxDepth).
void append(std::string& json, const Tree& tree, const TreeNode& node) {
    switch (node.kind) {
        case NodeKind::kNull: json += "null"; return;
        case NodeKind::kBool: json += node.text; return;
        case NodeKind::kNumber:
            json += is_json_number(node.text) ? std::string(node.text) : json_quoted(node.text);
            return;
        case NodeKind::kString: json += json_quoted(node.text); return;
        case NodeKind::kSequence:
        case NodeKind::kMapping: break;
    }
    const bool is_mapping = node.kind == NodeKind::kMapping;
    json += is_mapping ? '{' : '[';
    for (NodeId at = node.first; at != kNoNode; at = tree.node(at).next) {
        if (at != node.first) json += ',';
        if (is_mapping) json.append(json_quoted(tree.node(at).key)) += ':';
        append(json, tree, tree.node(at));
    }
    json += is_mapping ? '}' : ']';
}

}  // namespace

std::string json_quoted(std::string_view text) {
    std::string quoted = "\"";
    for (const char character : text) {
        if (character == '"' || character == '\\')
            (quoted += '\\') += character;
        else if (static_cast<unsigned char>(character) < 0x20)
            quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(character));
        else
            quoted += character;
    }
    return quoted += '"';
}

std::string to_json(const Tree& tree, const TreeNode& node) {
    std::string json;
    append(json, tree, node);
    return json;
}

}  // namespace ghostip::source::kubernetes
