// The twin of linux.h in memory: the same interface, the same refusals, no kernel and no root.
//
// It knows what tables hold and what nf_tables refuses, not what packets experience: rules are kept as values and never
// run, elements never expire. What of its refusals was not read in nf_tables_api.c was tried on Linux 6.18; memory_test
// states them, test/kernel/netlink_test asks the real kernel the same.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernel/nft/kernel.h"

namespace ghostip::kernel::nft {

class MemoryKernel final : public Kernel {
  public:
    using Bytes = std::vector<std::uint8_t>;
    struct SetState {
        Set declaration;
        std::map<Bytes, Bytes> elements;  // key -> data, empty for sets
        std::map<Bytes, Count> counts;    // by key; of those that packets met

        friend bool operator==(const SetState&, const SetState&) = default;
    };
    struct TableState {
        std::map<std::string, Chain> chains;
        std::map<std::string, SetState> sets;
        std::uint32_t flags = 0;

        friend bool operator==(const TableState&, const TableState&) = default;
    };
    // What was asked for and done; a check or a refused batch counts as a call and as nothing else.
    struct Counters {
        std::uint64_t calls = 0;
        std::uint64_t commits = 0;
        std::uint64_t operations = 0;
        std::uint64_t elements_added = 0;
        std::uint64_t elements_deleted = 0;
    };

    [[nodiscard]] Result<void> commit(const Batch& batch, Refusal* refusal = nullptr) override;
    [[nodiscard]] Result<void> check(const Batch& batch) override;
    [[nodiscard]] Result<Dump> read(const Table& table, const Set& set) override;
    [[nodiscard]] Result<CountedDump> read_counts(const Table& table, const Set& set) override;
    [[nodiscard]] Result<Elements> look_up(const Table& table, const Set& set, const Elements& keys) override;
    [[nodiscard]] Result<bool> has_catch_all(const Table& table, const Set& set) override;
    [[nodiscard]] Result<std::optional<Contents>> contents(const Table& table) override;
    [[nodiscard]] Result<bool> exists(const Table& table) override;

    // Null if there is no such table.
    [[nodiscard]] const TableState* find(const Table& table) const;
    [[nodiscard]] const Counters& counters() const { return counters_; }
    void reset_counters() { counters_ = {}; }

    // The call-th call from now on (1: the next) fails with this errno value and does nothing.
    void fail_call(std::uint64_t call, int code) { failures_[calls_ + call] = code; }
    // Calls that are still to fail will not.
    void fail_no_more() { failures_.clear(); }

    // Elements whose key begins with these bytes are refused with this errno value when they are added.
    void refuse(Bytes key_prefix, int code) { refused_[std::move(key_prefix)] = code; }
    void refuse_nothing() { refused_.clear(); }
    // What a kernel says of a refusal: nothing at all, which operation, which element of it.
    enum class Says : std::uint8_t { kNothing, kOperation, kElement };
    void says(Says what) { says_ = what; }
    // Dumps from now on are inconsistent: every second element stands there twice, every third is missing.
    void interrupt_dumps(bool interrupted) { interrupted_ = interrupted; }
    // Packets were looked up in a set and found this element, which is there.
    void packets_met(const Table& table, const std::string& set, const Bytes& key, Count count);
    // Somebody else writes: no call of ours, and not counted.
    [[nodiscard]] Result<void> written_by_another(const Batch& batch);

  private:
    using Key = std::pair<net::Family, std::string>;
    using Tables = std::map<Key, TableState>;

    [[nodiscard]] static Key key_of(const Table& table) { return {table.family, table.name}; }
    // The errno value that this call is to fail with, or 0.
    [[nodiscard]] int begin_call();
    // Hands over what a dump shows; a failed call, or no such set, is an error.
    using Handler = std::function<void(const Bytes& key, const Bytes& data)>;
    [[nodiscard]] Result<void> dump(const Table& table, const Set& set, const Handler& handle);
    // The batch done to a copy of its table.
    [[nodiscard]] Result<Tables> attempt(const Batch& batch, Refusal* refusal) const;

    Tables tables_;
    Counters counters_;
    std::uint64_t calls_ = 0;
    std::map<std::uint64_t, int> failures_;  // by the number of the call
    std::map<Bytes, int> refused_;
    Says says_ = Says::kElement;
    bool interrupted_ = false;
};

}  // namespace ghostip::kernel::nft
