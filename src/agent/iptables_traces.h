// What kube-proxy's iptables and ipvs modes leave in iptables, found in the output of iptables-save. Pure functions.
//
// Chains go by an exact list and so do the jumps to them from built-in chains. The kubelet's chains, network policy,
// and everybody else's are not on the list; and where a rule of somebody else leads into a chain that is (a CNI plugin
// that marks for masquerading with KUBE-MARK-MASQ), that chain stays, with all that it needs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ghostip::agent {

// Whether kube-proxy makes a chain of this name in this table of iptables ("nat", "filter", "mangle").
[[nodiscard]] bool is_kube_proxy_chain(std::string_view table, std::string_view chain);

struct IptablesRemoval {
    std::string restore;  // for iptables-restore --noflush; empty: there is nothing to remove
    std::size_t chains = 0;
    std::size_t jumps = 0;
    std::vector<std::string> kept;  // one sentence each: what stays, and whose rule needs it
};
[[nodiscard]] IptablesRemoval iptables_removal(std::string_view save);

}  // namespace ghostip::agent
