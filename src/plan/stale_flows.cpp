#include "plan/stale_flows.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <unordered_set>
#include <utility>

namespace ghostip::plan {
namespace {

bool is_udp(const ServicePortPlanPtr& plan) { return plan && plan->name.protocol == net::Protocol::kUdp; }

// Not copied: keeps the plan alive instead.
Answerers answerers_in(const ServicePortPlanPtr& plan) { return {plan, &plan->serving}; }

std::vector<net::IpAddress> node_port_addresses(const NodeRules& rules) {
    std::vector<net::IpAddress> addresses = rules.node_ports.addresses;
    if (rules.node_ports.all) {
        addresses.clear();
        std::copy_if(rules.addresses.begin(), rules.addresses.end(), std::back_inserter(addresses),
                     [](const auto& address) { return !address.is_loopback(); });
    }
    std::sort(addresses.begin(), addresses.end());
    return addresses;
}

bool same(const Answerers& a, const Answerers& b) {
    if (a == b) return true;
    return a && b && *a == *b;
}

}  // namespace

bool StaleFlows::contains(const AddressPort& dialled, const AddressPort& answerer) const {
    const auto found = destinations_.find(dialled);
    return found != destinations_.end() && !std::binary_search(found->second->begin(), found->second->end(), answerer);
}

void StaleFlows::set(const AddressPort& dialled, Answerers answerers) {
    destinations_.insert_or_assign(dialled, std::move(answerers));
}

void StaleFlows::merge(StaleFlows later) {
    if (destinations_.empty()) {
        destinations_ = std::move(later.destinations_);
        return;
    }
    for (auto& [dialled, answerers] : later.destinations_)
        destinations_.insert_or_assign(dialled, std::move(answerers));
}

// A destination with an address of its own comes before a node port on the same address, as in the rules.
Answerers StaleFlowFinder::answerers_of(const AddressPort& dialled) const {
    if (const auto owned = owned_.find(dialled); owned != owned_.end()) return owned->second;
    const auto node_port = node_ports_.find(dialled.port);
    if (node_port == node_ports_.end() ||
        !std::binary_search(node_port_addresses_.begin(), node_port_addresses_.end(), dialled.address))
        return nullptr;
    return node_port->second;
}

void StaleFlowFinder::take(const ServicePortPlanPtr& plan, bool present) {
    for (const auto& destination : plan->destinations) {
        const auto& key = destination.key;
        if (key.node_port && present)
            node_ports_.insert_or_assign(key.port, answerers_in(plan));
        else if (key.node_port)
            node_ports_.erase(key.port);
        else if (present)
            owned_.insert_or_assign(AddressPort{key.address, key.port}, answerers_in(plan));
        else
            owned_.erase({key.address, key.port});
    }
}

StaleFlows StaleFlowFinder::next(const Delta& delta) {
    // 1. Which destinations can this delta concern?
    std::unordered_set<AddressPort> concerned;
    std::unordered_set<std::uint16_t> ports;  // node ports
    for (const auto& change : delta.service_ports)
        for (const auto& plan : {change.before, change.after}) {
            if (!is_udp(plan)) continue;
            for (const auto& destination : plan->destinations) {
                if (destination.key.node_port)
                    ports.insert(destination.key.port);
                else
                    concerned.insert({destination.key.address, destination.key.port});
            }
        }
    const auto add_node_ports = [&](const std::vector<net::IpAddress>& addresses) {
        for (const auto port : ports)
            for (const auto& address : addresses) concerned.insert({address, port});
    };
    add_node_ports(node_port_addresses_);
    std::optional<std::vector<net::IpAddress>> addresses;
    if (delta.node_rules) addresses = node_port_addresses(delta.node_rules->after);
    if (addresses) {
        add_node_ports(*addresses);
        std::vector<net::IpAddress> changed;
        std::set_symmetric_difference(addresses->begin(), addresses->end(), node_port_addresses_.begin(),
                                      node_port_addresses_.end(), std::back_inserter(changed));
        if (!changed.empty())
            for (const auto& [port, answerers] : node_ports_) ports.insert(port);
        add_node_ports(changed);
    }

    // 2. Who answered there, and who does now? What went goes first: a destination that is taken over is in both lists.
    std::unordered_map<AddressPort, Answerers> before;
    for (const auto& dialled : concerned) before.emplace(dialled, answerers_of(dialled));
    for (const auto& change : delta.service_ports)
        if (is_udp(change.before)) take(change.before, false);
    for (const auto& change : delta.service_ports)
        if (is_udp(change.after)) take(change.after, true);
    if (addresses) node_port_addresses_ = std::move(*addresses);

    // 3. Where that differs, what is answered by anybody else is wrong.
    static const auto nobody = std::make_shared<const std::vector<AddressPort>>();
    StaleFlows stale;
    for (const auto& [dialled, answered] : before) {
        auto answerers = answerers_of(dialled);
        if (same(answered, answerers)) continue;
        if (!answerers) answerers = nobody;
        stale.set(dialled, std::move(answerers));
    }
    return stale;
}

StaleFlows check_everything(const Plan& plan) { return StaleFlowFinder{}.next(everything(plan)); }

}  // namespace ghostip::plan
