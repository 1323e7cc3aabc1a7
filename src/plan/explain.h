// The plan asked about one packet: the journey of a new connection in four steps: match, select, rewrite, route.
//
// This is the reference that every dataplane is tested against with real packets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "plan/plan.h"

namespace ghostip::plan {

// The first packet of a connection.
struct Flow {
    net::IpAddress source;
    net::IpAddress destination;
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;  // destination port
    // The interface that the packet came in by, where the detector goes by interface; empty for the node itself.
    std::string interface;
};

enum class Verdict : std::uint8_t {
    kBalanced,  // translated to one of `pool`
    kRejected,  // ICMP port unreachable goes back
    kDropped,   // nothing goes back
    kNotOurs,   // left as it is
};
[[nodiscard]] std::string_view verdict_name(Verdict verdict);  // "balanced"

enum class Reason : std::uint8_t {
    kEndpoints,             // balanced
    kNoEndpoints,           // rejected: none in the whole cluster
    kNoWeight,              // rejected: there are endpoints, but each has weight 0
    kNoLocalEndpoints,      // dropped: policy Local, and all endpoints are elsewhere
    kSourceNotAllowed,      // dropped: loadBalancerSourceRanges
    kUnknownPort,           // rejected: an address of a Service, on a port that nobody owns
    kNotRelayed,            // rejected: a node port at localhost, of a protocol that the relay there does not carry
    kUnallocatedClusterIp,  // dropped: in a ServiceCIDR, owned by no Service
    kRefusedAddress,        // not ours: a Service asks for it, but its namespace may not
    kOwnTraffic,            // not ours: nobody is there, but this mode does not refuse what the node itself sends
    kUnknownDestination,    // not ours
};

struct Journey {
    Flow flow;
    SourceClass source_class = SourceClass::kOutside;
    Verdict verdict = Verdict::kNotOurs;
    Reason reason = Reason::kUnknownDestination;
    // The destination that matched and its service port; absent when none did. With kRefusedAddress there is only the
    // service port, the one that asks.
    std::optional<Destination> destination;
    ServicePortPlanPtr service_port;
    PoolScope scope = PoolScope::kCluster;
    Pool pool;                           // when balanced: each is as likely as any other, unless a scheduler chooses
    bool scheduled = false;              // ModeProfile::schedules: by the service port's scheduler and weights
    Pool drained;                        // endpoints left out of `pool`, for their weight is 0
    bool masquerade = false;             // when balanced: for whichever endpoint is chosen, but see masquerades_for()
    bool sticks_to_destination = false;  // ModeProfile::affinity_per_destination
    // ModeProfile::relays, NodeRules::relayed_localhost: ends here, and a second connection goes to the endpoint.
    bool relayed = false;
    // Endpoints of `pool` that are never reached: translated, the packet is addressed to a destination that is refused.
    std::vector<Endpoint> refused;
    std::vector<Endpoint> hairpins;  // endpoints of `pool` that are the source itself: masqueraded in any case

    [[nodiscard]] bool masquerades_for(const Endpoint& endpoint) const;
};

// Answers any number of questions about one plan. Keeps a reference to it.
class Explainer {
  public:
    Explainer(const Plan& plan, const ModeProfile& profile);
    [[nodiscard]] Journey explain(const Flow& flow) const;
    [[nodiscard]] SourceClass classify(const Flow& flow) const;

  private:
    struct Owned {
        ServicePortPlanPtr service_port;
        const Destination* destination;
    };
    [[nodiscard]] const Owned* find(const Flow& flow) const;
    [[nodiscard]] bool accepts_node_ports(const net::IpAddress& address) const;
    [[nodiscard]] bool is_relayed_localhost(const Flow& flow) const;
    void explain_unowned(Journey& journey) const;
    void explain_closed_node_port(Journey& journey) const;
    void explain_not_relayed(Journey& journey) const;
    [[nodiscard]] bool refuses_translated(const Flow& flow, const Endpoint& endpoint) const;
    [[nodiscard]] bool is_local(const net::IpAddress& address) const;

    const Plan& plan_;
    const ModeProfile& profile_;
    std::unordered_map<DestinationKey, Owned> owners_;
    std::unordered_map<DestinationKey, ServicePortPlanPtr> refused_;
    std::unordered_set<net::IpAddress> service_addresses_;  // where the mode has a device for them
};

}  // namespace ghostip::plan
