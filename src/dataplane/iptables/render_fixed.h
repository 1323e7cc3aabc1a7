// Rules that belong to the node and not to a service port: marks and masquerading, the forwarding rules, the way to
// node ports, and the jumps from the kernel's own chains.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "dataplane/iptables/rules.h"

namespace ghostip::dataplane::iptables {

// Chains that are wholly the node's. KUBE-FIREWALL, which the kubelet knows too, only where loopback serves node ports.
[[nodiscard]] std::vector<Chain> render_fixed_chains(const Context& context);
// The last rules of KUBE-SERVICES in nat, in order, each as Dispatch::rule.
[[nodiscard]] std::vector<std::string> render_tail(const Context& context);

// A rule in one of the kernel's own chains.
struct Jump {
    std::string_view table;
    std::string_view chain;  // "INPUT"
    std::string rule;        // as Dispatch::rule
};
// In the order in which they are put at the head of their chains.
[[nodiscard]] std::vector<Jump> render_jumps(const Context& context);
// Whether one of them stands in this built-in chain.
[[nodiscard]] bool has_jump(std::string_view table, std::string_view chain);

// All chains that have to be there, with rules or without, in the order in which they may be made.
struct ChainName {
    std::string_view table;
    std::string_view chain;
};
inline constexpr std::array<ChainName, 14> kNeededChains{{
    {tables::kFilter, chains::kServices},
    {tables::kFilter, chains::kExternalServices},
    {tables::kFilter, chains::kNodePorts},
    {tables::kFilter, chains::kProxyFirewall},
    {tables::kFilter, chains::kForward},
    {tables::kFilter, chains::kFirewall},
    {tables::kFilter, chains::kCanary},
    {tables::kNat, chains::kServices},
    {tables::kNat, chains::kNodePorts},
    {tables::kNat, chains::kPostrouting},
    {tables::kNat, chains::kMarkMasq},
    {tables::kNat, chains::kCanary},
    {tables::kMangle, chains::kCanary},
    {tables::kMangle, chains::kOwn},
}};

}  // namespace ghostip::dataplane::iptables
