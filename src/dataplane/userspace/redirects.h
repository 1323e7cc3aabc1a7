// The plan by which the kernel leads clients to the relay: the same destinations with the same policy, but in the place
// of every pool stands one endpoint, this node with the relay's port. What the relay does not carry (SCTP) stays as it
// is. A value in, a value out; remembers what it said last.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "plan/plan.h"

namespace ghostip::dataplane::userspace {

// Where the relay listens for the clients of a service port, by scope.
struct RelayPorts {
    std::uint16_t cluster = 0;
    std::uint16_t local = 0;
};

class Redirects {
  public:
    // Asked for service ports that have an endpoint. Absent: nobody listens for it, so that nothing leads there.
    using PortsOf = std::function<std::optional<RelayPorts>(const plan::ServicePortPlan&)>;

    Redirects(net::Family family, std::uint32_t relay_mark, PortsOf ports_of);

    // From the plan that stands for the whole, and from a change of it. The delta is often empty: an endpoint that
    // comes or goes changes nothing for the kernel.
    const plan::Plan& reset(const plan::Plan& plan);
    [[nodiscard]] plan::Delta apply(const plan::Delta& delta);
    [[nodiscard]] const plan::Plan& plan() const { return plan_; }

  private:
    [[nodiscard]] plan::NodeRules node_of(const plan::NodeRules& node) const;
    [[nodiscard]] plan::ServicePortPlanPtr redirected(const plan::ServicePortPlanPtr& original) const;
    void take(const plan::ServicePortName& name, const plan::ServicePortPlanPtr& original, plan::Delta& delta);

    const std::uint32_t relay_mark_;
    const PortsOf ports_of_;
    net::IpAddress target_;
    std::map<plan::ServicePortName, plan::ServicePortPlanPtr> originals_;
    plan::Plan plan_;
};

// The address of this node that stands for the relay: its own one if an interface carries it, else the first that is
// neither of the loopback nor of a link, else the loopback's.
[[nodiscard]] net::IpAddress redirect_address(const plan::NodeRules& node, net::Family family);

}  // namespace ghostip::dataplane::userspace
