#include "agent/neighbours.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "kernel/xtables/policy.h"

namespace ghostip::agent {
namespace {

using kernel::nft::Hook;
using kernel::nft::OtherChain;
using kernel::nft::Policy;
using kernel::nft::TableFamily;

bool carries(TableFamily table, net::Family family) {
    switch (table) {
        case TableFamily::kIp: return family == net::Family::kIpv4;
        case TableFamily::kIp6: return family == net::Family::kIpv6;
        case TableFamily::kInet: return true;
    }
    return false;
}

bool is_served(TableFamily table, std::span<const net::Family> served) {
    return std::any_of(served.begin(), served.end(), [&](auto family) { return carries(table, family); });
}

// iptables-nft keeps its rules in a table of this name, and finds nothing elsewhere.
bool is_iptables_filter(const OtherChain& chain) {
    return chain.family != TableFamily::kInet && chain.table == "filter" && chain.name == "FORWARD";
}

// The advised rule stands behind all others: it takes only what the policy would drop, and what the chain's owner drops
// by a rule stays dropped. `ct status dnat` holds in both directions of a connection whose destination was rewritten,
// which is every connection to a Service but one to an endpoint's own address and port.
std::string drops(std::string_view chain, std::string_view advice) {
    return fmt::format(
        "{} drops what it forwards unless a rule of its own accepts it. No rule of ours can change that, and Services "
        "with endpoints in pods or on other nodes may not be reachable. {}",
        chain, advice);
}

// `iptables`: the program that finds the chain.
std::string iptables_drops(std::string_view chain, std::string_view iptables) {
    const auto advice = fmt::format(
        "`{0} -A FORWARD -m conntrack --ctstate DNAT -j ACCEPT` lets Services pass, `{0} -P FORWARD ACCEPT` everything",
        iptables);
    return drops(fmt::format("{} (Docker sets such a policy)", chain), advice);
}

std::string forward_policy_drop(const OtherChain& chain) {
    const auto family = kernel::nft::table_family_name(chain.family);
    const auto name = fmt::format("chain {} of table {} {}", chain.name, family, chain.table);
    if (is_iptables_filter(chain))
        return iptables_drops(name, chain.family == TableFamily::kIp ? "iptables" : "ip6tables");
    return drops(name, fmt::format("`nft add rule {} {} {} ct status dnat accept` lets Services pass", family,
                                   chain.table, chain.name));
}

std::string kube_proxy_too(const OtherChain& chain) {
    const auto family = kernel::nft::table_family_name(chain.family);
    return fmt::format(
        "table {0} {1}, kube-proxy's, is on this node as well: what it translates, ours does not see. If kube-proxy "
        "does not run here any more, `nft delete table {0} {1}` removes what it left",
        family, chain.table);
}

}  // namespace

std::vector<std::string> neighbour_warnings(const NeighbourFacts& facts, std::span<const net::Family> served) {
    std::vector<std::string> warnings;
    for (const auto& chain : facts.chains) {
        if (!is_served(chain.family, served) || chain.table.starts_with("ghostip")) continue;
        if (chain.hook == Hook::kForward && chain.policy == Policy::kDrop)
            warnings.push_back(forward_policy_drop(chain));
        // It owns its table wholly, so one of its chains stands for all.
        if (chain.table == "kube-proxy" && chain.name == "nat-prerouting") warnings.push_back(kube_proxy_too(chain));
    }
    for (const auto family : facts.legacy_forward_drops) {
        if (std::find(served.begin(), served.end(), family) == served.end()) continue;
        const std::string_view iptables = family == net::Family::kIpv4 ? "iptables-legacy" : "ip6tables-legacy";
        warnings.push_back(iptables_drops(fmt::format("chain FORWARD of {}", iptables), iptables));
    }
    std::sort(warnings.begin(), warnings.end());
    warnings.erase(std::unique(warnings.begin(), warnings.end()), warnings.end());
    return warnings;
}

Result<NeighbourFacts> neighbour_facts() {
    NeighbourFacts facts;
    ASSIGN_OR_RETURN(facts.chains, kernel::nft::base_chains());
    for (const auto family : net::kFamilies) {
        ASSIGN_OR_RETURN(const auto policy, kernel::xtables::forward_policy(family));
        if (policy == kernel::xtables::Policy::kDrop) facts.legacy_forward_drops.push_back(family);
    }
    return facts;
}

}  // namespace ghostip::agent
