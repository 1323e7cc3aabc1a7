// The twin of linux.h in memory.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernel/sysctl/sysctl.h"

namespace ghostip::kernel::sysctl {

class MemorySysctl final : public Sysctl {
  public:
    // Only these exist.
    explicit MemorySysctl(std::map<std::string, std::int64_t> values) : values_(std::move(values)) {}

    [[nodiscard]] Result<std::int64_t> read(const std::string& path) const override;
    [[nodiscard]] Result<void> write(const std::string& path, std::int64_t value) override;

    // Every write from now on fails with this errno value, as on a read-only /proc/sys (EROFS).
    void fail_writes(int code) { write_failure_ = code; }
    [[nodiscard]] const std::map<std::string, std::int64_t>& values() const { return values_; }
    [[nodiscard]] const std::vector<std::pair<std::string, std::int64_t>>& writes() const { return writes_; }

  private:
    std::map<std::string, std::int64_t> values_;
    std::vector<std::pair<std::string, std::int64_t>> writes_;
    int write_failure_ = 0;
};

}  // namespace ghostip::kernel::sysctl
