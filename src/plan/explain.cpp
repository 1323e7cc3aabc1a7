#include "plan/explain.h"

#include <algorithm>

#include "plan/relayed.h"

namespace ghostip::plan {
namespace {

bool matches(const LocalDetector& detector, const Flow& flow) {
    switch (detector.kind) {
        case LocalDetector::Kind::kNone: return false;
        case LocalDetector::Kind::kCidr: return detector.cidr.contains(flow.source);
        case LocalDetector::Kind::kInterface: return flow.interface == detector.interface;
        case LocalDetector::Kind::kInterfacePrefix: return flow.interface.starts_with(detector.interface);
    }
    return false;
}

bool any_contains(const std::vector<net::Prefix>& prefixes, const net::IpAddress& address) {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) { return prefix.contains(address); });
}

bool holds(const std::vector<net::IpAddress>& sorted, const net::IpAddress& address) {
    return std::binary_search(sorted.begin(), sorted.end(), address);
}

void leave_out_drained(Journey& journey) {
    const auto& weights = journey.service_port->weights;
    if (weights.empty()) return;
    const auto drained = std::stable_partition(journey.pool.begin(), journey.pool.end(), [&](const auto& endpoint) {
        return weight_of(weights, endpoint.address) != 0;
    });
    journey.drained.assign(drained, journey.pool.end());
    journey.pool.erase(drained, journey.pool.end());
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
    switch (verdict) {
        case Verdict::kBalanced: return "balanced";
        case Verdict::kRejected: return "rejected";
        case Verdict::kDropped: return "dropped";
        case Verdict::kNotOurs: return "not ours";
    }
    return "?";
}

bool Journey::masquerades_for(const Endpoint& endpoint) const {
    return masquerade || std::find(hairpins.begin(), hairpins.end(), endpoint) != hairpins.end();
}

Explainer::Explainer(const Plan& plan, const ModeProfile& profile) : plan_(plan), profile_(profile) {
    for (const auto& [name, service_port] : plan.service_ports) {
        for (const auto& destination : service_port->destinations) {
            owners_[destination.key] = {service_port, &destination};
            if (!profile.service_device.empty() && !destination.key.node_port)
                service_addresses_.insert(destination.key.address);
        }
        for (const auto& claimed : service_port->refused) refused_.try_emplace(claimed.key, service_port);
    }
}

SourceClass Explainer::classify(const Flow& flow) const {
    if (matches(plan_.node.detector, flow)) return SourceClass::kPod;
    return is_local(flow.source) ? SourceClass::kNode : SourceClass::kOutside;
}

bool Explainer::is_local(const net::IpAddress& address) const {
    return address.is_loopback() || holds(plan_.node.addresses, address);
}

bool Explainer::accepts_node_ports(const net::IpAddress& address) const {
    const auto& node_ports = plan_.node.node_ports;
    if (!node_ports.all) return holds(node_ports.addresses, address);
    return address.is_loopback() ? node_ports.loopback : holds(plan_.node.addresses, address);
}

// 127.0.0.1 and ::1 alone, and only what a relay carries.
bool Explainer::is_relayed_localhost(const Flow& flow) const {
    if (!plan_.node.relayed_localhost || !can_be_relayed(flow.protocol)) return false;
    const auto v4 = flow.destination.is_ipv4();
    return flow.destination == *net::IpAddress::parse(v4 ? "127.0.0.1" : "::1");
}

// Addresses of services come before node ports, also where an external IP is one of the node's own addresses.
const Explainer::Owned* Explainer::find(const Flow& flow) const {
    const auto by_address = owners_.find({false, flow.destination, flow.protocol, flow.port});
    if (by_address != owners_.end()) return &by_address->second;
    if (!accepts_node_ports(flow.destination) && !is_relayed_localhost(flow)) return nullptr;
    const auto by_port = owners_.find({true, net::IpAddress(plan_.family), flow.protocol, flow.port});
    return by_port == owners_.end() ? nullptr : &by_port->second;
}

// What nobody owns is only looked at where it leaves the node again; what is addressed to the node itself is its own
// business. Where a device of the node has the addresses of Services, those are addressed to the node as well: only
// what has no other device is refused, and it does not matter who asks.
void Explainer::explain_unowned(Journey& journey) const {
    const auto& to = journey.flow.destination;
    if (!profile_.service_device.empty()) {
        if (holds(plan_.node.addresses, to) || !service_addresses_.contains(to)) return;
        journey.verdict = Verdict::kRejected;
        journey.reason = Reason::kUnknownPort;
        return;
    }
    const bool delivered_here = holds(plan_.node.addresses, to) && journey.source_class != SourceClass::kNode;
    if (delivered_here) return;
    if (profile_.rejects_unknown_cluster_ip_ports && plan_.cluster_ips.contains(to)) {
        journey.verdict = Verdict::kRejected;
        journey.reason = Reason::kUnknownPort;
    } else if (profile_.drops_unallocated_cluster_ips && any_contains(plan_.node.service_cidrs, to)) {
        journey.verdict = Verdict::kDropped;
        journey.reason = Reason::kUnallocatedClusterIp;
    }
}

