// The twin of linux.h in memory. May be looked into from another thread while one uses it.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "kernel/nfacct/nfacct.h"

namespace ghostip::kernel::nfacct {

class MemoryNfacct final : public Nfacct {
  public:
    [[nodiscard]] Result<void> create(std::string_view name) override;
    [[nodiscard]] Result<std::optional<Counter>> read(std::string_view name) override;

    // All calls from now on fail with this errno value, as in a kernel without such counters; 0: none.
    void fail_with(int code);
    // What rules would have counted. Makes the counter if there is none.
    void count(std::string_view name, Counter more);
    [[nodiscard]] std::map<std::string, Counter, std::less<>> counters() const;

  private:
    [[nodiscard]] Result<void> check(std::string_view name) const;  // with mutex_ held

    mutable std::mutex mutex_;
    // Guarded by mutex_.
    std::map<std::string, Counter, std::less<>> counters_;
    int failure_ = 0;
};

}  // namespace ghostip::kernel::nfacct
