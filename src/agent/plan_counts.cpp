#include "agent/plan_counts.h"

#include <algorithm>

#include "plan/endpoints.h"

namespace ghostip::agent {
namespace {

using plan::Action;
using plan::DestinationKind;
using plan::PoolScope;
using plan::SourceClass;

// Endpoints exist, but none here: the plan drops what the policy keeps on this node.
bool drops_locally(const plan::Destination& destination, SourceClass source) {
    const auto& treatment = destination.treatment(source);
    return treatment.pool == PoolScope::kLocal && treatment.action == Action::kDrop;
}

// A cluster IP follows the internal policy for everybody, other destinations the external one for who comes from
// outside.
bool lacks_internal(const plan::Destination& destination) {
    return destination.kind == DestinationKind::kClusterIp && drops_locally(destination, SourceClass::kPod);
}

bool lacks_external(const plan::Destination& destination) {
    return destination.kind != DestinationKind::kClusterIp && drops_locally(destination, SourceClass::kOutside);
}

}  // namespace

void PlanCounts::apply(const plan::Delta& delta) {
    for (const auto& change : delta.service_ports) {
        if (change.before) count(*change.before, -1);
        if (change.after) count(*change.after, 1);
    }
}

void PlanCounts::count(const plan::ServicePortPlan& plan, int direction) {
    const auto add = [&](std::size_t& sum, std::size_t amount) { sum = direction > 0 ? sum + amount : sum - amount; };
    add(destinations_, plan.destinations.size());
    add(endpoints_, plan::reachable(plan.cluster, plan.local).size());
    const auto note = [&](Ports& ports, bool lacks) {
        if (!lacks) return;
        auto& known = ports[plan.name.service];
        known = direction > 0 ? known + 1 : known - 1;
        if (known == 0) ports.erase(plan.name.service);
    };
    note(internal_, std::any_of(plan.destinations.begin(), plan.destinations.end(), lacks_internal));
    note(external_, std::any_of(plan.destinations.begin(), plan.destinations.end(), lacks_external));
}

}  // namespace ghostip::agent
