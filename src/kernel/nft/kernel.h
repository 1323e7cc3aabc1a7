// The kernel's nf_tables as a small interface: commit a batch, read what is there. linux.h talks to the real one,
// memory.h is its twin in memory; who uses the interface cannot tell them apart.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
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

// A set's elements as they were read.
struct Dump {
    Elements elements;
    // Nothing was changed meanwhile. If false, elements may be missing or stand there twice.
    bool consistent = true;
};

// What was looked up and found.
struct Count {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;  // from the network header on

    friend bool operator==(const Count&, const Count&) = default;
};

// The same with what each element has counted since it was added.
struct CountedDump {
    Elements elements;
    std::vector<Count> counts;  // of elements.at() of the same index
    bool consistent = true;
};

// What a table holds, but for elements.
struct Contents {
    std::map<std::string, Chain> chains;  // rules without text
    // A set that this program could not have declared has no key. Anonymous ones belong to a rule and go with it.
    std::map<std::string, Set> sets;
    std::uint32_t flags = 0;  // of the table: 1 = dormant, its chains see no packets

    friend bool operator==(const Contents&, const Contents&) = default;
};

// Also sets the flags of a table that is there.
struct AddTable {
    std::uint32_t flags = 0;
};
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
// With its rules; refused while others jump to it.
struct DeleteChain {
    std::string chain;
};
// With its elements; refused while rules look into it.
struct DeleteSet {
    std::string set;
};
struct AddElements {
    Elements elements;
};
struct DeleteElements {
    Elements elements;
};
// The element that matches every key, which only others add.
struct DeleteCatchAll {
    std::string set;
};

using Operation = std::variant<AddTable, DeleteTable, AddSet, AddChain, FlushChain, AddRule, DeleteChain, DeleteSet,
                               AddElements, DeleteElements, DeleteCatchAll>;

// `element of map endpoints`, `rule in chain pick-8: …`: for errors.
[[nodiscard]] std::string describe(const Operation& operation);

// Operations on one table, applied all or not at all, in this order.
struct Batch {
    Table table;
    std::vector<Operation> operations;

    [[nodiscard]] bool empty() const { return operations.empty(); }
};

// What of a batch the kernel did not take.
struct Refusal {
    std::optional<std::size_t> operation;  // index into Batch::operations; absent: the batch as such
    std::optional<std::size_t> element;    // which of the operation's elements, if the kernel says so
};

class Kernel {
  public:
    virtual ~Kernel() = default;
    // On an error nothing of the batch was done; the message names the operation that was refused, and `refusal`, if
    // given, says where it is.
    [[nodiscard]] virtual Result<void> commit(const Batch& batch, Refusal* refusal = nullptr) = 0;
    // The whole batch is checked by the kernel as commit would, and then not done.
    [[nodiscard]] virtual Result<void> check(const Batch& batch) = 0;
    // All present elements of a set or map; key_bytes and data_bytes say how it was declared.
    [[nodiscard]] virtual Result<Dump> read(const Table& table, const Set& set) = 0;
    // The same for a set that counts.
    [[nodiscard]] virtual Result<CountedDump> read_counts(const Table& table, const Set& set) = 0;
    // Those of the given keys that are present, with their data; the data of `keys` is not looked at.
    [[nodiscard]] virtual Result<Elements> look_up(const Table& table, const Set& set, const Elements& keys) = 0;
    // Is there an element that matches every key? Dumps and look-ups do not show it.
    [[nodiscard]] virtual Result<bool> has_catch_all(const Table& table, const Set& set) = 0;
    // Chains, rules and declarations; absent if there is no such table.
    [[nodiscard]] virtual Result<std::optional<Contents>> contents(const Table& table) = 0;
    [[nodiscard]] virtual Result<bool> exists(const Table& table) = 0;
    // Returns when no packet is any more in rules that were replaced before: it takes a moment. A commit does not wait
    // for them. Where the kernel cannot tell (nohz_full, one processor), after a time that is almost surely enough.
    virtual void wait_for_packets() {}
    // The netlink port id that the kernel stamps on notifications of what is committed here; 0 = there is none.
    [[nodiscard]] virtual std::uint32_t port_id() const { return 0; }
};

}  // namespace ghostip::kernel::nft
