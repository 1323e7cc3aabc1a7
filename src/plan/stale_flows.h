// Which UDP flows a change of the plan makes wrong: those that were sent to a destination of ours and are answered by
// somebody who is none of its endpoints.
//
// A flow is judged by the address and port that its client dialled and by who answers it. It stays as long as that
// endpoint serves, also one that gets no new flows any more (terminating, out of the topology, on another node than the
// policy wants): as kube-proxy does. One that was never translated is answered by the dialled address itself; it dates
// from a time when nobody served there, and goes when somebody does. Flows to what is not ours, or was not until the
// change, are never mentioned. Nothing here asks a kernel. Not thread-safe; the values are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "plan/plan.h"

namespace ghostip::plan {

// Those who may answer, sorted. Shared with the plan; never null in here.
using Answerers = std::shared_ptr<const std::vector<AddressPort>>;

// Says for some destinations who may answer there now: nobody, where the destination is gone. Node ports are spelled
// out for each address of this node that accepts them, or did until the change.
class StaleFlows {
  public:
    using Destinations = std::unordered_map<AddressPort, Answerers>;

    [[nodiscard]] bool empty() const { return destinations_.empty(); }
    [[nodiscard]] const Destinations& destinations() const { return destinations_; }
    // Must a flow go that was sent to `dialled` and is answered by `answerer`?
    [[nodiscard]] bool contains(const AddressPort& dialled, const AddressPort& answerer) const;

    void set(const AddressPort& dialled, Answerers answerers);
    // What `later` says of a destination is said now; the other destinations stay as they are.
    void merge(StaleFlows later);

  private:
    Destinations destinations_;
};

// Follows the plan of one family from delta to delta. It must see every delta that the planner gives, in order; the
// first one is that of a fresh planner. Costs the delta, and when this node's own addresses change, the UDP node ports.
class StaleFlowFinder {
  public:
    // What of the flows this change may make wrong. For a process that has just started, and so for every destination
    // there is, this removes nothing that is right: an endpoint that still serves keeps its flows.
    [[nodiscard]] StaleFlows next(const Delta& delta);

  private:
    [[nodiscard]] Answerers answerers_of(const AddressPort& dialled) const;  // null: not ours
    void take(const ServicePortPlanPtr& plan, bool present);

    // UDP only.
    std::unordered_map<AddressPort, Answerers> owned_;  // destinations with an address of their own
    std::unordered_map<std::uint16_t, Answerers> node_ports_;
    std::vector<net::IpAddress> node_port_addresses_;  // of this node, which accept node ports; sorted
};

// The same for a whole plan: of every UDP destination in it.
[[nodiscard]] StaleFlows check_everything(const Plan& plan);

}  // namespace ghostip::plan
