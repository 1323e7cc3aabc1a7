// One object's text as a tree: what both readers fill and the decoder walks.
//
// A tree is reused from object to object: clear() keeps its memory. Views that it hands out are valid until clear(),
// those of a JSON object until the reader goes on. Single-threaded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <vector>

namespace ghostip::api::codec {

// Limits on one object. The API server takes requests of 3 MiB, etcd values of 1.5 MiB; the largest EndpointSlice
// (1,000 endpoints) has about 20,000 nodes. They bound what a hostile file can make us hold.
inline constexpr std::size_t kMaxObjectBytes = std::size_t{16} << 20U;
inline constexpr std::size_t kMaxNodes = 1'000'000;
inline constexpr int kMaxDepth = 100;

enum class NodeKind : std::uint8_t { kNull, kBool, kNumber, kString, kSequence, kMapping };

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xffffffffU;

struct TreeNode {
    NodeKind kind = NodeKind::kNull;
    int line = 0;                // YAML only; ask Tree::line_of()
    std::string_view key = {};   // in a mapping
    std::string_view text = {};  // kString: the value. kBool: "true" or "false". kNumber: decimal if it is an integer
    NodeId first = kNoNode;      // first child
    NodeId last = kNoNode;
    NodeId next = kNoNode;  // next sibling
};

class Tree {
  public:
    Tree();
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;

    void clear();
    // Copies the text into the tree's memory.
    [[nodiscard]] std::string_view keep(std::string_view text);
    // What the other has, in memory of its own.
    void copy(const Tree& other);
    // The first node, with parent kNoNode, is the root. Children keep the order in which they are added. The views must
    // live as long as the tree's content; see keep().
    NodeId add(NodeId parent, std::string_view key, const TreeNode& node);
    // For JSON, whose parser gives no positions: the text that the tree was read from, with nodes added in the order in
    // which their values stand in it. Lines are counted when somebody asks.
    void set_json(std::string_view text, int first_line);

    [[nodiscard]] bool empty() const { return nodes_.empty(); }
    // The limits are reached: the object must be refused.
    [[nodiscard]] bool full() const { return nodes_.size() >= kMaxNodes || kept_bytes_ > kMaxObjectBytes; }
    [[nodiscard]] const TreeNode& root() const { return nodes_.front(); }
    [[nodiscard]] const TreeNode& node(NodeId id) const { return nodes_[id]; }
    // The member of a mapping, or null.
    [[nodiscard]] const TreeNode* find(const TreeNode& mapping, std::string_view key) const;
    // A member of the mapping whose key stands there before, or null.
    [[nodiscard]] const TreeNode* find_duplicate(NodeId mapping) const;
    [[nodiscard]] int line_of(const TreeNode& node) const;

  private:
    std::vector<TreeNode> nodes_;
    std::vector<std::byte> first_block_;
    std::pmr::monotonic_buffer_resource text_;
    std::size_t kept_bytes_ = 0;
    std::string_view json_;
    int json_first_line_ = 0;
};

}  // namespace ghostip::api::codec
