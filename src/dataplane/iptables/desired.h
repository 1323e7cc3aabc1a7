// What the plan as a whole says that no service port says alone: how many endpoints there are, whose health checks.
#pragma once

#include <cstdint>

#include "dataplane/iptables/render_service_port.h"
#include "plan/plan.h"

namespace ghostip::dataplane::iptables {

// Of all service ports together, reachable or not.
[[nodiscard]] std::uint64_t known_endpoints(const plan::Plan& plan);
// 0: none.
[[nodiscard]] std::uint16_t health_check_port(const plan::Plan& plan, const plan::ServicePortName& name);
// `node` has to outlive the result.
[[nodiscard]] Context context_for(const plan::NodeRules& node, net::Family family, const Abilities& abilities,
                                  std::uint64_t known_endpoints,
                                  kernel::iptables::Form form = kernel::iptables::Form::kSaved);

}  // namespace ghostip::dataplane::iptables
