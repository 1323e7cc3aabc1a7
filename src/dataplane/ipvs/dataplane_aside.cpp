// The part of the dataplane for fronts that cannot be where they would be: an address that the kernel does not take,
// and a virtual server that two of them want.
#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

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

void IpvsDataplane::list_refused_endpoints(std::vector<SetAside>& list) const {
    const auto& refused = limits_.refused_endpoints;
    if (refused.empty()) return;
    for (const auto& plan : state_->service_ports)
        for (const auto& endpoint : plan->pool(plan::PoolScope::kCluster))
            if (const auto one = refused.find(endpoint.address); one != refused.end())
                list.push_back(
                    {plan->name.text(), fmt::format("endpoint {}: {}", endpoint.address.text(), one->second)});
}

// What is an address of nobody may be somebody's by now. Rare, so that all fronts are looked through.
Result<void> IpvsDataplane::try_endpoints_again(const std::map<net::IpAddress, std::string>& refused,
                                                Outcome& outcome) {
    if (refused.empty()) return {};
    const Limits known = limits_;
    for (const auto& [address, reason] : refused) limits_.refused_endpoints.erase(address);
    const Context before{state_->node, family_, options_, known};
    std::vector<FrontChange> changes;
    for (const auto& plan : state_->service_ports) {
        auto held = render_fronts(*plan, before);
        auto wanted = render_fronts(*plan, context(state_->node));  // as many, and in the same order
        for (std::size_t i = 0; i < held.size(); ++i)
            if (held[i] != wanted[i] && !state_->aside.contains(held[i].key))
                changes.push_back({std::move(held[i]), std::move(wanted[i])});
    }
    return write(changes, {}, state_->node, outcome);
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

namespace {

plan::DestinationKey node_port_at(const kernel::ipvs::ServiceKey& key) {
    return {true, net::IpAddress(key.address.family()), key.protocol, key.port};
}

Front without(Front front, const kernel::ipvs::ServiceKey& key) {
    leave_out(front, key);
    return front;
}

// Of these, those that the kernel has.
Result<std::set<kernel::ipvs::ServiceKey>> those_there(kernel::ipvs::Ipvs& ipvs,
                                                       const std::set<kernel::ipvs::ServiceKey>& keys) {
    constexpr std::size_t kMostQuestions = 1000;  // from there on a list is quicker
    std::set<kernel::ipvs::ServiceKey> there;
    if (keys.size() > kMostQuestions) {
        ASSIGN_OR_RETURN(const auto services, ipvs.services());
        for (const auto& service : services)
            if (keys.contains(service.key)) there.insert(service.key);
        return there;
    }
    for (const auto& key : keys) {
        ASSIGN_OR_RETURN(const bool found, ipvs.contains(key));
        if (found) there.insert(key);
    }
    return there;
}

}  // namespace

void IpvsDataplane::list_taken(std::vector<SetAside>& list) const {
    for (const auto& [key, reason] : limits_.taken) {
        const auto wanted = node_port_at(key);
        for (const auto& plan : state_->service_ports)
            for (const auto& destination : plan->destinations)
                if (destination.key == wanted)
                    list.push_back({plan->name.text(), fmt::format("{}: {}", wanted.text(), reason)});
    }
}

// Before an element of ours says that a virtual server is ours, it must not be there.
Result<void> IpvsDataplane::leave_to_others(std::vector<FrontChange>& changes, Outcome& outcome) {
    std::set<kernel::ipvs::ServiceKey> come;
    for (const auto& [before, after] : changes)
        for (const auto& server : after.servers)
            if (find_server(before, server.service.key) == nullptr) come.insert(server.service.key);
    ASSIGN_OR_RETURN(const auto there, those_there(*host_.kernel.ipvs, come));
    if (there.empty()) return {};
    std::vector<FrontChange> left;
    for (auto& change : changes) {
        auto& [before, after] = change;
        const auto wanted = after.servers;
        for (const auto& server : wanted) {
            const auto& key = server.service.key;
            if (find_server(before, key) != nullptr || !there.contains(key)) continue;
            const auto name = after.name;
            if (!after.key.node_port) {
                const auto& aside =
                    state_->aside.insert_or_assign(after.key, Aside::of(after, somebody_else_has(key))).first->second;
                outcome.set_aside.push_back({name.text(), aside.reason});
                after = {};
                break;
            }
            const plan::DestinationKey other{false, key.address, key.protocol, key.port};
            const bool is_a_services = !state_->aside.contains(other) && front_of(other);
            const auto& reason =
                limits_.taken.insert_or_assign(key, is_a_services ? another_service_has(key) : somebody_else_has(key))
                    .first->second;
            outcome.set_aside.push_back({name.text(), fmt::format("{}: {}", after.key.text(), reason)});
            leave_out(after, key);
        }
        if (before != after) left.push_back(std::move(change));
    }
    changes = std::move(left);
    return {};
}

// An address of a Service that is this node's own, and whose port is a node port: the node port goes there.
Result<void> IpvsDataplane::give_way(std::vector<FrontChange>& changes, Outcome& outcome) {
    const auto own = node_port_addresses(state_->node, options_);
    std::set<kernel::ipvs::ServiceKey> won;
    for (const auto& [before, after] : changes) {
        if (after.servers.empty() || after.key.node_port || !before.servers.empty()) continue;
        if (std::binary_search(own.begin(), own.end(), after.key.address))
            won.insert(after.servers.front().service.key);
    }
    std::vector<FrontChange> ceded;
    for (const auto& key : won) {
        const auto wanted = node_port_at(key);
        const auto changes_too = std::find_if(changes.begin(), changes.end(), [&](const auto& change) {
            return change.before.key == wanted || change.after.key == wanted;
        });
        Front held;
        Front coming;
        if (changes_too != changes.end()) {
            held = changes_too->before;
            coming = changes_too->after;
            changes_too->before = without(held, key);
            changes_too->after = without(coming, key);
        } else if (auto front = front_of(wanted); front && !state_->aside.contains(wanted)) {
            held = coming = std::move(*front);
        }
        if (find_server(coming, key) != nullptr) {
            const auto& reason = limits_.taken.insert_or_assign(key, another_service_has(key)).first->second;
            outcome.set_aside.push_back({coming.name.text(), fmt::format("{}: {}", wanted.text(), reason)});
        }
        if (find_server(held, key) == nullptr) continue;
        // Several of one front go one after the other.
        const auto known =
            std::find_if(ceded.begin(), ceded.end(), [&](const auto& change) { return change.before.key == held.key; });
        if (known != ceded.end())
            known->after = without(std::move(known->after), key);
        else
            ceded.push_back({held, without(held, key)});
    }
    if (ceded.empty()) return {};
    return write(ceded, {}, state_->node, outcome);
}

// What these left may be what somebody waits for.
Result<void> IpvsDataplane::take_places(const std::vector<FrontChange>& changes, Outcome& outcome) {
    std::set<kernel::ipvs::ServiceKey> left;
    for (const auto& [before, after] : changes)
        for (const auto& server : before.servers)
            if (find_server(after, server.service.key) == nullptr) left.insert(server.service.key);
    if (left.empty()) return {};
    std::map<plan::DestinationKey, FrontChange> come;
    for (const auto& [key, aside] : state_->aside) {
        if (aside.by_option || aside.landed) continue;
        auto front = front_of(key);
        if (!front || Aside::beforehand(*front, context(state_->node))) continue;
        const bool waited = std::any_of(front->servers.begin(), front->servers.end(),
                                        [&](const auto& server) { return left.contains(server.service.key); });
        if (waited) come[key].after = std::move(*front);
    }
    for (const auto& [key, change] : come) state_->aside.erase(key);
    std::set<plan::DestinationKey> wider;
    for (const auto& key : left) {
        const auto wanted = node_port_at(key);
        if (!limits_.taken.contains(key) || state_->aside.contains(wanted)) continue;
        if (auto front = front_of(wanted); front && wider.insert(wanted).second)
            come[wanted].before = std::move(*front);
        limits_.taken.erase(key);
        if (auto front = front_of(wanted)) come[wanted].after = std::move(*front);
    }
    if (come.empty()) return {};
    std::vector<FrontChange> all;
    all.reserve(come.size());
    for (auto& [key, change] : come) all.push_back(std::move(change));
    return write(all, {}, state_->node, outcome);
}

}  // namespace ghostip::dataplane::ipvs
