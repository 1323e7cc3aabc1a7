// The kernel's own, in the network namespace of the calling thread.
#pragma once

#include <string>

#include "kernel/sysctl/sysctl.h"

namespace ghostip::kernel::sysctl {

class LinuxSysctl final : public Sysctl {
  public:
    // What stands in front of every path: for a look at another root.
    explicit LinuxSysctl(std::string root = "") : root_(std::move(root)) {}

    [[nodiscard]] Result<std::int64_t> read(const std::string& path) const override;
    [[nodiscard]] Result<void> write(const std::string& path, std::int64_t value) override;

  private:
    const std::string root_;
};

}  // namespace ghostip::kernel::sysctl
