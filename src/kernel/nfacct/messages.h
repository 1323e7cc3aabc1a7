// How the netlink messages of the counters (nfnetlink subsystem 7) are laid out. For linux.cpp; no socket in here.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernel/nfacct/nfacct.h"

namespace ghostip::kernel::nfacct {

inline constexpr std::size_t kRequestBytes = 128;

// Write into `buffer`, which has kRequestBytes. `name` has kLongestName bytes at most.
[[nodiscard]] nlmsghdr* put_create(void* buffer, std::uint32_t sequence, std::string_view name);
[[nodiscard]] nlmsghdr* put_read(void* buffer, std::uint32_t sequence, std::string_view name);

// Absent: no message about a counter, or not a whole one.
[[nodiscard]] std::optional<Counter> read_counter(const nlmsghdr* message);

}  // namespace ghostip::kernel::nfacct
