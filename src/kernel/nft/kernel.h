// The kernel's nf_tables as a small interface: commit a batch, read a set. linux.h talks to the real one, memory.h is
// its twin in memory; who uses the interface cannot tell them apart.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "kernel/nft/model.h"

namespace ghostip::kernel::nft {

// Elements of one set, back to back: key bytes, then data bytes if it is a map. Fields padded as in the kernel.
struct Elements {
    std::string set;
    std::uint16_t key_bytes = 0;
    std::uint16_t data_bytes = 0;  // 0: a set
    std::vector<std::uint8_t> bytes;

    [[nodiscard]] std::size_t stride() const { return std::size_t{key_bytes} + data_bytes; }
    [[nodiscard]] std::size_t count() const { return stride() == 0 ? 0 : bytes.size() / stride(); }
    [[nodiscard]] std::span<const std::uint8_t> at(std::size_t index) const {
        return {bytes.data() + index * stride(), stride()};
    }
};

struct AddTable {};
struct DeleteTable {};
struct AddSet {
    Set set;
};
struct AddChain {
    std::string name;
    std::optional<BaseChain> base;
};
struct FlushChain {
    std::string chain;
};
struct AddRule {
    std::string chain;
    Rule rule;
};
struct AddElements {
    Elements elements;
};
struct DeleteElements {
    Elements elements;
};

using Operation =
    std::variant<AddTable, DeleteTable, AddSet, AddChain, FlushChain, AddRule, AddElements, DeleteElements>;

// `element of map endpoints`, `rule in chain pick-8: …`: for errors.
[[nodiscard]] std::string describe(const Operation& operation);

// Operations on one table, applied all or not at all, in this order.
struct Batch {
    Table table;
    std::vector<Operation> operations;

    [[nodiscard]] bool empty() const { return operations.empty(); }
};

class Kernel {
  public:
    virtual ~Kernel() = default;
    // On an error nothing of the batch was done; the message names the operation that was refused.
    [[nodiscard]] virtual Result<void> commit(const Batch& batch) = 0;
    // The whole batch is checked by the kernel as commit would, and then not done.
    [[nodiscard]] virtual Result<void> check(const Batch& batch) = 0;
    // All present elements of a set or map; key_bytes and data_bytes say how it was declared.
    [[nodiscard]] virtual Result<Elements> read(const Table& table, const Set& set) = 0;
    [[nodiscard]] virtual Result<bool> exists(const Table& table) = 0;
};

}  // namespace ghostip::kernel::nft
