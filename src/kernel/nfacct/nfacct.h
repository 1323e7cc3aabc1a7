// Named counters of packets that rules of iptables count in (`-m nfacct`): make one, read it. linux.h asks the kernel,
// memory.h is its twin. Blocking; for one thread at a time. For the network namespace in which it was opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace ghostip::kernel::nfacct {

inline constexpr std::size_t kLongestName = 31;  // NFACCT_NAME_MAX counts the zero byte too

struct Counter {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;

    friend bool operator==(const Counter&, const Counter&) = default;
};

class Nfacct {
  public:
    virtual ~Nfacct() = default;

    // Starts at zero. One that exists already stays as it is. Errors: an errno value; the kernel says EOPNOTSUPP or
    // EINVAL where it has no such counters, EINVAL also stands for a name that is empty or too long.
    [[nodiscard]] virtual Result<void> create(std::string_view name) = 0;
    // Absent: there is none of this name.
    [[nodiscard]] virtual Result<std::optional<Counter>> read(std::string_view name) = 0;
};

}  // namespace ghostip::kernel::nfacct
