// The part of the dataplane that looks at what the kernel holds.
#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "dataplane/ipvs/dataplane.h"
#include "dataplane/ipvs/sets.h"

namespace ghostip::dataplane::ipvs {
namespace {

// What look() brings.
struct Seen {
    std::uint64_t differences = 0;
    std::map<kernel::ipvs::ServiceKey, std::string> taken;
};

}  // namespace

IpvsDataplane::Written IpvsDataplane::written() const {
    Written written;
    if (!state_) return written;
    written.service_ports.assign(state_->service_ports.begin(), state_->service_ports.end());
    written.node = state_->node;
    for (const auto& [key, aside] : state_->aside)
        if (!aside.landed) written.absent.insert(key);
    return written;
}

std::set<kernel::ipvs::ServiceKey> IpvsDataplane::Written::keys(net::Family family, const IpvsOptions& options,
                                                                const Limits& limits) const {
    std::set<kernel::ipvs::ServiceKey> keys;
    for (const auto& service_port : service_ports)
        for (const auto& front : render_fronts(*service_port, {node, family, options, limits})) {
            if (absent.contains(front.key)) continue;
            for (const auto& server : front.servers) keys.insert(server.service.key);
        }
    return keys;
}

Result<Outcome> IpvsDataplane::reconcile(const plan::Plan& plan) {
    Outcome outcome;
    limits_.unknown_schedulers.clear();  // a module may have come
    auto settled = settle(plan, outcome);
    if (!settled) {
        state_.reset();
        return settled.error();
    }
    return outcome;
}

Result<void> IpvsDataplane::settle(const plan::Plan& plan, Outcome& outcome) {
    RETURN_IF_ERROR(host_.kernel.links->ensure_dummy(kDevice));
    RETURN_IF_ERROR(ensure_sets(*host_.kernel.sets, family_));
    const auto known = written().keys(family_, options_, limits_);
    RETURN_IF_ERROR(try_refused_again());
    const auto refused_before = limits_.refused_endpoints;
    ASSIGN_OR_RETURN(auto found, compare(host_.kernel, plan, context(plan.node), known, random_fully_));
    // What another process left is no difference from what this one wrote.
    if (state_) {
        outcome.differences = found.differences;
        outcome.examples = found.examples;
    }
    limits_.taken = std::move(found.taken);
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
    list_taken(outcome.set_aside);

    Writer writer(host_.kernel, family_, options_, Writer::Refused::kSetAside, limits_, state_->draining, outcome);
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
    std::set<net::IpAddress> refused;
    if (served) {
        ASSIGN_OR_RETURN(refused, bind(come, outcome));
    }
    RETURN_IF_ERROR(write_rules(
        change_of(chains_of(plan.node, state_->short_circuits), render_jumps(family_), found.rules), outcome));
    if (!served) {
        ASSIGN_OR_RETURN(refused, bind(come, outcome));
    }
    RETURN_IF_ERROR(unbind(found.unbind, outcome));
    RETURN_IF_ERROR(writer.depart(found.changes));
    RETURN_IF_ERROR(writer.remove(found.removed));
    RETURN_IF_ERROR(withdraw(refused, outcome));
    RETURN_IF_ERROR(try_endpoints_again(refused_before, outcome));
    if (found.drained) RETURN_IF_ERROR(writer.drain(std::set<Leaving>(state_->draining)));
    report_rules(outcome);
    return {};
}

std::function<Result<Dataplane::Sight>()> IpvsDataplane::look(const plan::Plan& plan) const {
    const auto* kernel = host_.background.ipvs ? &host_.background : &host_.kernel;
    return [kernel, plan, written = written(), options = options_, limits = limits_,
            random_fully = random_fully_]() -> Result<Sight> {
        const Context context{plan.node, plan.family, options, limits};
        const auto known = written.keys(plan.family, options, limits);
        ASSIGN_OR_RETURN(const auto found, compare(*kernel, plan, context, known, random_fully));
        return Sight(std::make_shared<const Seen>(Seen{found.differences, found.taken}));
    };
}

// What was seen may be old by now, so that a difference only is a reason to look again.
Result<Outcome> IpvsDataplane::check(const plan::Plan& plan, const Sight& sight) {
    const auto* seen = static_cast<const Seen*>(sight.get());
    if (seen == nullptr || !state_ || seen->differences != 0 || seen->taken != limits_.taken) return reconcile(plan);
    const bool waits =
        std::any_of(state_->aside.begin(), state_->aside.end(), [](const auto& one) { return !one.second.by_option; });
    if (waits || !limits_.refused_endpoints.empty()) return reconcile(plan);  // who was in the way may be gone
    Outcome outcome;
    Writer writer(host_.kernel, family_, options_, Writer::Refused::kError, limits_, state_->draining, outcome);
    if (auto drained = writer.drain(std::set<Leaving>(state_->draining)); !drained) {
        state_.reset();  // which of them are gone?
        return drained.error();
    }
    report_rules(outcome);
    return outcome;
}

}  // namespace ghostip::dataplane::ipvs
