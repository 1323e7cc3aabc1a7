#include "dataplane/carried_services.h"

#include <algorithm>

#include "plan/relayed.h"

namespace ghostip::dataplane {
namespace {

using plan::PoolScope;

relay::Pool pool_of(const plan::ServicePortPlan& plan, PoolScope scope, relay::Pick pick) {
    relay::Pool pool;
    pool.pick = pick;
    for (const auto& endpoint : plan.pool(scope)) pool.endpoints.push_back({endpoint.address, endpoint.port});
    if (plan.affinity_seconds != 0) pool.affinity = std::chrono::seconds(plan.affinity_seconds);
    if (plan.proxy_protocol != 0)
        pool.proxy_protocol = plan.proxy_protocol == 1 ? relay::ProxyProtocol::kV1 : relay::ProxyProtocol::kV2;
    return pool;
}

bool same_pool(const plan::ServicePortPlan& a, const plan::ServicePortPlan& b, PoolScope scope) {
    return a.pool(scope) == b.pool(scope) && a.affinity_seconds == b.affinity_seconds &&
           a.proxy_protocol == b.proxy_protocol;
}

}  // namespace

CarriedServices::~CarriedServices() {
    for (const auto& [name, one] : carried_) leave(one);
    retire();
}

void CarriedServices::take(const plan::Plan& plan) {
    set_node(plan.node);
    std::vector<plan::ServicePortName> gone;
    for (const auto& [name, one] : carried_)
        if (!plan.service_ports.contains(name)) gone.push_back(name);
    for (const auto& name : gone) take(name, nullptr);
    for (const auto& [name, service_port] : plan.service_ports) take(name, service_port);
}

void CarriedServices::take(const plan::Delta& delta) {
    if (delta.node_rules) set_node(delta.node_rules->after);
    // Who leaves first: what it owned may be another's by now.
    for (const auto& change : delta.service_ports)
        if (!change.after) take(change.before->name, nullptr);
    for (const auto& change : delta.service_ports)
        if (change.after) take(change.after->name, change.after);
}

void CarriedServices::set_node(const plan::NodeRules& node) {
    node_ = node;
    table_->set_node(node);
}

bool CarriedServices::wanted(const plan::ServicePortPlan& plan) const {
    return carry_ == Carry::kAll || std::any_of(plan.destinations.begin(), plan.destinations.end(),
                                                [](const auto& destination) { return destination.key.node_port; });
}

void CarriedServices::take(const plan::ServicePortName& name, const plan::ServicePortPlanPtr& planned) {
    if (!plan::can_be_relayed(name.protocol)) return;
    const auto after = planned && wanted(*planned) ? planned : nullptr;
    const auto found = carried_.find(name);
    if (!after) {
        if (found == carried_.end()) return;
        leave(found->second);
        carried_.erase(found);
        return;
    }
    auto& one = found == carried_.end() ? carried_[name] : found->second;
    const auto before = std::exchange(one.plan, after);
    if (before == after) return;
    for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal})
        set_pool(before.get(), *after, scope, scope == PoolScope::kCluster ? one.services.cluster : one.services.local);
    if (before)
        for (const auto& destination : before->destinations) leaving_keys_.emplace_back(name, destination.key);
    for (const auto& destination : after->destinations) table_->put(name, destination, one.services);
}

// A pool that was there once stays with its service port, also while nobody is in it.
void CarriedServices::set_pool(const plan::ServicePortPlan* before, const plan::ServicePortPlan& after, PoolScope scope,
                               relay::ServiceId& service) {
    if (service == relay::ServiceId{}) {
        if (after.pool(scope).empty()) return;
        service = carrier_->add({after.name, family_, scope}, pool_of(after, scope, pick_));
    } else if (before == nullptr || !same_pool(*before, after, scope)) {
        // Fails only for a service that is not there.
        static_cast<void>(carrier_->relay().set_pool(service, pool_of(after, scope, pick_)));
    }
}

void CarriedServices::leave(const Carried& one) {
    for (const auto& destination : one.plan->destinations) leaving_keys_.emplace_back(one.plan->name, destination.key);
    for (const auto service : {one.services.cluster, one.services.local})
        if (service != relay::ServiceId{}) leaving_.push_back(service);
}

void CarriedServices::retire() {
    const auto has = [](const plan::ServicePortPlan& plan, const plan::DestinationKey& key) {
        return std::any_of(plan.destinations.begin(), plan.destinations.end(),
                           [&](const auto& destination) { return destination.key == key; });
    };
    for (const auto& [name, key] : leaving_keys_)
        if (const auto* now = find(name); now == nullptr || !has(*now, key)) table_->erase(name, key);
    leaving_keys_.clear();
    for (const auto service : leaving_) carrier_->remove(service);
    leaving_.clear();
}

const plan::ServicePortPlan* CarriedServices::find(const plan::ServicePortName& name) const {
    const auto found = carried_.find(name);
    return found == carried_.end() ? nullptr : found->second.plan.get();
}

PoolServices CarriedServices::services(const plan::ServicePortName& name) const {
    const auto found = carried_.find(name);
    return found == carried_.end() ? PoolServices{} : found->second.services;
}

void CarriedServices::for_each(const std::function<void(const plan::ServicePortPlan&)>& visit) const {
    for (const auto& [name, one] : carried_) visit(*one.plan);
}

}  // namespace ghostip::dataplane
