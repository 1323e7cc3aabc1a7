#include "plan/planner.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "plan/external_range.h"
#include "plan/treatment.h"

namespace ghostip::plan {

struct Planner::ServiceState {
    std::shared_ptr<const api::Service> service;  // null: only slices so far
    std::shared_ptr<const api::Service> claimed;  // the version whose claims stand in owners_ and losers_
    Slices slices;
    std::vector<ServicePortPlanPtr> planned;  // ordered by name
    std::optional<HealthCheck> health_check;
};

// Small, since there is one for each destination: the names stay where they are.
struct Planner::Claim {
    DestinationKind kind;
    std::uint16_t port_index;    // into service_ports() of the service
    const ServiceName* service;  // key of services_; outlives the claim

    // The lesser one wins.
    friend bool operator<(const Claim& a, const Claim& b) {
        return std::tie(a.kind, *a.service, a.port_index) < std::tie(b.kind, *b.service, b.port_index);
    }
    friend bool operator==(const Claim& a, const Claim& b) {
        return a.kind == b.kind && a.service == b.service && a.port_index == b.port_index;
    }
};

// Keys that came (+1) or went (-1) on the whole; what was removed and added again did not change.
struct Planner::NetChanges {
    std::unordered_map<net::IpAddress, int> cluster_ips;
    std::unordered_map<Hairpin, int> hairpins;
};

namespace {

// The API server as a Service of its own cluster.
bool is_api_server(const api::EndpointSlice& slice) {
    return slice.namespace_ == "default" && slice.service_name == "kubernetes";
}

std::string object_id(const api::ObjectKey& key) { return key.namespace_ + "/" + key.name; }

template <typename T>
std::shared_ptr<const T> as(const std::optional<api::Object>& object) {
    return object ? std::get<std::shared_ptr<const T>>(*object) : nullptr;
}

std::vector<AddressPort> serving(const std::vector<Candidate>& candidates) {
    std::vector<AddressPort> result;
    for (const auto& candidate : candidates)
        if (candidate.serving) result.push_back({candidate.endpoint.address, candidate.endpoint.port});
    // No two candidates have the same end, but their order is that of text.
    std::sort(result.begin(), result.end());
    return result;
}

// Changes a reference count; true if the entry came or went.
template <typename Counts>
bool change_count(Counts& counts, const typename Counts::key_type& key, bool up) {
    if (up) return ++counts[key] == 1;
    const auto found = counts.find(key);
    if (found == counts.end() || --found->second > 0) return false;
    counts.erase(found);
    return true;
}

template <typename Key>
void report(const std::unordered_map<Key, int>& net, std::vector<Key>& added, std::vector<Key>& removed) {
    for (const auto& [key, direction] : net) {
        if (direction > 0) added.push_back(key);
        if (direction < 0) removed.push_back(key);
    }
}

}  // namespace

Planner::Planner(net::Family family, NodeSettings settings, const ModeProfile& profile, HostFacts host)
    : family_(family), settings_(std::move(settings)), profile_(profile), host_(std::move(host)) {}

Planner::~Planner() = default;

Delta Planner::apply(const std::vector<api::Change>& changes) {
    Dirty dirty;
    for (const auto& change : changes) take(change, dirty);
    return settle(std::move(dirty));
}

Delta Planner::set_host(HostFacts host) {
    rules_due_ = rules_due_ || !(host == host_);
    host_ = std::move(host);
    return settle({});
}

Delta Planner::settle(Dirty dirty) {
    Delta delta;
    const NodeRules before = rules_;
    update_node_rules(delta);
    // What of the node's rules decides treatments concerns every service; the rest (addresses) does not.
    if (delta.node_rules && (before.detector.available() != rules_.detector.available() ||
                             before.masquerade_all != rules_.masquerade_all || before.node_ip != rules_.node_ip))
        for (const auto& [name, state] : services_) dirty.insert(name);

    // Claims first: who owns a destination must be known before anybody's plan is made, and a change of owner concerns
    // services that did not change themselves.
    Dirty claimants = dirty;
    while (!claimants.empty()) {
        Dirty affected;
        for (const auto& name : claimants) update_claims(name, affected);
        claimants.clear();
        for (const auto& name : affected)
            if (dirty.insert(name).second) claimants.insert(name);
    }
    NetChanges net;
    for (const auto& name : dirty) replan(name, delta, net);
    // Whether an address of this node says whose a service range is depends on whether it is a cluster IP.
    rules_due_ = std::any_of(host_.addresses.begin(), host_.addresses.end(),
                             [&](const auto& address) { return net.cluster_ips.contains(address); });
    update_node_rules(delta);
    report(net.cluster_ips, delta.cluster_ips_added, delta.cluster_ips_removed);
    report(net.hairpins, delta.hairpins_added, delta.hairpins_removed);
    for (const auto& name : dirty) forget_if_empty(name);
    return delta;
}

void Planner::take(const api::Change& change, Dirty& dirty) {
    switch (change.key.kind) {
        case api::Kind::kService: take_service(change, dirty); break;
        case api::Kind::kEndpointSlice: take_slice(change, dirty); break;
        case api::Kind::kNode: take_node(change, dirty); break;
        case api::Kind::kServiceCidr: take_service_cidr(change); break;
        case api::Kind::kPod:
        case api::Kind::kNamespace: break;
    }
}

void Planner::take_service(const api::Change& change, Dirty& dirty) {
    ++stats_.service_changes;
    const ServiceName name{change.key.namespace_, change.key.name};
    auto& state = services_[name];
    if (!state) state = std::make_unique<ServiceState>();
    state->service = as<api::Service>(change.object);
    dirty.insert(name);
}

void Planner::take_slice(const api::Change& change, Dirty& dirty) {
    const std::string id = object_id(change.key);
    const auto known = slices_.find(id);
    const auto before = known == slices_.end() ? nullptr : known->second;
    detach_slice(id, dirty);
    const auto slice = as<api::EndpointSlice>(change.object);
    const auto wanted = family_ == net::Family::kIpv4 ? api::AddressType::kIpv4 : api::AddressType::kIpv6;
    const bool here = slice && slice->address_type == wanted && !slice->service_name.empty();
    if (here || before) ++stats_.endpoint_changes;
    if (!here) return;
    note_refusals(before.get(), *slice, refusals_);
    count_for_rules(*slice, true);
    const ServiceName name{slice->namespace_, slice->service_name};
    auto& state = services_[name];
    if (!state) state = std::make_unique<ServiceState>();
    state->slices.push_back(slice);
    slices_[id] = slice;
    dirty.insert(name);
}

void Planner::detach_slice(const std::string& slice_id, Dirty& dirty) {
    const auto known = slices_.find(slice_id);
    if (known == slices_.end()) return;
    const ServiceName name{known->second->namespace_, known->second->service_name};
    auto& slices = services_.at(name)->slices;
    slices.erase(std::remove(slices.begin(), slices.end(), known->second), slices.end());
    count_for_rules(*known->second, false);
    slices_.erase(known);
    dirty.insert(name);
}

void Planner::count_for_rules(const api::EndpointSlice& slice, bool present) {
    if (is_api_server(slice)) rules_due_ = true;
    const auto here = std::find(slice.node_names.begin(), slice.node_names.end(), settings_.node_name);
    if (here == slice.node_names.end() || settings_.node_name.empty()) return;
    const auto index = static_cast<std::uint16_t>(here - slice.node_names.begin());
    for (const auto& endpoint : slice.endpoints)
        if (endpoint.node == index && change_count(local_pods_, endpoint.address, present)) rules_due_ = true;
}

void Planner::take_node(const api::Change& change, Dirty& dirty) {
    if (change.key.name != settings_.node_name) return;
    rules_due_ = true;
    const std::string zone_before = node_ ? node_->zone : "";
    node_ = as<api::Node>(change.object);
    // Hints are read against the zone: every service may choose anew.
    if ((node_ ? node_->zone : "") != zone_before)
        for (const auto& [name, state] : services_) dirty.insert(name);
}

void Planner::take_service_cidr(const api::Change& change) {
    rules_due_ = true;
    if (change.object)
        service_cidrs_[change.key.name] = as<api::ServiceCidr>(change.object);
    else
        service_cidrs_.erase(change.key.name);
}

void Planner::update_node_rules(Delta& delta) {
    if (!std::exchange(rules_due_, false)) return;
    ClusterFacts cluster;
    for (const auto& [name, object] : service_cidrs_)
        cluster.service_cidrs.insert(cluster.service_cidrs.end(), object->cidrs.begin(), object->cidrs.end());
    if (const auto found = services_.find({"default", "kubernetes"}); found != services_.end())
        for (const auto& slice : found->second->slices)
            for (const auto& endpoint : slice->endpoints) cluster.api_servers.push_back(endpoint.address);
    cluster.local_pods = &local_pods_;
    cluster.is_cluster_ip = [this](const net::IpAddress& address) { return cluster_ips_.contains(address); };
    NodeRules rules = node_rules(settings_, profile_, node_.get(), host_, cluster, family_);
    if (rules_known_ && rules == rules_) return;
    delta.node_rules = {delta.node_rules ? delta.node_rules->before : rules_, rules};
    rules_ = std::move(rules);
    rules_known_ = true;
}

void Planner::update_claims(const ServiceName& name, Dirty& dirty) {
    const auto entry = services_.find(name);
    auto& state = *entry->second;
    if (state.claimed == state.service) return;  // almost always: only endpoints changed
    using Claims = std::vector<std::pair<DestinationKey, Claim>>;
    const auto claims_made_by = [&](const std::shared_ptr<const api::Service>& service) {
        Claims claims;
        if (!service) return claims;
        std::uint16_t index = 0;
        for (auto& port : service_ports(*service, family_)) {
            port.serves_external_ips = settings_.serve_external_ips;
            (void)refuse(port, settings_.external_ranges);
            for (const auto& claimed : claims_of(port))
                claims.emplace_back(claimed.key, Claim{claimed.kind, index, &entry->first});
            ++index;
        }
        return claims;
    };
    // Claims that stay are left alone: dropping and making them anew would wake everybody who wants the same, and
    // report conflicts that began long ago.
    const Claims before = claims_made_by(state.claimed);
    const Claims after = claims_made_by(state.service);
    const auto holds = [](const Claims& claims, const auto& claim) {
        return std::find(claims.begin(), claims.end(), claim) != claims.end();
    };
    for (const auto& claim : before)
        if (!holds(after, claim)) remove_claim(claim.first, claim.second, dirty);
    for (const auto& claim : after)
        if (!holds(before, claim)) add_claim(claim.first, claim.second, dirty);
    if (state.service)
        note_refusals(state.claimed.get(), *state.service, settings_.external_ranges, family_, refusals_);
    state.claimed = state.service;
}

void Planner::add_claim(const DestinationKey& key, const Claim& claim, Dirty& dirty) {
    const auto [owner, free] = owners_.try_emplace(key, claim);
    if (free) return;
    if (claim < owner->second) {
        dirty.insert(*owner->second.service);
        losers_[key].push_back(owner->second);
        owner->second = claim;
    } else {
        losers_[key].push_back(claim);
    }
    const Claim& loser = losers_[key].back();
    // One service may name an address twice (a load-balancer IP that is also an external IP); that is no conflict.
    if (owner->second.service != loser.service) conflicts_.push_back({key, *owner->second.service, *loser.service});
}

void Planner::remove_claim(const DestinationKey& key, const Claim& claim, Dirty& dirty) {
    const auto owner = owners_.find(key);
    const auto contested = losers_.find(key);
    if (contested == losers_.end()) {
        if (owner != owners_.end() && owner->second == claim) owners_.erase(owner);
        return;
    }
    auto& losers = contested->second;
    if (owner->second == claim) {
        const auto next = std::min_element(losers.begin(), losers.end());
        owner->second = *next;
        losers.erase(next);
        dirty.insert(*owner->second.service);
    } else {
        losers.erase(std::remove(losers.begin(), losers.end(), claim), losers.end());
    }
    if (losers.empty()) losers_.erase(contested);
}

bool Planner::owns(const DestinationKey& key, const Claim& claim) const {
    const auto owner = owners_.find(key);
    return owner != owners_.end() && owner->second == claim;
}

void Planner::replan(const ServiceName& name, Delta& delta, NetChanges& net) {
    ++stats_.services_planned;
    const auto entry = services_.find(name);
    auto& state = *entry->second;
    const Topology topology{settings_.node_name, node_ ? node_->zone : ""};

    std::vector<ServicePortPlanPtr> planned;
    std::optional<HealthCheck> health_check;
    std::vector<net::IpAddress> local_ready;
    if (state.service) {
        std::uint16_t index = 0;
        for (auto& port : service_ports(*state.service, family_)) {
            port.serves_external_ips = settings_.serve_external_ips;
            auto refused = refuse(port, settings_.external_ranges);
            const auto all = candidates(state.slices, port.name.port, port.name.protocol, settings_.node_name);
            auto plan = plan_service_port(port, choose(all, port, topology), rules_, profile_);
            plan.known_endpoints = static_cast<std::uint32_t>(all.size());
            if (port.name.protocol == net::Protocol::kUdp) plan.serving = serving(all);
            if (profile_.schedules) {
                plan.scheduler = state.service->scheduler;
                plan.weights = endpoint_weights(*state.service, state.slices, plan.cluster, plan.local);
            }
            if (profile_.relays && port.name.protocol == net::Protocol::kTcp)
                plan.proxy_protocol = state.service->proxy_protocol;
            plan.refused = std::move(refused);
            std::erase_if(plan.destinations, [&](const auto& d) {
                return !owns(d.key, Claim{d.kind, index, &entry->first});
            });
            ++index;
            std::sort(plan.destinations.begin(), plan.destinations.end(),
                      [](const auto& a, const auto& b) { return std::tie(a.kind, a.key) < std::tie(b.kind, b.key); });
            planned.push_back(std::make_shared<const ServicePortPlan>(std::move(plan)));
            if (port.health_check_node_port == 0) continue;
            health_check = HealthCheck{port.health_check_node_port, 0};
            for (const auto& candidate : all)
                if (candidate.endpoint.local && candidate.ready) local_ready.push_back(candidate.endpoint.address);
        }
    }
    std::sort(planned.begin(), planned.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
    if (health_check) {
        std::sort(local_ready.begin(), local_ready.end());
        health_check->local_ready_endpoints = static_cast<std::uint32_t>(
            std::distance(local_ready.begin(), std::unique(local_ready.begin(), local_ready.end())));
    }

    // Both lists are ordered by name: walk them side by side.
    const auto change = [&](const ServicePortPlanPtr& before, const ServicePortPlanPtr& after) {
        delta.service_ports.push_back({before, after});
        for (const bool up : {false, true}) {
            const auto& side = up ? after : before;
            if (!side) continue;
            const int direction = up ? 1 : -1;
            for (const auto& destination : side->destinations)
                if (destination.kind == DestinationKind::kClusterIp &&
                    change_count(cluster_ips_, destination.key.address, up))
                    net.cluster_ips[destination.key.address] += direction;
            for (const auto& hairpin : hairpins_of(*side, profile_))
                if (change_count(hairpins_, hairpin, up)) net.hairpins[hairpin] += direction;
        }
    };
    auto before = state.planned.begin();
    auto after = planned.begin();
    while (before != state.planned.end() || after != planned.end()) {
        if (after == planned.end() || (before != state.planned.end() && (*before)->name < (*after)->name)) {
            change(*before++, nullptr);
        } else if (before == state.planned.end() || (*after)->name < (*before)->name) {
            change(nullptr, *after++);
        } else {
            if (**before == **after)
                *after = *before;  // keep the old value: nobody needs two
            else
                change(*before, *after);
            ++before;
            ++after;
        }
    }
    if (health_check != state.health_check) delta.health_checks.push_back({name, state.health_check, health_check});
    service_port_count_ += planned.size() - state.planned.size();
    state.planned = std::move(planned);
    state.health_check = health_check;
}

void Planner::forget_if_empty(const ServiceName& name) {
    const auto found = services_.find(name);
    if (found != services_.end() && !found->second->service && found->second->slices.empty()) services_.erase(found);
}

Plan Planner::plan() const {
    Plan plan;
    plan.family = family_;
    plan.node = rules_;
    for (const auto& [name, state] : services_) {
        for (const auto& planned : state->planned) plan.service_ports[planned->name] = planned;
        if (state->health_check) plan.health_checks[name] = *state->health_check;
    }
    plan.cluster_ips.insert(cluster_ips_.begin(), cluster_ips_.end());
    plan.hairpins.insert(hairpins_.begin(), hairpins_.end());
    return plan;
}

std::optional<ServiceName> Planner::service_of(const api::ObjectKey& slice) const {
    const auto known = slices_.find(object_id(slice));
    if (known == slices_.end()) return std::nullopt;
    return ServiceName{known->second->namespace_, known->second->service_name};
}

std::vector<Conflict> Planner::take_conflicts() { return std::exchange(conflicts_, {}); }

std::vector<Refusal> Planner::take_refusals() { return std::exchange(refusals_, {}); }

}  // namespace ghostip::plan
