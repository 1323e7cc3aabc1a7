// Our table as `nft` prints it, so that two of them can be compared, and so that one can be made that differs.
#pragma once

#include <string>
#include <string_view>

namespace ghostip::packets {

// A listing in which only what packets could notice is left: blocks and elements in one order, no clients that rules
// remembered, and of the endpoints of a destination only which there are, not which slot each one has.
[[nodiscard]] std::string normal_ruleset(std::string_view listing);

// The same rules, but every chain and every set has another name.
[[nodiscard]] std::string with_prefixed_names(std::string_view rules, std::string_view prefix);

// The first lines in which two texts differ; empty if they are the same.
[[nodiscard]] std::string first_difference(std::string_view there, std::string_view wanted);

// The chains of kube-proxy's names in what iptables-save printed, and the rules in and to them, without counters. Where
// the order of rules does not matter (chains that dispatch), they are sorted.
[[nodiscard]] std::string normal_save(const std::string& saved);

}  // namespace ghostip::packets
