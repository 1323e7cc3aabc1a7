// The policy itself: from one service port, its endpoints and the node's rules to what packets experience.
//
// The only place where traffic policies, masquerading and "nobody is there" are decided (for the rules' source see
// Kubernetes' traffic policies, kube-proxy's masqueradeAll, and Service spec.loadBalancerSourceRanges).
#pragma once

#include "plan/endpoints.h"
#include "plan/node.h"
#include "plan/plan.h"
#include "plan/service_port.h"

namespace ghostip::plan {

// All destinations that the service port asks for; whether it gets each of them is decided by who else claims it.
[[nodiscard]] ServicePortPlan plan_service_port(const ServicePort& port, Choice choice, const NodeRules& rules,
                                                const ModeProfile& profile);

// The destinations alone.
[[nodiscard]] std::vector<Claimed> claims_of(const ServicePort& port);

}  // namespace ghostip::plan
