// The optional allow-list of external and load-balancer IPs. Whoever may write a Service can else take over the traffic
// of this node's pods to any address by naming it (CVE-2020-8554).
#pragma once

#include <string_view>
#include <vector>

#include "net/address.h"
#include "plan/node.h"
#include "plan/plan.h"
#include "plan/service_port.h"

namespace ghostip::plan {

// No ranges at all: everything may, as in Kubernetes. Else only what is in a range for this namespace or for all.
[[nodiscard]] bool may_claim(const std::vector<ExternalRange>& ranges, std::string_view namespace_,
                             const net::IpAddress& address);

// Takes out of the port what its namespace may not claim; returns that.
[[nodiscard]] std::vector<Claimed> refuse(ServicePort& port, const std::vector<ExternalRange>& ranges);

}  // namespace ghostip::plan
