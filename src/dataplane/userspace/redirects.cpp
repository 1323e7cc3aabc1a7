#include "dataplane/userspace/redirects.h"

#include <algorithm>
#include <utility>

#include "plan/relayed.h"

namespace ghostip::dataplane::userspace {
namespace {

bool kernels(const plan::Hairpin& hairpin) { return !plan::can_be_relayed(hairpin.protocol); }

bool same(const plan::ServicePortPlanPtr& a, const plan::ServicePortPlanPtr& b) {
    return a == b || (a && b && *a == *b);
}

}  // namespace

net::IpAddress redirect_address(const plan::NodeRules& node, net::Family family) {
    const auto& addresses = node.addresses;
    if (node.node_ip && std::binary_search(addresses.begin(), addresses.end(), *node.node_ip)) return *node.node_ip;
    for (const auto& address : addresses)
        if (address.family() == family && !address.is_loopback() && !address.is_link_local()) return address;
    return *net::IpAddress::parse(family == net::Family::kIpv4 ? "127.0.0.1" : "::1");
}

Redirects::Redirects(net::Family family, std::uint32_t relay_mark, PortsOf ports_of)
    : relay_mark_(relay_mark), ports_of_(std::move(ports_of)), target_(redirect_address({}, family)) {
    plan_.family = family;
}

plan::NodeRules Redirects::node_of(const plan::NodeRules& node) const {
    auto changed = node;
    changed.relay_mark = relay_mark_;
    return changed;
}

plan::ServicePortPlanPtr Redirects::redirected(const plan::ServicePortPlanPtr& original) const {
    if (!original || !plan::can_be_relayed(original->name.protocol)) return original;
    RelayPorts ports;
    if (!original->cluster.empty() || !original->local.empty()) {
        const auto known = ports_of_(*original);
        if (!known) return nullptr;
        ports = *known;
    }
    auto changed = std::make_shared<plan::ServicePortPlan>();
    changed->name = original->name;
    changed->refused = original->refused;
    changed->destinations = original->destinations;
    for (auto& destination : changed->destinations)
        for (auto& treatment : destination.treatments) treatment.masquerade = false;
    // "Local" as the original's are: rules that ask whether an endpoint is here ask it of the endpoint's pool.
    if (!original->cluster.empty()) changed->cluster = {{target_, ports.cluster, true}};
    if (!original->local.empty()) changed->local = {{target_, ports.local, true}};
    changed->known_endpoints = static_cast<std::uint32_t>(changed->cluster.size() + changed->local.size());
    if (original->name.protocol == net::Protocol::kUdp) {
        changed->only_translated = true;  // TCP connections tell by themselves what was dialled
        // A flow that another mode has led to an endpoint goes on as long as that serves.
        changed->serving = original->serving;
        for (const auto* pool : {&changed->cluster, &changed->local})
            for (const auto& endpoint : *pool) changed->serving.push_back({endpoint.address, endpoint.port});
        std::sort(changed->serving.begin(), changed->serving.end());
    }
    return changed;
}

void Redirects::take(const plan::ServicePortName& name, const plan::ServicePortPlanPtr& original, plan::Delta& delta) {
    const auto found = plan_.service_ports.find(name);
    auto before = found == plan_.service_ports.end() ? nullptr : found->second;
    auto after = redirected(original);
    if (same(before, after)) return;
    delta.service_ports.push_back({std::move(before), std::move(after)});
}

const plan::Plan& Redirects::reset(const plan::Plan& plan) {
    originals_ = plan.service_ports;
    target_ = redirect_address(plan.node, plan.family);
    plan_.node = node_of(plan.node);
    plan_.service_ports.clear();
    for (const auto& [name, original] : originals_)
        if (auto changed = redirected(original)) plan_.service_ports.emplace(name, std::move(changed));
    plan_.cluster_ips = plan.cluster_ips;
    plan_.hairpins.clear();
    for (const auto& entry : plan.hairpins)
        if (kernels(entry.first)) plan_.hairpins.insert(entry);
    return plan_;
}

plan::Delta Redirects::apply(const plan::Delta& delta) {
    plan::Delta changed;
    bool moved = false;
    if (delta.node_rules) {
        const auto& node = delta.node_rules->after;
        moved = std::exchange(target_, redirect_address(node, plan_.family)) != target_;
        changed.node_rules = {plan_.node, node_of(node)};
    }
    for (const auto& change : delta.service_ports) {
        const auto& name = change.before ? change.before->name : change.after->name;
        if (change.after)
            originals_[name] = change.after;
        else
            originals_.erase(name);
        if (!moved) take(name, change.after, changed);
    }
    if (moved) {
        for (const auto& [name, before] : plan_.service_ports)
            if (!originals_.contains(name)) changed.service_ports.push_back({before, nullptr});
        for (const auto& [name, original] : originals_) take(name, original, changed);
    }
    changed.cluster_ips_added = delta.cluster_ips_added;
    changed.cluster_ips_removed = delta.cluster_ips_removed;
    std::copy_if(delta.hairpins_added.begin(), delta.hairpins_added.end(), std::back_inserter(changed.hairpins_added),
                 kernels);
    std::copy_if(delta.hairpins_removed.begin(), delta.hairpins_removed.end(),
                 std::back_inserter(changed.hairpins_removed), kernels);
    plan_.apply(changed);
    return changed;
}

}  // namespace ghostip::dataplane::userspace
