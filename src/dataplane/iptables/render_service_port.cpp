#include "dataplane/iptables/render_service_port.h"

#include <algorithm>

namespace ghostip::dataplane::iptables {

using kernel::iptables::RuleText;
using kernel::iptables::Sense;

std::vector<std::string_view> Subject::endpoint_chains_of(const plan::Pool& pool) const {
    std::vector<std::string_view> chains;
    chains.reserve(pool.size());
    for (std::size_t i = 0; i < pool.size(); ++i) {
        // Most often there is one pool, and this is it.
        const auto guess = endpoints.begin() + static_cast<std::ptrdiff_t>(i);
        const auto found = *guess == pool[i] ? guess : std::find(endpoints.begin(), endpoints.end(), pool[i]);
        chains.emplace_back(endpoint_chains[static_cast<std::size_t>(found - endpoints.begin())]);
    }
    return chains;
}

Rules render_service_port(const plan::ServicePortPlan& plan, std::uint16_t health_check_port, const Context& context) {
    Subject subject{plan, context, health_check_port, plan.name.text(), hash_of(plan.name), {}, {}};
    subject.endpoints = plan::reachable(plan.cluster, plan.local);
    subject.endpoint_chains = endpoint_chains(plan.name, subject.endpoints);
    Rules rules;
    // Chains before those that lead to them.
    render_endpoints(subject, rules);
    render_pools(subject, rules);
    render_external(subject, rules);
    render_firewall(subject, rules);
    render_dispatch(subject, rules);
    render_no_endpoints(subject, rules);
    return rules;
}

// The order of a rule's words puts addresses before interfaces, so nothing else may have been written yet but a source.
bool match_pods(RuleText& rule, const plan::LocalDetector& detector, Sense sense) {
    switch (detector.kind) {
        case plan::LocalDetector::Kind::kNone: return false;
        case plan::LocalDetector::Kind::kCidr: rule.source(detector.cidr, sense); return true;
        case plan::LocalDetector::Kind::kInterface: rule.in_interface(detector.interface, sense); return true;
        case plan::LocalDetector::Kind::kInterfacePrefix:
            rule.in_interface(detector.interface + "+", sense);
            return true;
    }
    return false;
}

bool balances(const plan::Destination& destination) {
    return std::any_of(destination.treatments.begin(), destination.treatments.end(),
                       [](const auto& treatment) { return treatment.action == plan::Action::kBalance; });
}

const plan::Destination* external_destination(const plan::ServicePortPlan& plan) {
    const auto found = std::find_if(plan.destinations.begin(), plan.destinations.end(), [](const auto& destination) {
        return destination.kind != plan::DestinationKind::kClusterIp;
    });
    return found == plan.destinations.end() ? nullptr : &*found;
}

}  // namespace ghostip::dataplane::iptables
