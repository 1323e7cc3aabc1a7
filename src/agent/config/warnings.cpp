#include "agent/config/warnings.h"

#include "agent/config/node_settings.h"

#include <algorithm>

#include "agent/config/validate.h"

namespace ghostip::agent::config {
namespace {

using Ranges = std::vector<net::Prefix>;

Ranges ranges_of(const std::vector<std::string>& texts) {
    Ranges ranges;
    for (const auto& text : texts)
        if (const auto range = net::Prefix::parse_lenient(text)) ranges.push_back(*range);
    return ranges;
}

std::size_t count(const Ranges& ranges, net::Family family) {
    return static_cast<std::size_t>(
        std::count_if(ranges.begin(), ranges.end(), [&](const auto& range) { return range.family() == family; }));
}

bool dual_stack(const Ranges& ranges) {
    return count(ranges, net::Family::kIpv4) > 0 && count(ranges, net::Family::kIpv6) > 0;
}

bool only(const Ranges& ranges, net::Family family) {
    return !ranges.empty() && count(ranges, family) == ranges.size();
}

bool bound_to(const std::string& address, net::Family family) {
    const auto parts = split_host_port(address);
    const auto ip = parts ? net::IpAddress::parse_lenient(parts->host) : std::nullopt;
    return ip && ip->family() == family && !ip->is_unspecified();
}

}  // namespace

NodeFacts node_facts(const KubeProxyConfiguration& config, const api::Node& node, bool dual_stack) {
    NodeFacts facts;
    facts.dual_stack = dual_stack;
    if (config.detect_local_mode == "NodeCIDR") facts.pod_cidrs = node.pod_cidrs;
    // InternalIPs before ExternalIPs; the first is the node's, and the first of the other family.
    std::vector<net::IpAddress> own;
    for (const auto type : {api::NodeAddressType::kInternalIp, api::NodeAddressType::kExternalIp})
        for (const auto& address : node.addresses)
            if (address.type == type && std::none_of(own.begin(), own.end(), [&](const auto& known) {
                    return known.family() == address.address.family();
                }))
                own.push_back(address.address);
    if (!own.empty()) facts.primary = own.front().family();
    if (const auto bound = net::IpAddress::parse_lenient(config.bind_address); bound && !bound->is_unspecified())
        facts.primary = bound->family();
    const auto ranges = node_port_ranges(config);
    if (ranges == std::vector<std::string>{"primary"})
        for (const auto& address : own) facts.node_port_addresses.push_back(net::Prefix::host(address));
    else
        facts.node_port_addresses = ranges_of(ranges);
    return facts;
}

Mismatch mismatches(const KubeProxyConfiguration& config, const NodeFacts& node) {
    Mismatch found;
    const auto other = node.primary == net::Family::kIpv4 ? net::Family::kIpv6 : net::Family::kIpv4;
    const auto primary_name = net::family_name(node.primary);
    const auto other_name = net::family_name(other);
    const Ranges pods = ranges_of(cluster_cidrs(config));
    const Ranges excluded = ranges_of(config.ipvs.exclude_cidrs);
    const Ranges& open = node.node_port_addresses;

    const bool two_families =
        dual_stack(pods) || dual_stack(open) || dual_stack(excluded) || dual_stack(node.pod_cidrs);
    if (open.empty())
        found.incomplete.emplace_back(
            "nodePortAddresses is not set: node ports answer on all local addresses; `--nodeport-addresses primary` "
            "would limit that");
    else if (two_families && only(open, node.primary))
        found.incomplete.push_back(
            fmt::format("nodePortAddresses has only {0} entries, other settings have {1} too: node ports answer on all "
                        "local {1} addresses",
                        primary_name, other_name));
    else if (count(open, node.primary) == 0)
        found.incomplete.push_back(
            fmt::format("nodePortAddresses has only {1} entries and the node is {0} first: node ports answer on all "
                        "local {0} addresses",
                        primary_name, other_name));

    const std::string node_is = fmt::format("the node is {} {}", primary_name, node.dual_stack ? "first" : "only");
    const auto wrong_ranges = [&](std::string_view field, const Ranges& ranges) {
        if (!only(ranges, other)) return false;
        found.wrong.push_back(fmt::format("{} has only {} entries, but {}", field, other_name, node_is));
        return true;
    };
    const auto wrong_address = [&](std::string_view field, const std::string& address) {
        if (bound_to(address, other))
            found.wrong.push_back(fmt::format("{} is {}, but {}", field, other_name, node_is));
    };
    if (wrong_ranges("clusterCIDRs", pods) && config.detect_local_mode == "ClusterCIDR" && !node.dual_stack)
        found.fatal = true;
    if (wrong_ranges("node.spec.podCIDRs", node.pod_cidrs) && config.detect_local_mode == "NodeCIDR")
        found.fatal = true;
    if (node.dual_stack) return found;
    wrong_ranges("ipvs.excludeCIDRs", excluded);
    wrong_address("healthzBindAddress", config.healthz_bind_address);
    wrong_address("metricsBindAddress", config.metrics_bind_address);
    return found;
}

}  // namespace ghostip::agent::config
