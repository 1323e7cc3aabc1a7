#include "api/codec/field.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace ghostip::api::codec {
namespace {

bool is_plain_key(std::string_view key) {
    return !key.empty() && std::all_of(key.begin(), key.end(), [](char character) {
        return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
               (character >= '0' && character <= '9') || character == '_' || character == '-';
    });
}

}  // namespace

Field Field::member(std::string_view key) const& {
    const TreeNode* found = is_mapping() ? scope_->tree.find(*node_, key) : nullptr;
    return {*scope_, found, this, key, -1};
}

Field Field::mapping(std::string_view key) const& {
    Field found = member(key);
    if (!found.given() || found.is_mapping()) return found;
    found.error("must be a mapping");
    found.node_ = nullptr;
    return found;
}

std::size_t Field::size() const {
    std::size_t count = 0;
    if (!present()) return count;
    for (NodeId at = node_->first; at != kNoNode; at = scope_->tree.node(at).next) ++count;
    return count;
}

std::optional<std::string_view> Field::text() const {
    if (!given()) return std::nullopt;
    if (node_->kind == NodeKind::kString) return node_->text;
    const bool scalar = node_->kind == NodeKind::kBool || node_->kind == NodeKind::kNumber;
    error(scalar ? "must be text; in YAML, put it in quotes" : "must be text");
    return std::nullopt;
}

std::optional<bool> Field::boolean() const {
    if (!given()) return std::nullopt;
    if (node_->kind == NodeKind::kBool) return node_->text == "true";
    error("must be true or false");
    return std::nullopt;
}

std::optional<std::int64_t> Field::number(std::int64_t least, std::int64_t most) const {
    if (!given()) return std::nullopt;
    std::int64_t value = 0;
    const char* const end = node_->text.data() + node_->text.size();
    const bool whole = node_->kind == NodeKind::kNumber &&
                       std::from_chars(node_->text.data(), end, value) == std::from_chars_result{end, std::errc{}};
    if (whole && value >= least && value <= most) return value;
    error(fmt::format("must be a number from {} to {}", least, most));
    return std::nullopt;
}

std::optional<std::string_view> Field::number_text() const {
    if (is_number()) return node_->text;
    if (given()) error("must be a number");
    return std::nullopt;
}

std::string Field::path() const {
    std::string path = parent_ != nullptr ? parent_->path() : std::string();
    if (index_ >= 0) return path + fmt::format("[{}]", index_);
    if (parent_ == nullptr) return path;
    if (!is_plain_key(key_)) return path + fmt::format("[\"{}\"]", printable(key_));
    if (!path.empty()) path += '.';
    return path.append(key_);
}

int Field::line() const {
    for (const Field* field = this; field != nullptr; field = field->parent_)
        if (field->node_ != nullptr) return scope_->tree.line_of(*field->node_);
    return 0;
}

std::string Field::shown_value() const {
    if (!present()) return {};
    switch (node_->kind) {
        case NodeKind::kNull: return "null";
        case NodeKind::kBool:
        case NodeKind::kNumber: return printable(node_->text);
        case NodeKind::kString: return fmt::format("\"{}\"", printable(node_->text));
        case NodeKind::kSequence: return "a list";
        case NodeKind::kMapping: return parent_ == nullptr ? "" : "a mapping";
    }
    return {};
}

void Field::report(Severity severity, std::string message) const {
    if (severity == Severity::kError) scope_->bad = true;
    scope_->sink.problem(
        {std::string(scope_->file), line(), scope_->object, path(), shown_value(), std::move(message), severity});
}

}  // namespace ghostip::api::codec
