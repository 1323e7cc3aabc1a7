// What a cleanup left in the kernel's rules, of nf_tables, iptables, iptables-legacy and IPVS; and removing all rules,
// so that the next case starts from nothing.
#pragma once

#include <string>

#include "base/result.h"
#include "support/namespace.h"

namespace ghostip::packets {

// Empty: nothing. Of iptables' tables, built-in chains without rules count as nothing, and so does KUBE-FIREWALL, which
// belongs to the kubelet as well and stays (kube-proxy --cleanup leaves it, too).
[[nodiscard]] Result<std::string> left_rules(const testnet::Namespace& node);
[[nodiscard]] Result<void> remove_all_rules(const testnet::Namespace& node);

}  // namespace ghostip::packets
