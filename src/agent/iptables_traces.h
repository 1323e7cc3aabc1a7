// What kube-proxy's iptables and ipvs modes leave in iptables, found in the output of iptables-save. Pure functions.
//
// Chains go by an exact list and so do the jumps to them from built-in chains. The kubelet's chains, network policy,
// and everybody else's are not on the list; and where a rule of somebody else leads into a chain that is (a CNI plugin
// that marks for masquerading with KUBE-MARK-MASQ), that chain stays, with all that it needs.
#pragma once

#include <string_view>

#include "dataplane/iptables/removal.h"

namespace ghostip::agent {

// Whether kube-proxy makes a chain of this name in this table of iptables ("nat", "filter", "mangle").
[[nodiscard]] bool is_kube_proxy_chain(std::string_view table, std::string_view chain);

using IptablesRemoval = dataplane::iptables::Removal;
[[nodiscard]] IptablesRemoval iptables_removal(std::string_view save);

}  // namespace ghostip::agent
