// Settings of the kernel that are files with a number in them: /proc/sys, and parameters of modules in /sys.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ghostip::kernel::sysctl {

class Sysctl {
  public:
    virtual ~Sysctl() = default;
    // `path` is the file's, for example /proc/sys/net/netfilter/nf_conntrack_max. Errors name it.
    [[nodiscard]] virtual Result<std::int64_t> read(const std::string& path) const = 0;
    [[nodiscard]] virtual Result<void> write(const std::string& path, std::int64_t value) = 0;
};

}  // namespace ghostip::kernel::sysctl
