#include "plan/plan.h"

#include <algorithm>

#include <fmt/format.h>

namespace ghostip::plan {
namespace {

// Adds or removes one reference; entries without references go.
template <typename Key>
void count(std::map<Key, std::uint32_t>& counts, const Key& key, bool present) {
    if (present)
        counts[key] = std::max<std::uint32_t>(counts[key], 1);
    else
        counts.erase(key);
}

template <typename Value>
bool same_keys(const std::map<Value, std::uint32_t>& a, const std::map<Value, std::uint32_t>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const auto& x, const auto& y) { return x.first == y.first; });
}

}  // namespace

std::string_view source_class_name(SourceClass source) {
    switch (source) {
        case SourceClass::kPod: return "pod";
        case SourceClass::kNode: return "node";
        case SourceClass::kOutside: return "outside";
    }
    return "?";
}

std::string_view destination_kind_name(DestinationKind kind) {
    switch (kind) {
        case DestinationKind::kClusterIp: return "cluster IP";
        case DestinationKind::kLoadBalancerIp: return "load-balancer IP";
        case DestinationKind::kExternalIp: return "external IP";
        case DestinationKind::kNodePort: return "node port";
    }
    return "?";
}

std::string DestinationKey::text() const {
    if (node_port) return fmt::format("node port {}/{}", port, net::protocol_name(protocol));
    return fmt::format("{}/{}", net::host_port(address, port), net::protocol_name(protocol));
}

bool Delta::empty() const {
    return service_ports.empty() && cluster_ips_added.empty() && cluster_ips_removed.empty() &&
           hairpins_added.empty() && hairpins_removed.empty() && health_checks.empty() && !node_rules;
}

std::vector<DestinationChange> Delta::destinations() const {
    std::vector<DestinationChange> changes;
    const auto find = [](const ServicePortPlanPtr& plan, const DestinationKey& key) -> const Destination* {
        if (!plan) return nullptr;
        for (const auto& destination : plan->destinations)
            if (destination.key == key) return &destination;
        return nullptr;
    };
    for (const auto& change : service_ports) {
        if (change.before)
            for (const auto& before : change.before->destinations) {
                const auto* after = find(change.after, before.key);
                if (after == nullptr || !(*after == before)) changes.push_back({&before, after});
            }
        if (change.after)
            for (const auto& after : change.after->destinations)
                if (find(change.before, after.key) == nullptr) changes.push_back({nullptr, &after});
    }
    return changes;
}

std::vector<PoolChange> Delta::pools() const {
    static const Pool kEmpty;
    std::vector<PoolChange> changes;
    for (const auto& change : service_ports) {
        const auto& name = change.after ? change.after->name : change.before->name;
        for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal}) {
            const Pool& before = change.before ? change.before->pool(scope) : kEmpty;
            const Pool& after = change.after ? change.after->pool(scope) : kEmpty;
            if (before != after) changes.push_back({&name, scope, &before, &after});
        }
    }
    return changes;
}

void Plan::apply(const Delta& delta) {
    for (const auto& change : delta.service_ports) {
        if (change.after)
            service_ports[change.after->name] = change.after;
        else
            service_ports.erase(change.before->name);
    }
    for (const auto& address : delta.cluster_ips_added) count(cluster_ips, address, true);
    for (const auto& address : delta.cluster_ips_removed) count(cluster_ips, address, false);
    for (const auto& hairpin : delta.hairpins_added) count(hairpins, hairpin, true);
    for (const auto& hairpin : delta.hairpins_removed) count(hairpins, hairpin, false);
    for (const auto& change : delta.health_checks) {
        if (change.after)
            health_checks[change.service] = *change.after;
        else
            health_checks.erase(change.service);
    }
    if (delta.node_rules) node = delta.node_rules->after;
}

bool operator==(const Plan& a, const Plan& b) {
    return a.family == b.family && a.node == b.node && a.health_checks == b.health_checks &&
           same_keys(a.cluster_ips, b.cluster_ips) && same_keys(a.hairpins, b.hairpins) &&
           std::equal(a.service_ports.begin(), a.service_ports.end(), b.service_ports.begin(), b.service_ports.end(),
                      [](const auto& x, const auto& y) { return *x.second == *y.second; });
}

Delta inverse(const Delta& delta) {
    Delta result;
    for (const auto& change : delta.service_ports) result.service_ports.push_back({change.after, change.before});
    result.cluster_ips_added = delta.cluster_ips_removed;
    result.cluster_ips_removed = delta.cluster_ips_added;
    result.hairpins_added = delta.hairpins_removed;
    result.hairpins_removed = delta.hairpins_added;
    for (const auto& change : delta.health_checks)
        result.health_checks.push_back({change.service, change.after, change.before});
    if (delta.node_rules) result.node_rules = {delta.node_rules->after, delta.node_rules->before};
    return result;
}

Delta everything(const Plan& plan) {
    Delta delta;
    delta.node_rules = {NodeRules{}, plan.node};
    for (const auto& [name, service_port] : plan.service_ports) delta.service_ports.push_back({nullptr, service_port});
    for (const auto& [address, owners] : plan.cluster_ips) delta.cluster_ips_added.push_back(address);
    for (const auto& [hairpin, users] : plan.hairpins) delta.hairpins_added.push_back(hairpin);
    for (const auto& [service, check] : plan.health_checks)
        delta.health_checks.push_back({service, std::nullopt, check});
    return delta;
}

std::vector<Hairpin> hairpins_of(const ServicePortPlan& plan, const ModeProfile& profile) {
    std::vector<Hairpin> hairpins;
    for (const auto& endpoint : reachable(plan.cluster, plan.local)) {
        if (profile.hairpin_local_endpoints_only && !endpoint.local) continue;
        hairpins.push_back({endpoint.address, plan.name.protocol, endpoint.port});
    }
    return hairpins;
}

}  // namespace ghostip::plan
