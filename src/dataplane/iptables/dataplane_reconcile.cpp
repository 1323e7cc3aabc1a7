// The part of the dataplane that looks at what the kernel holds.
#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "dataplane/iptables/dataplane.h"
#include "dataplane/iptables/desired.h"

namespace ghostip::dataplane::iptables {

using kernel::iptables::Refusal;

namespace {

// Somebody may write while we look and write; so often the difference is taken anew before a service port is blamed.
constexpr int kAttempts = 4;
// With those that follow a refusal, where what is kept has to be told from what is nobody's.
constexpr int kMostLooks = 8;

struct ServicePortOfPlan {
    const plan::ServicePortPlan* plan;
    std::uint16_t health_port;
};

std::vector<ServicePortOfPlan> service_ports_of(const plan::Plan& plan) {
    std::vector<ServicePortOfPlan> list;
    list.reserve(plan.service_ports.size());
    for (const auto& [name, service_port] : plan.service_ports)
        list.push_back({service_port.get(), health_check_port(plan, name)});
    return list;
}

// What look() brings.
struct Seen {
    std::uint64_t differences = 0;
};

}  // namespace

Result<Outcome> IptablesDataplane::reconcile(const plan::Plan& plan) {
    Outcome outcome;
    written_ = {};
    RETURN_IF_ERROR(try_abilities());
    open_loopback(plan.node);
    RETURN_IF_ERROR(settle(plan, outcome));
    ++*canaries_;
    return outcome;
}

Result<void> IptablesDataplane::settle(const plan::Plan& plan, Outcome& outcome) {
    const auto service_ports = service_ports_of(plan);
    const auto endpoints = known_endpoints(plan);
    const Context context = context_for(plan.node, family_, abilities_, endpoints);
    const auto rules_of = [&](std::size_t unit, bool comments) {
        Context own = context;
        own.endpoint_comments = comments;
        return render_service_port(*service_ports[unit].plan, service_ports[unit].health_port, own);
    };
    Refusals refusals;
    for (int look = 1; look <= kMostLooks; ++look) {
        std::map<std::size_t, plan::ServicePortName> kept;
        for (const auto& [unit, reason] : refusals) kept[unit] = service_ports[unit].plan->name;
        Comparison comparison(context, service_ports.size(), endpoints, rules_of, kept);
        RETURN_IF_ERROR(comparison.look(*host_.iptables));
        // What another process left is no difference from what this one wrote.
        if (look == 1 && state_) {
            outcome.differences = comparison.differences();
            outcome.examples = comparison.examples();
        }
        const auto mismatch = look < kAttempts ? Mismatch::kError : Mismatch::kSetAside;
        const std::size_t refused = refusals.size();
        auto result = write_missing(comparison, mismatch, refusals, outcome);
        const bool again = refusals.size() != refused;
        if (result && !again) result = remove_foreign(comparison, mismatch, outcome);
        if (!result && (result.error().code != ENOENT || look >= kAttempts)) return result.error();
        if (!result || again) continue;
        remember(plan, comparison, refusals, outcome);
        return {};
    }
    return Error{"others change the rules of iptables faster than they can be put right", EBUSY};
}

Result<void> IptablesDataplane::write_missing(const Comparison& comparison, Mismatch mismatch, Refusals& refusals,
                                              Outcome& outcome) {
    if (const std::string frame = comparison.frame_text(); !frame.empty()) {
        const auto start = std::chrono::steady_clock::now();
        ASSIGN_OR_RETURN(const auto refused, restore_patiently(*host_.iptables, limits_, frame));
        if (refused)
            return Error{fmt::format("iptables refuses the node's own rules: {}", refused->reason),
                         mismatch == Mismatch::kError ? ENOENT : 0};
        outcome.committed(start);
        const auto counts = comparison.frame_rules();
        outcome.elements_added += counts.nat + counts.filter;
        written_.nat += static_cast<std::int64_t>(counts.nat);
        written_.filter += static_cast<std::int64_t>(counts.filter);
    }
    Writer writer(*host_.iptables, limits_, mismatch, outcome, written_);
    const auto lacking = comparison.lacking();
    const auto number_of = [&](std::size_t unit) {
        const auto found = std::lower_bound(lacking.begin(), lacking.end(), unit,
                                            [](const Lacking& one, std::size_t wanted) { return one.unit < wanted; });
        return static_cast<std::size_t>(found - lacking.begin());
    };
    const auto chains = [&]() -> ChainSource {
        return [&number_of, next = comparison.chains_of_edits()] {
            auto chain = next();
            if (chain) chain->unit = number_of(chain->unit);
            return chain;
        };
    };
    return writer.write({.units = lacking.size(),
                         .edit_of = [&](std::size_t number) { return comparison.edit_of(lacking[number].unit); },
                         .counts_of = [&](std::size_t number) { return lacking[number].counts; },
                         .chains = chains,
                         .done =
                             [&](std::size_t number, const Refusal* refusal) {
                                 if (refusal != nullptr) refusals[lacking[number].unit] = refusal->reason;
                             }});
}

// Last, when what should be there answers.
Result<void> IptablesDataplane::remove_foreign(const Comparison& comparison, Mismatch mismatch, Outcome& outcome) {
    const auto removals = comparison.removals();
    bool rules_stay = false;
    Writer writer(*host_.iptables, limits_, mismatch, outcome, written_);
    RETURN_IF_ERROR(writer.write({
        .units = removals.size(),
        .edit_of = [&](std::size_t unit) { return removals[unit]; },
        .done =
            [&](std::size_t unit, const Refusal* refusal) {
                if (refusal == nullptr) return;
                const Edit& edit = removals[unit];
                if (edit.in(Part::kNat).starts_with(':')) {
                    const auto name = edit.in(Part::kNat).substr(1, edit.in(Part::kNat).find(' ') - 1);
                    outcome.set_aside.push_back({fmt::format("removal of chain {}", name), refusal->reason});
                } else {
                    rules_stay = true;
                }
            },
    }));
    if (!rules_stay) return {};
    // A rule that cannot be named cannot be deleted either: only its chain can be written anew.
    for (const auto place : comparison.littered()) {
        const auto start = std::chrono::steady_clock::now();
        ASSIGN_OR_RETURN(const auto refused, restore_patiently(*host_.iptables, limits_, comparison.place_text(place)));
        if (refused) return Error{fmt::format("iptables refuses chain {}: {}", chain_of(place), refused->reason), 0};
        outcome.committed(start);
    }
    return {};
}

void IptablesDataplane::remember(const plan::Plan& plan, Comparison& comparison, const Refusals& refusals,
                                 Outcome& outcome) {
    State state;
    state.node = plan.node;
    for (const auto& [name, service_port] : plan.service_ports)
        state.service_ports.insert(state.service_ports.end(), service_port);
    for (const auto& [service, check] : plan.health_checks) state.health_ports.emplace(service, check.node_port);
    state.known_endpoints = known_endpoints(plan);
    state.rules = comparison.expected_rules();
    std::size_t unit = 0;
    for (const auto& [name, service_port] : plan.service_ports) {
        if (const auto reason = refusals.find(unit); reason != refusals.end()) {
            Rules landed = std::move(comparison.kept()[unit].landed);
            state.rules += landed.count();
            outcome.set_aside.push_back({name.text(), reason->second});
            state.aside[name] = {std::move(landed), reason->second};
        }
        ++unit;
    }
    state_ = std::move(state);
    report_rules(outcome);
}

std::function<Result<Dataplane::Sight>()> IptablesDataplane::look(const plan::Plan& plan) const {
    auto* iptables = host_.background ? host_.background.get() : host_.iptables.get();
    return [iptables, plan, family = family_, abilities = abilities_,
            aside = state_ ? state_->aside : Asides()]() -> Result<Sight> {
        const auto service_ports = service_ports_of(plan);
        const auto endpoints = known_endpoints(plan);
        const Context context = context_for(plan.node, family, abilities, endpoints);
        const auto rules_of = [&](std::size_t unit, bool comments) {
            const auto& [service_port, health_port] = service_ports[unit];
            if (const auto found = aside.find(service_port->name); found != aside.end()) return found->second.landed;
            Context own = context;
            own.endpoint_comments = comments;
            return render_service_port(*service_port, health_port, own);
        };
        Comparison comparison(context, service_ports.size(), endpoints, rules_of, {});
        RETURN_IF_ERROR(comparison.look(*iptables));
        return Sight(std::make_shared<const Seen>(Seen{comparison.differences()}));
    };
}

// What was seen may be old by now, so that a difference only is a reason to look again.
Result<Outcome> IptablesDataplane::check(const plan::Plan& plan, const Sight& sight) {
    const auto* seen = static_cast<const Seen*>(sight.get());
    if (seen == nullptr || !state_ || seen->differences != 0) return reconcile(plan);
    Outcome outcome;
    written_ = {};
    report_rules(outcome);
    return outcome;
}

}  // namespace ghostip::dataplane::iptables
