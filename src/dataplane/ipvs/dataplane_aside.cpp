// The part of the dataplane for fronts that cannot be where they would be: an address that the kernel does not take,
// and a virtual server that two of them want.
#include <algorithm>
#include <iterator>
#include <utility>

#include "dataplane/ipvs/dataplane.h"

namespace ghostip::dataplane::ipvs {

// Before anything leads there; one that nobody wants any more goes again as all such do.
Result<void> IpvsDataplane::try_refused_again() {
    auto& refused = limits_.refused_addresses;
    if (refused.empty()) return {};
    std::vector<net::IpAddress> addresses;
    addresses.reserve(refused.size());
    for (const auto& [address, reason] : refused) addresses.push_back(address);
    ASSIGN_OR_RETURN(const auto refusals, host_.kernel.links->add_addresses(kDevice, addresses));
    refused.clear();
    for (const auto& refusal : refusals) refused.emplace(addresses[refusal.address], refusal.error.message);
    return {};
}

// Whatever is led by an address that the device did not take. Rare, so that all fronts are looked through.
Result<void> IpvsDataplane::withdraw(const std::set<net::IpAddress>& refused, Outcome& outcome) {
    if (refused.empty()) return {};
    std::vector<FrontChange> changes;
    std::vector<Aside> asides;
    for (const auto& plan : state_->service_ports)
        for (auto& front : render_fronts(*plan, context(state_->node))) {
            if (!front.address || !refused.contains(*front.address) || state_->aside.contains(front.key)) continue;
            asides.push_back(Aside::of(front, limits_.refused_addresses.at(*front.address)));
            changes.push_back({std::move(front), {}});
        }
    RETURN_IF_ERROR(write(changes, {}, state_->node, outcome));
    for (std::size_t i = 0; i < changes.size(); ++i) {
        outcome.set_aside.push_back({asides[i].name.text(), asides[i].reason});
        state_->aside.insert_or_assign(changes[i].before.key, std::move(asides[i]));
    }
    return {};
}

std::optional<Front> IpvsDataplane::front_of(const plan::DestinationKey& key) const {
    for (const auto& plan : state_->service_ports) {
        const bool owns = std::any_of(plan->destinations.begin(), plan->destinations.end(),
                                      [&](const auto& destination) { return destination.key == key; });
        if (!owns) continue;
        for (auto& front : render_fronts(*plan, context(state_->node)))
            if (front.key == key) return std::move(front);
    }
    return std::nullopt;
}

// An address of a Service that is this node's own, and whose port is a node port: the node port goes, from all
// addresses.
Result<void> IpvsDataplane::give_way(const std::vector<FrontChange>& changes, Outcome& outcome) {
    const auto own = node_port_addresses(state_->node, options_);
    std::vector<FrontChange> ceded;
    std::vector<Aside> asides;
    for (const auto& [before, after] : changes) {
        if (after.servers.empty() || after.key.node_port || !before.servers.empty()) continue;
        if (!std::binary_search(own.begin(), own.end(), after.key.address)) continue;
        const plan::DestinationKey key{true, net::IpAddress(family_), after.key.protocol, after.key.port};
        const bool changes_too = std::any_of(changes.begin(), changes.end(), [&](const auto& change) {
            return change.before.key == key || change.after.key == key;
        });
        if (changes_too || state_->aside.contains(key)) continue;  // those are left to the look at everything
        auto front = front_of(key);
        if (!front) continue;
        const auto reason =
            fmt::format("another Service has the virtual server {}", text(after.servers.front().service.key));
        asides.push_back(Aside::of(*front, reason));
        ceded.push_back({std::move(*front), {}});
    }
    if (ceded.empty()) return {};
    RETURN_IF_ERROR(write(ceded, {}, state_->node, outcome));
    for (std::size_t i = 0; i < ceded.size(); ++i) {
        outcome.set_aside.push_back({asides[i].name.text(), asides[i].reason});
        state_->aside.insert_or_assign(ceded[i].before.key, std::move(asides[i]));
    }
    return {};
}

// What these left may be what somebody waits for.
Result<void> IpvsDataplane::take_places(const std::vector<FrontChange>& changes, Outcome& outcome) {
    std::set<kernel::ipvs::ServiceKey> left;
    for (const auto& change : changes) {
        if (!change.after.servers.empty()) continue;
        for (const auto& server : change.before.servers) left.insert(server.service.key);
    }
    if (left.empty()) return {};
    std::vector<FrontChange> come;
    for (const auto& [key, aside] : state_->aside) {
        if (aside.by_option || aside.landed) continue;
        auto front = front_of(key);
        if (!front || Aside::beforehand(*front, context(state_->node))) continue;
        const bool waited = std::any_of(front->servers.begin(), front->servers.end(),
                                        [&](const auto& server) { return left.contains(server.service.key); });
        if (waited) come.push_back({{}, std::move(*front)});
    }
    if (come.empty()) return {};
    for (const auto& change : come) state_->aside.erase(change.after.key);
    return write(come, {}, state_->node, outcome);
}

}  // namespace ghostip::dataplane::ipvs