// Refusals of node ports may ask for less than acceptance does.
void Explainer::explain_closed_node_port(Journey& journey) const {
    const auto& flow = journey.flow;
    if (!profile_.refuses_on_every_local_address || !is_local(flow.destination)) return;
    const auto found = owners_.find({true, net::IpAddress(plan_.family), flow.protocol, flow.port});
    if (found == owners_.end()) return;
    const auto& treatment = found->second.destination->treatment(SourceClass::kOutside);
    if (treatment.action == Action::kBalance) return;
    journey.destination = *found->second.destination;
    journey.service_port = found->second.service_port;
    journey.scope = treatment.pool;
    journey.verdict = treatment.action == Action::kReject ? Verdict::kRejected : Verdict::kDropped;
    journey.reason = treatment.action == Action::kReject ? Reason::kNoEndpoints : Reason::kNoLocalEndpoints;
}

// Whether the Service has endpoints or not.
void Explainer::explain_not_relayed(Journey& journey) const {
    const auto& flow = journey.flow;
    if (!plan_.node.relayed_localhost || can_be_relayed(flow.protocol) || !flow.destination.is_loopback()) return;
    const auto found = owners_.find({true, net::IpAddress(plan_.family), flow.protocol, flow.port});
    if (found == owners_.end()) return;
    journey.destination = *found->second.destination;
    journey.service_port = found->second.service_port;
    journey.verdict = Verdict::kRejected;
    journey.reason = Reason::kNotRelayed;
}

// What is refused is asked where the packet is delivered or forwarded; for cluster IPs and source ranges, also where it
// leaves the node.
bool Explainer::refuses_translated(const Flow& flow, const Endpoint& endpoint) const {
    if (!profile_.refuses_after_translation) return false;
    const auto refuses = [&](const DestinationKey& key) {
        const auto found = owners_.find(key);
        if (found == owners_.end()) return false;
        const Destination& destination = *found->second.destination;
        if (!destination.allowed_sources.empty()) return true;
        if (destination.treatment(SourceClass::kOutside).action == Action::kBalance) return false;
        return destination.kind == DestinationKind::kClusterIp || !is_local(flow.source) || is_local(endpoint.address);
    };
    return refuses({false, endpoint.address, flow.protocol, endpoint.port}) ||
           (is_local(endpoint.address) && refuses({true, net::IpAddress(plan_.family), flow.protocol, endpoint.port}));
}

Journey Explainer::explain(const Flow& flow) const {
    Journey journey;
    journey.flow = flow;
    journey.source_class = classify(flow);
    const Owned* owned = find(flow);
    if (owned == nullptr) {
        explain_unowned(journey);
        if (journey.verdict == Verdict::kNotOurs) explain_closed_node_port(journey);
        if (journey.verdict == Verdict::kNotOurs) explain_not_relayed(journey);
        const auto refused = refused_.find({false, flow.destination, flow.protocol, flow.port});
        if (journey.verdict == Verdict::kNotOurs && refused != refused_.end()) {
            journey.reason = Reason::kRefusedAddress;
            journey.service_port = refused->second;
        }
        return journey;
    }
    const Destination& destination = *owned->destination;
    journey.destination = destination;
    journey.service_port = owned->service_port;
    if (!destination.allowed_sources.empty() && !any_contains(destination.allowed_sources, flow.source)) {
        journey.verdict = Verdict::kDropped;
        journey.reason = Reason::kSourceNotAllowed;
        return journey;
    }
    const Treatment& treatment = destination.treatment(journey.source_class);
    journey.scope = treatment.pool;
    const bool leaves = !is_local(flow.destination) && destination.kind != DestinationKind::kClusterIp;
    if (treatment.action != Action::kBalance && leaves && is_local(flow.source) && !profile_.refuses_own_traffic) {
        journey.reason = Reason::kOwnTraffic;
        return journey;
    }
    switch (treatment.action) {
        case Action::kReject:
            journey.verdict = Verdict::kRejected;
            journey.reason = Reason::kNoEndpoints;
            break;
        case Action::kDrop:
            journey.verdict = Verdict::kDropped;
            journey.reason = Reason::kNoLocalEndpoints;
            break;
        case Action::kBalance:
            journey.verdict = Verdict::kBalanced;
            journey.reason = Reason::kEndpoints;
            journey.pool = owned->service_port->pool(treatment.pool);
            journey.scheduled = profile_.schedules;
            journey.sticks_to_destination = profile_.affinity_per_destination;
            leave_out_drained(journey);
            if (journey.pool.empty()) {
                journey.verdict = Verdict::kRejected;
                journey.reason = Reason::kNoWeight;
                break;
            }
            journey.relayed = (profile_.relays && can_be_relayed(flow.protocol)) || is_relayed_localhost(flow);
            journey.masquerade = treatment.masquerade || journey.relayed;
            if (journey.relayed) break;
            for (const auto& endpoint : journey.pool)
                if (refuses_translated(flow, endpoint)) journey.refused.push_back(endpoint);
            for (const auto& endpoint : journey.pool)
                if (endpoint.address == flow.source &&
                    plan_.hairpins.contains({endpoint.address, flow.protocol, endpoint.port}))
                    journey.hairpins.push_back(endpoint);
            break;
    }
    return journey;
}

}  // namespace ghostip::plan
