// A place in an object: its value, or that there is none, and the path to it. What decoders read objects through.
//
// Each reading reports a value of the wrong type or range and then behaves as if it were absent, so that one pass finds
// every problem of an object. A Field points at the one it was taken from, which must outlive it: keep them in locals.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/codec/tree.h"
#include "api/decode.h"

namespace ghostip::api::codec {

// What the fields of one object share.
struct ObjectScope {
    const Tree& tree;
    std::string_view file;
    DecodeSink& sink;
    std::string object = {};  // for problems: `Service default/web`
    bool bad = false;         // there was an error
};

class Field {
  public:
    // The object as a whole: a node of the scope's tree.
    static Field root(ObjectScope& scope, const TreeNode& node) { return {scope, &node, nullptr, {}, -1}; }
    static Field root(ObjectScope& scope) { return root(scope, scope.tree.root()); }

    [[nodiscard]] Field member(std::string_view key) const&;
    Field member(std::string_view key) && = delete;
    // The same; a value that is no mapping is an error.
    [[nodiscard]] Field mapping(std::string_view key) const&;
    Field mapping(std::string_view key) && = delete;

    [[nodiscard]] bool present() const { return node_ != nullptr; }  // perhaps as null
    [[nodiscard]] bool given() const { return present() && node_->kind != NodeKind::kNull; }
    [[nodiscard]] bool is_number() const { return present() && node_->kind == NodeKind::kNumber; }
    [[nodiscard]] bool is_mapping() const { return present() && node_->kind == NodeKind::kMapping; }
    [[nodiscard]] bool is_empty_list() const { return present() && node_->kind == NodeKind::kSequence && size() == 0; }
    [[nodiscard]] std::string_view key() const { return key_; }
    // For what is passed on as it stands, whatever it is; null if absent.
    [[nodiscard]] const TreeNode* node() const { return node_; }
    // How many children it has.
    [[nodiscard]] std::size_t size() const;

    // Each of these gives nothing for a value that is absent, null, or (then with an error) wrong.
    [[nodiscard]] std::optional<std::string_view> text() const;
    [[nodiscard]] std::optional<bool> boolean() const;
    [[nodiscard]] std::optional<std::int64_t> number(std::int64_t least, std::int64_t most) const;
    // Of any number, as it stands (integers in decimal).
    [[nodiscard]] std::optional<std::string_view> number_text() const;

    // One of the named values; `fallback` if absent or empty (Go's zero value).
    template <typename T>
    [[nodiscard]] T choice(std::initializer_list<std::pair<std::string_view, T>> choices, T fallback) const;

    // Calls visit(const Field&) with each element of a sequence; anything else that is given is an error.
    template <typename Visit>
    void each(Visit&& visit) const;
    // The same with the members of a mapping.
    template <typename Visit>
    void each_member(Visit&& visit) const;

    void error(std::string message) const { report(Severity::kError, std::move(message)); }
    void notice(std::string message) const { report(Severity::kNotice, std::move(message)); }
    [[nodiscard]] std::string path() const;
    [[nodiscard]] int line() const;

  private:
    Field(ObjectScope& scope, const TreeNode* node, const Field* parent, std::string_view key, int index)
        : scope_(&scope), node_(node), parent_(parent), key_(key), index_(index) {}

    void report(Severity severity, std::string message) const;
    [[nodiscard]] std::string shown_value() const;

    ObjectScope* scope_;
    const TreeNode* node_;  // null: absent
    const Field* parent_;
    std::string_view key_;
    int index_;  // in a sequence, else -1
};

template <typename T>
T Field::choice(std::initializer_list<std::pair<std::string_view, T>> choices, T fallback) const {
    const auto value = text();
    if (!value || value->empty()) return fallback;
    std::string names;
    for (const auto& [name, meaning] : choices) {
        if (name == *value) return meaning;
        (names += names.empty() ? "" : ", ") += name;
    }
    error("must be one of " + names);
    return fallback;
}

template <typename Visit>
void Field::each(Visit&& visit) const {
    if (!given()) return;
    if (node_->kind != NodeKind::kSequence) return error("must be a list");
    int index = 0;
    for (NodeId at = node_->first; at != kNoNode; at = scope_->tree.node(at).next)
        visit(Field(*scope_, &scope_->tree.node(at), this, {}, index++));
}

template <typename Visit>
void Field::each_member(Visit&& visit) const {
    if (!given()) return;
    if (node_->kind != NodeKind::kMapping) return error("must be a mapping");
    for (NodeId at = node_->first; at != kNoNode; at = scope_->tree.node(at).next)
        visit(Field(*scope_, &scope_->tree.node(at), this, scope_->tree.node(at).key, -1));
}

}  // namespace ghostip::api::codec
