#include "plan/node.h"

#include <algorithm>
#include <iterator>

namespace ghostip::plan {
namespace {

std::optional<net::Prefix> first_of_family(const std::vector<net::Prefix>& prefixes, net::Family family) {
    const auto found =
        std::find_if(prefixes.begin(), prefixes.end(), [&](const auto& p) { return p.family() == family; });
    if (found == prefixes.end()) return std::nullopt;
    return *found;
}

LocalDetector detector(const NodeSettings& settings, const api::Node* node, net::Family family) {
    LocalDetector result;
    const auto by_cidr = [&](const std::optional<net::Prefix>& cidr) {
        if (!cidr) return;
        result.kind = LocalDetector::Kind::kCidr;
        result.cidr = *cidr;
    };
    switch (settings.detect_local_mode) {
        case DetectLocalMode::kClusterCidr: by_cidr(first_of_family(settings.cluster_cidrs, family)); break;
        case DetectLocalMode::kNodeCidr:
            if (node != nullptr) by_cidr(first_of_family(node->pod_cidrs, family));
            break;
        case DetectLocalMode::kBridgeInterface:
            result.kind = LocalDetector::Kind::kInterface;
            result.interface = settings.pod_interface;
            break;
        case DetectLocalMode::kInterfaceNamePrefix:
            result.kind = LocalDetector::Kind::kInterfacePrefix;
            result.interface = settings.pod_interface;
            break;
    }
    return result;
}

// kube-proxy opens a family to all addresses when `primary` knows none of it; here such a family stays closed.
NodePortAddresses node_port_addresses(const NodeSettings& settings, const ModeProfile& profile,
                                      const std::optional<net::IpAddress>& own, const std::vector<net::IpAddress>& host,
                                      net::Family family) {
    NodePortAddresses result;
    const bool primary =
        settings.node_ports_on_primary || (settings.node_port_ranges.empty() && profile.node_ports_on_primary_only);
    if (primary) {
        // An address of the Node that no interface here carries (a cloud's external one) is not this host's to open.
        if (own && !own->is_loopback() && std::find(host.begin(), host.end(), *own) != host.end())
            result.addresses.push_back(*own);
        return result;
    }
    std::vector<net::Prefix> ranges;
    std::copy_if(settings.node_port_ranges.begin(), settings.node_port_ranges.end(), std::back_inserter(ranges),
                 [&](const auto& range) { return range.family() == family; });
    // A range may be part of 127.0.0.0/8 or hold all of it.
    const bool names_loopback =
        ranges.empty() || std::any_of(ranges.begin(), ranges.end(), [](const auto& range) {
            return range.address.is_loopback() || range.contains(*net::IpAddress::parse("127.0.0.1"));
        });
    result.loopback =
        profile.loopback_node_ports && settings.localhost_node_ports && family == net::Family::kIpv4 && names_loopback;
    // Ranges of the other family alone leave this one open; one zero range wins over every other entry.
    if (ranges.empty() ||
        std::any_of(ranges.begin(), ranges.end(), [](const auto& range) { return range.length == 0; })) {
        result.all = true;
        return result;
    }
    for (const auto& address : host) {
        if (address.is_loopback() && !result.loopback) continue;
        if (std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) { return range.contains(address); }))
            result.addresses.push_back(address);
    }
    return result;
}

// Everything that is known to live on or next to this node. Other families do no harm: they are in no range.
RangeOccupants occupants(const NodeSettings& settings, const api::Node* node, const HostFacts& host,
                         const ClusterFacts& cluster, const NodeRules& rules) {
    RangeOccupants all;
    all.node = rules.addresses;
    // A cluster IP on an interface of this node (a DNS cache of its own, the dummy interface of IPVS) has an owner, and
    // says nothing about whose the range is.
    if (cluster.is_cluster_ip) std::erase_if(all.node, cluster.is_cluster_ip);
    if (rules.node_ip) all.node.push_back(*rules.node_ip);
    if (node != nullptr)
        for (const auto& entry : node->addresses) all.node.push_back(entry.address);
    all.gateways = host.gateways;
    all.api_servers = settings.api_servers;
    all.api_servers.insert(all.api_servers.end(), cluster.api_servers.begin(), cluster.api_servers.end());
    if (node != nullptr) all.pod_ranges = node->pod_cidrs;
    all.pods = cluster.local_pods;
    return all;
}

