#include "api/codec/tree.h"

#include <algorithm>
#include <unordered_set>

#include "api/codec/json_walk.h"

namespace ghostip::api::codec {
namespace {

constexpr std::size_t kFirstBlock = std::size_t{64} << 10U;
// Below this, comparing each pair is cheaper than hashing.
constexpr int kFewMembers = 16;

}  // namespace

Tree::Tree() : first_block_(kFirstBlock), text_(first_block_.data(), first_block_.size()) {}

void Tree::clear() {
    nodes_.clear();
    text_.release();
    kept_bytes_ = 0;
    json_ = {};
}

std::string_view Tree::keep(std::string_view text) {
    if (text.empty()) return {};
    auto* copy = static_cast<char*>(text_.allocate(text.size(), 1));
    std::copy(text.begin(), text.end(), copy);
    kept_bytes_ += text.size();
    return {copy, text.size()};
}

void Tree::copy(const Tree& other) {
    clear();
    nodes_ = other.nodes_;
    for (TreeNode& node : nodes_) {
        node.key = keep(node.key);
        node.text = keep(node.text);
    }
    json_ = keep(other.json_);
    json_first_line_ = other.json_first_line_;
}

NodeId Tree::add(NodeId parent, std::string_view key, const TreeNode& node) {
    const auto id = static_cast<NodeId>(nodes_.size());
    nodes_.push_back(node);
    nodes_.back().key = key;
    if (parent == kNoNode) return id;
    TreeNode& above = nodes_[parent];
    if (above.first == kNoNode)
        above.first = id;
    else
        nodes_[above.last].next = id;
    above.last = id;
    return id;
}

void Tree::set_json(std::string_view text, int first_line) {
    json_ = text;
    json_first_line_ = first_line;
}

const TreeNode* Tree::find(const TreeNode& mapping, std::string_view key) const {
    for (NodeId at = mapping.first; at != kNoNode; at = nodes_[at].next)
        if (nodes_[at].key == key) return &nodes_[at];
    return nullptr;
}

const TreeNode* Tree::find_duplicate(NodeId mapping) const {
    int members = 0;
    for (NodeId at = nodes_[mapping].first; at != kNoNode; at = nodes_[at].next) {
        if (++members > kFewMembers) break;
        for (NodeId before = nodes_[mapping].first; before != at; before = nodes_[before].next)
            if (nodes_[before].key == nodes_[at].key) return &nodes_[at];
    }
    if (members <= kFewMembers) return nullptr;
    std::unordered_set<std::string_view> keys;
    for (NodeId at = nodes_[mapping].first; at != kNoNode; at = nodes_[at].next)
        if (!keys.insert(nodes_[at].key).second) return &nodes_[at];
    return nullptr;
}

int Tree::line_of(const TreeNode& node) const {
    if (json_.empty()) return node.line;
    const std::size_t offset = find_value(json_, static_cast<std::size_t>(&node - nodes_.data()));
    return json_first_line_ +
           static_cast<int>(std::count(json_.begin(), json_.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

}  // namespace ghostip::api::codec
