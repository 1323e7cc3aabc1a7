// What of a configuration does not fit the node that it is for. Only known once the Node object is.
#pragma once

#include <string>
#include <vector>

#include "agent/config/configuration.h"
#include "api/objects.h"
#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::agent::config {

struct NodeFacts {
    net::Family primary = net::Family::kIpv4;
    bool dual_stack = true;              // the host can do both families
    std::vector<net::Prefix> pod_cidrs;  // spec.podCIDRs; given in detectLocalMode NodeCIDR only, as kube-proxy does
    // nodePortAddresses, the word `primary` replaced by the addresses that it stands for.
    std::vector<net::Prefix> node_port_addresses;
};

// What a Node object says; the node's addresses are those that node ports on `primary` are for.
[[nodiscard]] NodeFacts node_facts(const KubeProxyConfiguration& config, const api::Node& node, bool dual_stack);

struct Mismatch {
    std::vector<std::string> incomplete;  // node ports that are open where nobody may have wanted it
    std::vector<std::string> wrong;       // of the other family
    bool fatal = false;                   // because of something in `wrong`
};

// To be logged, `incomplete` and `wrong` each as one line behind "Kube-proxy configuration may be incomplete or
// incorrect"; if fatal, `wrong` ends the process behind "kube-proxy configuration is incorrect: ".
[[nodiscard]] Mismatch mismatches(const KubeProxyConfiguration& config, const NodeFacts& node);

}  // namespace ghostip::agent::config
