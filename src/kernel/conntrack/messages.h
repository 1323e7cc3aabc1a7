// How the netlink messages of conntrack (nfnetlink subsystem 1) are laid out. For linux.cpp; no socket in here.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>

#include "kernel/conntrack/conntrack.h"

namespace ghostip::kernel::conntrack {

// Who drops what the filter does not want.
enum class FilteredBy : std::uint8_t { kKernel, kNobody };

inline constexpr std::size_t kRequestBytes = 512;  // the longest request takes about 200

// Writes into `buffer`, which has kRequestBytes.
[[nodiscard]] nlmsghdr* put_dump(void* buffer, std::uint32_t sequence, const Filter& filter, FilteredBy by);
[[nodiscard]] nlmsghdr* put_removal(void* buffer, std::uint32_t sequence, const Entry& entry);

// Absent: not UDP, or not a whole entry.
[[nodiscard]] std::optional<Entry> read_entry(const nlmsghdr* message);

}  // namespace ghostip::kernel::conntrack
