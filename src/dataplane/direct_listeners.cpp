#include "dataplane/direct_listeners.h"

#include <algorithm>

#include <fmt/format.h>

namespace ghostip::dataplane {
namespace {

const plan::Destination* cluster_ip(const plan::ServicePortPlan& plan) {
    const auto found = std::find_if(plan.destinations.begin(), plan.destinations.end(), [](const auto& destination) {
        return destination.kind == plan::DestinationKind::kClusterIp;
    });
    return found == plan.destinations.end() ? nullptr : &*found;
}

}  // namespace

std::string DirectListeners::Place::text() const {
    return fmt::format("{}/{}", at.text(), net::protocol_name(protocol));
}

void DirectListeners::Places::add(const Place& place, Wanted wanted) {
    const auto [had, added] = of.try_emplace(place, wanted);
    if (!added && had->second.as != wanted.as)
        taken.emplace(std::move(wanted.whose), fmt::format("{}: {} has it", place.text(), had->second.whose));
}

DirectListeners::~DirectListeners() {
    for (const auto& [place, one] : open_) services_.carrier().close(one.listener);
}

bool DirectListeners::asked_for(const ListenRequest& request, const plan::ServicePortPlan& plan) const {
    if (request.service != plan.name.service || request.at.address.family() != services_.family()) return false;
    if (request.port.empty() || request.port == plan.name.port) return true;
    const auto* own = cluster_ip(plan);
    return own != nullptr && request.port == fmt::format("{}", own->key.port);
}

bool DirectListeners::concerned(const plan::ServicePortPlanPtr& plan) const {
    if (!plan) return false;
    if (node_ports_ != NodePortsAt::kNowhere &&
        std::any_of(plan->destinations.begin(), plan->destinations.end(),
                    [](const auto& destination) { return destination.key.node_port; }))
        return true;
    return std::any_of(requests_.begin(), requests_.end(),
                       [&](const auto& request) { return request.service == plan->name.service; });
}

void DirectListeners::follow(const plan::Delta& delta) {
    const bool any = (delta.node_rules && node_ports_ == NodePortsAt::kAccepted) || !failed_.empty() ||
                     std::any_of(delta.service_ports.begin(), delta.service_ports.end(), [&](const auto& change) {
                         return concerned(change.before) || concerned(change.after);
                     });
    if (any) follow();
}

std::vector<net::IpAddress> DirectListeners::node_port_addresses() const {
    const bool v4 = services_.family() == net::Family::kIpv4;
    const auto& accepted = services_.node().node_ports;
    switch (node_ports_) {
        case NodePortsAt::kNowhere: return {};
        case NodePortsAt::kLoopback: return {*net::IpAddress::parse(v4 ? "127.0.0.1" : "::1")};
        case NodePortsAt::kAccepted: break;
    }
    if (accepted.all) return {net::IpAddress(services_.family())};
    return accepted.addresses;
}

void DirectListeners::add_node_ports(const plan::ServicePortPlan& plan, const plan::DestinationKey& key,
                                     Places& places) const {
    for (const auto& address : node_port_addresses())
        places.add({{address, key.port}, key.protocol}, {key, fmt::format("{}: {}", plan.name.text(), key.text())});
}

// At localhost a port that nobody answers is closed, so that it is refused as one where nobody listens (KEP-6032).
bool DirectListeners::somebody_answers(const plan::Destination& destination) const {
    return node_ports_ != NodePortsAt::kLoopback ||
           destination.treatment(plan::SourceClass::kNode).action == plan::Action::kBalance;
}

DirectListeners::Places DirectListeners::wanted() const {
    Places places;
    services_.for_each([&](const plan::ServicePortPlan& plan) {
        for (const auto& request : requests_)
            if (const auto* own = cluster_ip(plan); own != nullptr && asked_for(request, plan))
                places.add({request.at, plan.name.protocol},
                           {own->key, fmt::format("{}: --listen {}", plan.name.text(), request.text())});
    });
    services_.for_each([&](const plan::ServicePortPlan& plan) {
        for (const auto& destination : plan.destinations)
            if (destination.key.node_port && somebody_answers(destination))
                add_node_ports(plan, destination.key, places);
    });
    return places;
}

Result<DirectListeners::Open> DirectListeners::open(const Place& place, const Wanted& wanted) const {
    auto as = std::make_shared<As>(wanted.as);
    relay::ListenerSpec spec;
    spec.protocol = place.protocol;
    spec.address = place.at;
    spec.sockets = 1;  // there may be many of them
    spec.ask = [table = services_.table(), as](const relay::Arrival& arrival) {
        return table->came(arrival, as->get());
    };
    ASSIGN_OR_RETURN(const auto listener,
                     services_.carrier().listen(fmt::format("direct {}", place.text()), std::move(spec)));
    return Open{std::move(as), listener};
}

DirectListeners::Failed DirectListeners::aside() const {
    auto all = failed_;
    all.insert(taken_.begin(), taken_.end());
    return all;
}

void DirectListeners::follow() {
    auto places = wanted();
    std::erase_if(open_, [&](const auto& entry) {
        if (const auto found = places.of.find(entry.first); found != places.of.end()) {
            entry.second.as->set(found->second.as);
            return false;
        }
        services_.carrier().close(entry.second.listener);
        return true;
    });
    failed_.clear();
    taken_ = std::move(places.taken);
    for (const auto& [place, want] : places.of) {
        if (open_.contains(place)) continue;
        auto opened = open(place, want);
        if (opened)
            open_.emplace(place, std::move(*opened));
        else
            failed_.emplace(want.whose, fmt::format("{}: {}", place.text(), opened.error().message));
    }
    if (node_ports_ != NodePortsAt::kLoopback) return;
    auto& counts = services_.carrier().localhost(services_.family());
    counts.listeners = open_.size();
    counts.failures += failed_.size();
}

}  // namespace ghostip::dataplane
