#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "dataplane/ipvs/front.h"
#include "kernel/iptables/rule_text.h"

namespace ghostip::dataplane::ipvs {
namespace {

using kernel::ipset::Element;
using plan::Action;
using plan::Destination;
using plan::DestinationKind;
using plan::PoolScope;
using plan::SourceClass;

bool answers_locally(const Destination& destination) {
    return destination.treatment(SourceClass::kOutside).pool == PoolScope::kLocal;
}

std::string scheduler_of(const plan::ServicePortPlan& plan, const Context& context) {
    const bool usable = !plan.scheduler.empty() && !context.limits.unknown_schedulers.contains(plan.scheduler);
    return usable ? plan.scheduler : context.options.scheduler;
}

// One virtual server has one pool: that of the clients elsewhere. Others are led to the cluster IP.
std::vector<kernel::ipvs::Destination> behind(const plan::ServicePortPlan& plan, const Destination& destination,
                                              const Context& context) {
    const auto scheduler = scheduler_of(plan, context);
    std::vector<kernel::ipvs::Destination> made;
    for (const auto& endpoint : plan.pool(destination.treatment(SourceClass::kOutside).pool)) {
        const auto weight = plan::weight_of(plan.weights, endpoint.address);
        if (weight == 0 && !passes_over_weight_0(scheduler)) continue;
        if (context.limits.refused_endpoints.contains(endpoint.address)) continue;
        auto& one = made.emplace_back();
        one.key = {endpoint.address, endpoint.port};
        one.weight = weight;
    }
    std::sort(made.begin(), made.end());
    return made;
}

kernel::ipvs::Service service_at(const net::IpAddress& address, const plan::ServicePortPlan& plan,
                                 const Destination& destination, const Context& context) {
    kernel::ipvs::Service service;
    service.key = {address, destination.key.protocol, destination.key.port, 0};
    service.scheduler = scheduler_of(plan, context);
    if (plan.affinity_seconds != 0) service.flags |= kernel::ipvs::kPersistent;
    service.flags |= scheduler_flags(service.scheduler);
    service.timeout_seconds = plan.affinity_seconds;
    return service;
}

SetEntry at(Set set, const kernel::ipvs::ServiceKey& key) {
    return {set, Element{key.address, key.protocol, key.port, std::nullopt}};
}

SetEntry port_entry(Set set, std::uint16_t port) {
    Element element;
    element.port = port;
    return {set, element};
}

void add_node_port_entries(Front& front, bool local) {
    const auto protocol = front.key.protocol;
    for (const auto& server : front.servers) front.entries.push_back(at(Set::kNodePorts, server.service.key));
    if (protocol == net::Protocol::kSctp) {
        for (const auto& server : front.servers) {
            front.entries.push_back(at(Set::kNodePortSctp, server.service.key));
            if (local) front.entries.push_back(at(Set::kNodePortLocalSctp, server.service.key));
        }
        return;
    }
    const bool tcp = protocol == net::Protocol::kTcp;
    front.entries.push_back(port_entry(tcp ? Set::kNodePortTcp : Set::kNodePortUdp, front.key.port));
    if (local)
        front.entries.push_back(port_entry(tcp ? Set::kNodePortLocalTcp : Set::kNodePortLocalUdp, front.key.port));
}

void add_source_entries(Front& front, const std::vector<net::Prefix>& allowed) {
    if (allowed.empty()) return;
    const auto& key = front.servers.front().service.key;
    front.entries.push_back(at(Set::kLoadBalancerFw, key));
    for (const auto& range : allowed) {
        auto entry = at(Set::kLoadBalancerSourceCidr, key);
        entry.element.other = range;
        front.entries.push_back(entry);
    }
}

void add_entries(Front& front, const Destination& destination) {
    const bool local = answers_locally(destination);
    const auto& key = front.servers.front().service.key;
    switch (destination.kind) {
        case DestinationKind::kClusterIp: front.entries.push_back(at(Set::kClusterIp, key)); break;
        case DestinationKind::kExternalIp:
            front.entries.push_back(at(local ? Set::kExternalIpLocal : Set::kExternalIp, key));
            break;
        case DestinationKind::kLoadBalancerIp:
            front.entries.push_back(at(Set::kLoadBalancer, key));
            if (local) front.entries.push_back(at(Set::kLoadBalancerLocal, key));
            add_source_entries(front, destination.allowed_sources);
            break;
        case DestinationKind::kNodePort: add_node_port_entries(front, local); break;
    }
    for (const auto& server : front.servers) {
        if (destination.treatment(SourceClass::kOutside).action == Action::kDrop)
            front.entries.push_back(at(Set::kDrop, server.service.key));
        if (destination.treatment(SourceClass::kNode).action == Action::kDrop)
            front.entries.push_back(at(Set::kDropOwn, server.service.key));
    }
    std::sort(front.entries.begin(), front.entries.end());
}

// To the cluster IP, whose virtual server has the pool that this traffic is due. Where internal policy Local gives that
// one the same pool as this one, the plan says so.
std::string short_circuit(const plan::ServicePortPlan& plan, const Destination& destination, const Context& context) {
    const auto inner = std::find_if(plan.destinations.begin(), plan.destinations.end(),
                                    [](const auto& other) { return other.kind == DestinationKind::kClusterIp; });
    const bool same_for_all =
        destination.treatment(SourceClass::kPod).pool == destination.treatment(SourceClass::kOutside).pool;
    if (same_for_all || inner == plan.destinations.end()) return {};
    std::string rule;
    kernel::iptables::RuleText text(rule, kernel::iptables::Form::kSaved, context.family);
    text.begin("-A", chains::kShortCircuit);
    if (!destination.key.node_port) text.destination(net::Prefix::host(destination.key.address));
    text.protocol(destination.key.protocol).comment(plan.name.text());
    // The port of an address that is no node's is somebody else's (a Service's whose pods come here too).
    if (destination.key.node_port) text.in_set(set_name(Set::kNodePorts, context.family), "dst,dst");
    text.destination_port(destination.key.protocol, destination.key.port)
        .translate(inner->key.address, inner->key.port)
        .end();
    return rule;
}

}  // namespace

std::string Front::text() const { return fmt::format("{} ({})", name.text(), key.text()); }

bool is_excluded(const net::IpAddress& address, const IpvsOptions& options) {
    return std::any_of(options.exclude_cidrs.begin(), options.exclude_cidrs.end(),
                       [&](const auto& range) { return range.contains(address); });
}

std::vector<net::IpAddress> node_port_addresses(const plan::NodeRules& node, const IpvsOptions& options) {
    const auto& from = node.node_ports.all ? node.addresses : node.node_ports.addresses;
    std::vector<net::IpAddress> own;
    std::copy_if(from.begin(), from.end(), std::back_inserter(own), [&](const auto& address) {
        return !address.is_loopback() && (address.is_ipv4() || !address.is_link_local()) &&
               !is_excluded(address, options);
    });
    return own;
}

std::vector<Front> render_fronts(const plan::ServicePortPlan& plan, const Context& context) {
    std::vector<Front> fronts;
    for (const auto& destination : plan.destinations) {
        Front front;
        front.key = destination.key;
        front.kind = destination.kind;
        front.name = plan.name;
        const auto addresses = destination.key.node_port ? node_port_addresses(context.node, context.options)
                                                         : std::vector<net::IpAddress>{destination.key.address};
        const auto pool = behind(plan, destination, context);
        for (const auto& address : addresses) {
            auto service = service_at(address, plan, destination, context);
            if (destination.key.node_port && context.limits.taken.contains(service.key)) continue;
            front.servers.push_back({std::move(service), pool});
        }
        if (front.servers.empty()) continue;
        add_entries(front, destination);
        // An address of another device is local without us.
        if (!destination.key.node_port &&
            !std::binary_search(context.node.addresses.begin(), context.node.addresses.end(), destination.key.address))
            front.address = destination.key.address;
        if (destination.kind != DestinationKind::kClusterIp)
            front.short_circuit = short_circuit(plan, destination, context);
        fronts.push_back(std::move(front));
    }
    return fronts;
}

const Server* find_server(const Front& front, const kernel::ipvs::ServiceKey& key) {
    const auto found = std::lower_bound(front.servers.begin(), front.servers.end(), key,
                                        [](const auto& one, const auto& wanted) { return one.service.key < wanted; });
    return found != front.servers.end() && found->service.key == key ? &*found : nullptr;
}

void leave_out(Front& front, const kernel::ipvs::ServiceKey& key) {
    std::erase_if(front.servers, [&](const auto& server) { return server.service.key == key; });
    if (front.servers.empty()) {
        front = {};
        return;
    }
    std::erase_if(front.entries, [&](const auto& entry) {
        const auto& element = entry.element;
        return element.address == key.address && element.protocol == key.protocol && element.port == key.port;
    });
}

SetEntry hairpin_entry(const plan::Hairpin& hairpin) {
    return {Set::kLoopBack,
            Element{hairpin.address, hairpin.protocol, hairpin.port, net::Prefix::host(hairpin.address)}};
}

SetEntry health_check_entry(std::uint16_t node_port) { return port_entry(Set::kHealthCheck, node_port); }

SetEntry address_entry(Set set, const net::IpAddress& address) {
    Element element;
    element.address = address;
    return {set, element};
}

}  // namespace ghostip::dataplane::ipvs