void divide_service_ranges(const NodeSettings& settings, const api::Node* node, const HostFacts& host,
                           const ClusterFacts& cluster, NodeRules& rules, net::Family family) {
    std::vector<net::Prefix> ranges;
    std::copy_if(cluster.service_cidrs.begin(), cluster.service_cidrs.end(), std::back_inserter(ranges),
                 [&](const auto& range) { return range.family() == family; });
    if (ranges.empty()) return;
    std::sort(ranges.begin(), ranges.end());
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    const RangeOccupants all = occupants(settings, node, host, cluster, rules);
    for (const auto& range : ranges) {
        if (const auto occupied = find_occupant(range, all))
            rules.undropped.push_back(*occupied);
        else
            rules.service_cidrs.push_back(range);
    }
}

}  // namespace

const ModeProfile& nftables_profile() {
    static constexpr ModeProfile profile{.name = "nftables",
                                         .node_ports_on_primary_only = true,
                                         .loopback_node_ports = false,
                                         .refuses_on_every_local_address = false,
                                         .refuses_after_translation = false,
                                         .refuses_own_traffic = true,
                                         .rejects_unknown_cluster_ip_ports = true,
                                         .drops_unallocated_cluster_ips = true,
                                         .filters_sources_without_endpoints = true,
                                         .hairpin_local_endpoints_only = true};
    return profile;
}

const ModeProfile& iptables_profile() {
    static constexpr ModeProfile profile{.name = "iptables",
                                         .node_ports_on_primary_only = false,
                                         .loopback_node_ports = true,
                                         .refuses_on_every_local_address = true,
                                         .refuses_after_translation = true,
                                         .refuses_own_traffic = false,
                                         .rejects_unknown_cluster_ip_ports = false,
                                         .drops_unallocated_cluster_ips = false,
                                         .filters_sources_without_endpoints = false,
                                         .hairpin_local_endpoints_only = false};
    return profile;
}

const ModeProfile& ipvs_profile() {
    static constexpr ModeProfile profile{.name = "ipvs",
                                         .node_ports_on_primary_only = false,
                                         .loopback_node_ports = false,
                                         .refuses_on_every_local_address = false,
                                         .refuses_after_translation = false,
                                         .refuses_own_traffic = true,
                                         .rejects_unknown_cluster_ip_ports = true,
                                         .drops_unallocated_cluster_ips = false,
                                         .filters_sources_without_endpoints = true,
                                         .hairpin_local_endpoints_only = true,
                                         .service_device = "kube-ipvs0",
                                         .schedules = true,
                                         .affinity_per_destination = true,
                                         .inside_gets_cluster_ip_pool = true};
    return profile;
}

const ModeProfile& userspace_profile() {
    static const ModeProfile profile = [] {
        ModeProfile made = nftables_profile();  // by which packets are led to the relay
        made.name = "userspace";
        made.relays = true;
        return made;
    }();
    return profile;
}

std::optional<net::IpAddress> node_ip(const NodeSettings& settings, const api::Node* node, const HostFacts& host,
                                      net::Family family) {
    if (settings.bind_address && settings.bind_address->family() == family && !settings.bind_address->is_unspecified())
        return settings.bind_address;
    if (node != nullptr) {
        for (const auto type : {api::NodeAddressType::kInternalIp, api::NodeAddressType::kExternalIp})
            for (const auto& candidate : node->addresses)
                if (candidate.type == type && candidate.address.family() == family) return candidate.address;
        return std::nullopt;
    }
    for (const auto& address : host.addresses)
        if (address.family() == family && !address.is_loopback() && !address.is_link_local()) return address;
    return std::nullopt;
}

NodeRules node_rules(const NodeSettings& settings, const ModeProfile& profile, const api::Node* node,
                     const HostFacts& host, const ClusterFacts& cluster, net::Family family) {
    NodeRules rules;
    rules.detector = detector(settings, node, family);
    rules.masquerade_all = settings.masquerade_all;
    rules.masquerade_mark = std::uint32_t{1} << settings.masquerade_bit;
    for (const auto& address : host.addresses)
        if (address.family() == family) rules.addresses.push_back(address);
    std::sort(rules.addresses.begin(), rules.addresses.end());
    rules.addresses.erase(std::unique(rules.addresses.begin(), rules.addresses.end()), rules.addresses.end());
    rules.node_ip = node_ip(settings, node, host, family);
    rules.node_ports = node_port_addresses(settings, profile, rules.node_ip, rules.addresses, family);
    rules.relayed_localhost = settings.relayed_localhost;
    if (profile.drops_unallocated_cluster_ips) divide_service_ranges(settings, node, host, cluster, rules, family);
    return rules;
}

}  // namespace ghostip::plan
