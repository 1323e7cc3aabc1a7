// What kube-proxy's iptables and ipvs modes leave in iptables, found in the output of iptables-save. Pure functions.
// ghostip's own iptables mode has the same chains, so that it can take over from kube-proxy and kube-proxy from it; an
// empty chain besides says that they are ours.
//
// Chains go by an exact list and so do the jumps to them from built-in chains. The kubelet's chains, network policy,
// and everybody else's are not on the list; and where a rule of somebody else leads into a chain that is (a CNI plugin
// that marks for masquerading with KUBE-MARK-MASQ), that chain stays, with all that it needs.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/iptables_removal.h"

namespace ghostip::agent {

// In table mangle, without rules, and nobody jumps there.
inline constexpr std::string_view kOwnChain = "GHOSTIP-RULES";

enum class Chains : std::uint8_t {
    kAll,          // of both modes, and ours
    kNotIptables,  // those that the iptables mode of today does not have
    kNotIpvs,      // those that the ipvs mode of ghostip does not have
};
// Whether kube-proxy makes a chain of this name in this table of iptables ("nat", "filter", "mangle"), or ghostip.
[[nodiscard]] bool is_kube_proxy_chain(std::string_view table, std::string_view chain, Chains chains = Chains::kAll);
// Whether these are the rules of ghostip's iptables mode.
[[nodiscard]] bool are_own_rules(std::string_view save);

using IptablesRemoval = dataplane::Removal;
[[nodiscard]] IptablesRemoval iptables_removal(std::string_view save, Chains chains = Chains::kAll);

}  // namespace ghostip::agent
