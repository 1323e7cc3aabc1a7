// The part of the dataplane that looks at what the kernel holds.
#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "dataplane/ipvs/dataplane.h"

namespace ghostip::dataplane::ipvs {
namespace {

// What look() brings.
struct Seen {
    std::uint64_t differences = 0;
};

}  // namespace

Result<Outcome> IpvsDataplane::reconcile(const plan::Plan& plan) {
    Outcome outcome;
    unknown_schedulers_.clear();  // a module may have come
    auto settled = settle(plan, outcome);
    if (!settled) {
        state_.reset();
        return settled.error();
    }
    return outcome;
}

// The device and all sets, empty where they are new.
Result<void> IpvsDataplane::prepare() {
    RETURN_IF_ERROR(host_.kernel.links->ensure_dummy(kDevice));
    for (const auto& row : set_rows()) {
        auto created = host_.kernel.sets->create(definition(row.set, family_));
        if (!created && created.error().code == EEXIST) created = widen(row.set);
        RETURN_IF_ERROR(created);
    }
    return {};
}

// One of that name for fewer elements (kube-proxy's) exchanges them with a wider one, so that rules that ask it never
// miss any.
Result<void> IpvsDataplane::widen(Set set) {
    auto& sets = *host_.kernel.sets;
    auto wider = definition(set, family_);
    const auto name = wider.name;
    ASSIGN_OR_RETURN(const auto held, sets.contents(name));
    if (!held) return Error{fmt::format("set {} went while it was looked at", name), ENOENT};
    wider.name = family_ == net::Family::kIpv4 ? "GHOSTIP-WIDER" : "GHOSTIP-6-WIDER";
    RETURN_IF_ERROR(sets.destroy(wider.name));
    RETURN_IF_ERROR(sets.create(wider));
    auto done = [&]() -> Result<void> {
        if (held->header.type != wider.type || held->header.family != wider.family)
            return Error{fmt::format("there is another set called {}, of type {}", name, held->header.type_name),
                         EEXIST};
        ASSIGN_OR_RETURN(const auto refused, sets.add(wider.name, wider.type, held->elements));
        if (!refused.empty()) return refused.front().error;
        return sets.swap(name, wider.name);
    }();
    const auto destroyed = sets.destroy(wider.name);
    RETURN_IF_ERROR(done);
    if (!destroyed) return destroyed.error();
    return {};
}

Result<void> IpvsDataplane::settle(const plan::Plan& plan, Outcome& outcome) {
    RETURN_IF_ERROR(prepare());
    ASSIGN_OR_RETURN(auto found, compare(host_.kernel, plan, context(plan.node), random_fully_));
    // What another process left is no difference from what this one wrote.
    if (state_) {
        outcome.differences = found.differences;
        outcome.examples = found.examples;
    }
    State state;
    state.node = plan.node;
    for (const auto& [name, service_port] : plan.service_ports)
        state.service_ports.insert(state.service_ports.end(), service_port);
    state.addresses = std::move(found.addresses);
    state.aside = std::move(found.aside);
    state.short_circuits = std::move(found.short_circuits);
    state.draining = std::move(found.draining);
    for (const auto& [key, aside] : state.aside) outcome.set_aside.push_back({aside.name.text(), aside.reason});
    state_ = std::move(state);

    Writer writer(host_.kernel, family_, options_, Writer::Refused::kSetAside, unknown_schedulers_, state_->draining,
                  outcome);
    RETURN_IF_ERROR(writer.add(found.added));
    RETURN_IF_ERROR(writer.arrive(found.changes));
    for (const auto& [index, aside] : writer.asides()) {
        const auto& front = found.changes[index].after;
        state_->aside[front.key] = aside;
        if (aside.landed) continue;
        state_->short_circuits.erase(front.key);
        if (front.address && --state_->addresses.at(*front.address) == 0) {
            state_->addresses.erase(*front.address);
            if (found.bound.contains(*front.address)) found.unbind.push_back(*front.address);
            found.removed.push_back(address_entry(Set::kIpvsIps, *front.address));
        }
    }
    std::vector<net::IpAddress> come;
    for (const auto& [address, count] : state_->addresses)
        if (!found.bound.contains(address)) come.push_back(address);
    // Where the iptables mode serves by the same chains, its rules go on until everything is there that takes their
    // place. Else addresses come last, so that no packet is taken in whose source nobody would rewrite.
    const bool served = found.rules.chains.contains({tables::kNat, chains::kServices});
    if (served) RETURN_IF_ERROR(bind(come, outcome));
    RETURN_IF_ERROR(write_rules(
        change_of(chains_of(plan.node, state_->short_circuits), render_jumps(family_), found.rules), outcome));
    if (!served) RETURN_IF_ERROR(bind(come, outcome));
    RETURN_IF_ERROR(unbind(found.unbind, outcome));
    RETURN_IF_ERROR(writer.depart(found.changes));
    RETURN_IF_ERROR(writer.remove(found.removed));
    if (found.drained) RETURN_IF_ERROR(writer.drain(std::set<Leaving>(state_->draining)));
    report_rules(outcome);
    return {};
}

std::function<Result<Dataplane::Sight>()> IpvsDataplane::look(const plan::Plan& plan) const {
    const auto* kernel = host_.background.ipvs ? &host_.background : &host_.kernel;
    return [kernel, plan, options = options_, unknown = unknown_schedulers_,
            random_fully = random_fully_]() -> Result<Sight> {
        const Context context{plan.node, plan.family, options, unknown};
        ASSIGN_OR_RETURN(const auto found, compare(*kernel, plan, context, random_fully));
        return Sight(std::make_shared<const Seen>(Seen{found.differences}));
    };
}

// What was seen may be old by now, so that a difference only is a reason to look again.
Result<Outcome> IpvsDataplane::check(const plan::Plan& plan, const Sight& sight) {
    const auto* seen = static_cast<const Seen*>(sight.get());
    if (seen == nullptr || !state_ || seen->differences != 0) return reconcile(plan);
    const bool waits =
        std::any_of(state_->aside.begin(), state_->aside.end(), [](const auto& one) { return !one.second.by_option; });
    if (waits) return reconcile(plan);  // who was in the way may be gone
    Outcome outcome;
    Writer writer(host_.kernel, family_, options_, Writer::Refused::kError, unknown_schedulers_, state_->draining,
                  outcome);
    if (auto drained = writer.drain(std::set<Leaving>(state_->draining)); !drained) {
        state_.reset();  // which of them are gone?
        return drained.error();
    }
    report_rules(outcome);
    return outcome;
}

}  // namespace ghostip::dataplane::ipvs
