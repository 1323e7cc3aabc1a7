// What iptables-legacy does with forwarded packets that none of its rules decided: the policy of chain FORWARD in table
// filter. Such rules are not part of nf_tables; kernels since 6.17 may lack them altogether. Only reads, and never
// makes the kernel load or create a table that is not there yet. Blocking; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::xtables {

enum class Policy : std::uint8_t { kAccept, kDrop };

// Of the network namespace that the calling thread is in; absent if that table is not in use there.
[[nodiscard]] Result<std::optional<Policy>> forward_policy(net::Family family);

// The verdict of the entry that starts at `offset` of a table's entries; absent if it is cut short, or is no verdict.
[[nodiscard]] std::optional<Policy> policy_at(std::span<const std::uint8_t> entries, std::size_t offset,
                                              net::Family family);

}  // namespace ghostip::kernel::xtables
