// What iptables-restore and its relatives mean when they fail, read from their exit code and their words.
#pragma once

#include <string_view>

#include "kernel/iptables/iptables.h"

namespace ghostip::kernel::iptables {

// `status` is not 0; `said`: their standard error.
[[nodiscard]] Refusal read_refusal(Variant variant, int status, std::string_view said);

// The exit code of iptables-legacy when the lock was held or the kernel was busy. iptables-nft, which takes no lock,
// uses the same number for all that the kernel refuses.
inline constexpr int kResourceProblem = 4;

}  // namespace ghostip::kernel::iptables
