#include "plan/treatment.h"

#include <algorithm>

namespace ghostip::plan {
namespace {

Treatment& at(std::array<Treatment, 3>& treatments, SourceClass source) {
    return treatments[static_cast<std::size_t>(source)];
}

// Balance over the pool; where it is empty: reject if no endpoint exists anywhere, else drop.
Treatment balance(const Choice& choice, PoolScope scope, bool masquerade) {
    const Pool& pool = scope == PoolScope::kCluster ? choice.cluster : choice.local;
    Treatment treatment;
    treatment.pool = scope;
    treatment.masquerade = masquerade && !pool.empty();
    treatment.action = !pool.empty() ? Action::kBalance : choice.has_any ? Action::kDrop : Action::kReject;
    return treatment;
}

// A cluster IP is only masqueraded for sources outside the cluster's pods, and only if those can be told apart.
std::array<Treatment, 3> for_cluster_ip(const ServicePort& port, const Choice& choice, const NodeRules& rules) {
    const PoolScope scope = port.internal_policy_local ? PoolScope::kLocal : PoolScope::kCluster;
    const bool from_elsewhere = rules.masquerade_all || rules.detector.available();
    std::array<Treatment, 3> treatments;
    at(treatments, SourceClass::kPod) = balance(choice, scope, rules.masquerade_all);
    at(treatments, SourceClass::kNode) = balance(choice, scope, from_elsewhere);
    at(treatments, SourceClass::kOutside) = balance(choice, scope, from_elsewhere);
    return treatments;
}

// Policy Cluster: any endpoint, and the source is rewritten so that the answer comes back through this node.
// Policy Local: the source is kept and only endpoints here answer, but pods and the node itself reach all of them, as
// if they had dialled the cluster IP.
std::array<Treatment, 3> for_external(const ServicePort& port, const Choice& choice, const ModeProfile& profile) {
    std::array<Treatment, 3> treatments;
    if (!port.external_policy_local) {
        treatments.fill(balance(choice, PoolScope::kCluster, true));
        return treatments;
    }
    const bool narrowed = profile.inside_gets_cluster_ip_pool && port.internal_policy_local;
    const PoolScope inside = narrowed ? PoolScope::kLocal : PoolScope::kCluster;
    at(treatments, SourceClass::kPod) = balance(choice, inside, false);
    at(treatments, SourceClass::kNode) = balance(choice, inside, true);
    at(treatments, SourceClass::kOutside) = balance(choice, PoolScope::kLocal, false);
    return treatments;
}

// A node that talks to a load-balancer IP bound on itself uses that IP as its source.
std::vector<net::Prefix> allowed_sources(const ServicePort& port, const Choice& choice, const NodeRules& rules,
                                         const ModeProfile& profile) {
    if (port.source_ranges.empty()) return {};
    if (!choice.has_any && !profile.filters_sources_without_endpoints) return {};
    std::vector<net::Prefix> allowed;
    // In the Service's order, as rules that are asked one after the other have them.
    const auto add = [&](const net::Prefix& range) {
        if (std::find(allowed.begin(), allowed.end(), range) == allowed.end()) allowed.push_back(range);
    };
    for (const auto& range : port.source_ranges) add(range);
    const bool node_allowed = rules.node_ip && std::any_of(allowed.begin(), allowed.end(), [&](const auto& range) {
                                  return range.contains(*rules.node_ip);
                              });
    if (node_allowed)
        for (const auto& vip : port.load_balancer_vips) add(net::Prefix::host(vip));
    return allowed;
}

}  // namespace

std::vector<Claimed> claims_of(const ServicePort& port) {
    std::vector<Claimed> claims;
    const auto claim = [&](DestinationKind kind, const net::IpAddress& address) {
        claims.push_back({kind, {false, address, port.name.protocol, port.port}});
    };
    claim(DestinationKind::kClusterIp, port.cluster_ip);
    for (const auto& vip : port.load_balancer_vips) claim(DestinationKind::kLoadBalancerIp, vip);
    if (port.serves_external_ips)
        for (const auto& external : port.external_ips) claim(DestinationKind::kExternalIp, external);
    if (port.node_port != 0)
        claims.push_back({DestinationKind::kNodePort,
                          {true, net::IpAddress(port.cluster_ip.family()), port.name.protocol, port.node_port}});
    return claims;
}

ServicePortPlan plan_service_port(const ServicePort& port, Choice choice, const NodeRules& rules,
                                  const ModeProfile& profile) {
    ServicePortPlan plan;
    plan.name = port.name;
    plan.affinity_seconds = port.affinity_seconds;
    for (const auto& claimed : claims_of(port)) {
        Destination destination;
        destination.kind = claimed.kind;
        destination.key = claimed.key;
        destination.treatments = claimed.kind == DestinationKind::kClusterIp ? for_cluster_ip(port, choice, rules)
                                                                             : for_external(port, choice, profile);
        if (claimed.kind == DestinationKind::kLoadBalancerIp)
            destination.allowed_sources = allowed_sources(port, choice, rules, profile);
        plan.destinations.push_back(std::move(destination));
    }
    plan.cluster = std::move(choice.cluster);
    plan.local = std::move(choice.local);
    return plan;
}

}  // namespace ghostip::plan
