// The twin of linux.h in memory: the same interface, no kernel and no root. Entries do not expire.
//
// Unlike its Linux sibling it may be looked into from another thread while one uses it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "kernel/conntrack/conntrack.h"

namespace ghostip::kernel::conntrack {

class MemoryConntrack final : public Conntrack {
  public:
    struct Counters {
        std::uint64_t calls = 0;
        std::uint64_t dumps = 0;    // that did not fail
        std::uint64_t removed = 0;  // entries that were there
    };

    [[nodiscard]] Result<std::vector<Entry>> dump(const Filter& filter, const Wanted& wanted) override;
    [[nodiscard]] Result<bool> remove(const Entry& entry) override;

    // The entry gets an id that no other one ever had.
    void add(Entry entry);
    [[nodiscard]] std::vector<Entry> entries() const;  // sorted
    [[nodiscard]] Counters counters() const;
    [[nodiscard]] std::vector<Filter> filters() const;  // of all dumps that did not fail

    // The call-th call from now on (1: the next) fails with this errno value and does nothing.
    void fail_call(std::uint64_t call, int code);
    // Calls that are still to fail will not.
    void fail_no_more();

  private:
    // The errno value that this call is to fail with, or 0. With mutex_ held.
    [[nodiscard]] int begin_call();

    mutable std::mutex mutex_;
    // Guarded by mutex_.
    std::vector<Entry> entries_;
    std::uint32_t last_id_ = 0;
    Counters counters_;
    std::vector<Filter> filters_;
    std::map<std::uint64_t, int> failures_;  // by the number of the call
};

}  // namespace ghostip::kernel::conntrack
