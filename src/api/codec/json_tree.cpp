#include "api/codec/json_tree.h"

#include <simdjson.h>

#include <algorithm>

#include <fmt/format.h>

#include "api/codec/json_walk.h"
#include "api/problem.h"

namespace ghostip::api::codec {
namespace {

class Builder {
  public:
    Builder(Tree& tree, JsonReading& reading) : tree_(tree), reading_(reading) {}

    bool build(simdjson::dom::element element, NodeId parent, std::string_view key, int depth);

  private:
    bool refuse(std::string flaw) {
        reading_.outcome = JsonOutcome::kRefused;
        reading_.flaw = std::move(flaw);
        return false;
    }
    std::string_view number(simdjson::dom::element element);
    bool elements(simdjson::dom::array array, NodeId id, int depth);
    bool members(simdjson::dom::object object, NodeId id, int depth);

    Tree& tree_;
    JsonReading& reading_;
};

bool Builder::build(simdjson::dom::element element, NodeId parent, std::string_view key, int depth) {
    namespace dom = simdjson::dom;
    if (depth > kMaxDepth) return refuse(fmt::format("an object is nested more than {} deep", kMaxDepth));
    if (tree_.full()) return refuse(fmt::format("an object has more than {} values", kMaxNodes));
    TreeNode node;
    switch (element.type()) {
        case dom::element_type::NULL_VALUE: break;
        case dom::element_type::BOOL:
            node.kind = NodeKind::kBool;
            node.text = element.get_bool().value_unsafe() ? "true" : "false";
            break;
        case dom::element_type::STRING:
            node.kind = NodeKind::kString;
            node.text = element.get_string().value_unsafe();
            break;
        case dom::element_type::INT64:
        case dom::element_type::UINT64:
        case dom::element_type::DOUBLE:
            node.kind = NodeKind::kNumber;
            node.text = number(element);
            break;
        case dom::element_type::ARRAY:
            node.kind = NodeKind::kSequence;
            return elements(element.get_array().value_unsafe(), tree_.add(parent, key, node), depth);
        case dom::element_type::OBJECT:
            node.kind = NodeKind::kMapping;
            return members(element.get_object().value_unsafe(), tree_.add(parent, key, node), depth);
    }
    tree_.add(parent, key, node);
    return true;
}

std::string_view Builder::number(simdjson::dom::element element) {
    fmt::memory_buffer digits;
    const auto out = std::back_inserter(digits);
    if (element.is_int64())
        fmt::format_to(out, "{}", element.get_int64().value_unsafe());
    else if (element.is_uint64())
        fmt::format_to(out, "{}", element.get_uint64().value_unsafe());
    else
        fmt::format_to(out, "{}", element.get_double().value_unsafe());
    return tree_.keep({digits.data(), digits.size()});
}

bool Builder::elements(simdjson::dom::array array, NodeId id, int depth) {
    for (const simdjson::dom::element child : array)
        if (!build(child, id, {}, depth + 1)) return false;
    return true;
}

bool Builder::members(simdjson::dom::object object, NodeId id, int depth) {
    for (const simdjson::dom::key_value_pair member : object)
        if (!build(member.value, id, member.key, depth + 1)) return false;
    const TreeNode* twice = tree_.find_duplicate(id);
    if (twice == nullptr) return true;
    reading_.line = tree_.line_of(*twice);
    return refuse(fmt::format("the key \"{}\" is there twice in one mapping", printable(twice->key)));
}

}  // namespace

struct JsonTree::Parser {
    simdjson::dom::parser dom;
};

JsonTree::JsonTree() : parser_(std::make_unique<Parser>()) {}
JsonTree::~JsonTree() = default;

JsonReading JsonTree::read(std::string_view text, int line, Tree& tree) {
    tree.clear();
    JsonReading reading{.line = line};
    simdjson::dom::element element;
    const auto error = parser_->dom.parse(text.data(), text.size(), false).get(element);
    if (error != simdjson::SUCCESS) {
        const JsonFlaw flaw = find_flaw(text);
        const auto newlines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(flaw.offset), '\n');
        reading.outcome = JsonOutcome::kNotJson;
        reading.line += static_cast<int>(newlines);
        reading.flaw = flaw.message.empty() ? simdjson::error_message(error) : flaw.message;
        return reading;
    }
    if (line > 0) tree.set_json(text, line);
    static_cast<void>(Builder(tree, reading).build(element, kNoNode, {}, 0));
    return reading;
}

}  // namespace ghostip::api::codec
