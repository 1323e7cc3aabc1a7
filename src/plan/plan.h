// The plan: for every destination that a client can dial, which sources may, which pool answers, whether the source is
// rewritten, whether the client sticks, and what happens when nobody is there. A value; no clock, no kernel, no I/O.
//
// One plan is for one node, one family and one mode profile. Its unit is the service port: whatever changes in the
// cluster, a delta names the service ports whose plan differs, with the plan before and after.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/prefix.h"
#include "plan/endpoints.h"
#include "plan/node.h"
#include "plan/service_port.h"
#include "plan/weights.h"

namespace ghostip::plan {

// Who sends. Decided in this order: kPod if the local-traffic detector matches, else kNode if the source address is one
// of this node's, else kOutside.
enum class SourceClass : std::uint8_t { kPod, kNode, kOutside };
inline constexpr std::array<SourceClass, 3> kSourceClasses{SourceClass::kPod, SourceClass::kNode,
                                                           SourceClass::kOutside};
[[nodiscard]] std::string_view source_class_name(SourceClass source);  // "pod", "node", "outside"

enum class PoolScope : std::uint8_t { kCluster, kLocal };

enum class Action : std::uint8_t {
    kBalance,  // to a random endpoint of the pool
    kReject,   // ICMP port unreachable: no endpoint exists anywhere
    kDrop,     // silence: endpoints exist, but none that this traffic may use
};

// What a new connection of one source class experiences.
struct Treatment {
    Action action = Action::kReject;
    PoolScope pool = PoolScope::kCluster;
    bool masquerade = false;  // rewrite the source to this node's outgoing address

    friend bool operator==(const Treatment&, const Treatment&) = default;
};

// In order of precedence: when two service ports claim the same address and port, the lower kind wins, so that nobody
// takes over another Service's cluster IP by naming it as an external IP (CVE-2020-8554); then the lower name.
enum class DestinationKind : std::uint8_t { kClusterIp, kLoadBalancerIp, kExternalIp, kNodePort };
[[nodiscard]] std::string_view destination_kind_name(DestinationKind kind);  // "cluster IP"

// What a client dials. Node ports have no address of their own: every address that accepts node ports.
struct DestinationKey {
    bool node_port = false;
    net::IpAddress address;  // unspecified for node ports
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;

    // `10.96.0.10:80/TCP`, `node port 30080/TCP`.
    [[nodiscard]] std::string text() const;
    friend auto operator<=>(const DestinationKey&, const DestinationKey&) = default;
};

// A destination that somebody asks for.
struct Claimed {
    DestinationKind kind = DestinationKind::kClusterIp;
    DestinationKey key;

    friend bool operator==(const Claimed&, const Claimed&) = default;
};

struct Destination {
    DestinationKind kind = DestinationKind::kClusterIp;
    DestinationKey key;
    std::array<Treatment, 3> treatments;       // by SourceClass
    std::vector<net::Prefix> allowed_sources;  // others are dropped; empty = everybody may

    [[nodiscard]] const Treatment& treatment(SourceClass source) const {
        return treatments[static_cast<std::size_t>(source)];
    }
    friend bool operator==(const Destination&, const Destination&) = default;
};

// Who answers a packet, or where one was sent.
struct AddressPort {
    net::IpAddress address;
    std::uint16_t port = 0;

    friend auto operator<=>(const AddressPort&, const AddressPort&) = default;
};

// Everything about one service port on this node.
struct ServicePortPlan {
    ServicePortName name;
    std::uint32_t affinity_seconds = 0;  // ClientIP session affinity; 0 = none
    Pool cluster;
    Pool local;
    std::vector<Destination> destinations;  // those it owns, ordered by kind and key
    std::vector<Claimed> refused;           // outside of NodeSettings::external_ranges; for explain
    // All endpoints that are known, also those that no traffic reaches. No rule is made of it; a mode may be more
    // frugal in a large cluster.
    std::uint32_t known_endpoints = 0;
    // UDP only: all endpoints that still serve, wherever and whether or not new flows are sent there, sorted. A flow
    // that one of them answers is left alone (stale_flows.h). No rule is made of it.
    std::vector<AddressPort> serving;
    // Only where the mode schedules (ModeProfile): who chooses the endpoint, as the kernel names it (empty = the node's
    // default), and the endpoints of both pools that do not weigh 1. Of weight 0: nothing new is sent there.
    std::string scheduler;
    std::vector<EndpointWeight> weights;  // sorted by address
    // Only where the mode relays: the version of the PROXY protocol by which TCP endpoints learn of their clients.
    std::uint8_t proxy_protocol = 0;  // 0 = none
    // Only where the endpoints are ports of this node itself (userspace/redirects.h): refused to whoever dials them
    // directly. Nobody else may have such a port.
    bool only_translated = false;

    [[nodiscard]] const Pool& pool(PoolScope scope) const { return scope == PoolScope::kCluster ? cluster : local; }
    friend bool operator==(const ServicePortPlan&, const ServicePortPlan&) = default;
};
using ServicePortPlanPtr = std::shared_ptr<const ServicePortPlan>;

// A connection from an endpoint to itself through its Service: the source must be rewritten, or the answer would never
// pass this node.
struct Hairpin {
    net::IpAddress address;
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;

    friend auto operator<=>(const Hairpin&, const Hairpin&) = default;
};

// spec.healthCheckNodePort of a load balancer with external policy Local.
struct HealthCheck {
    std::uint16_t node_port = 0;
    std::uint32_t local_ready_endpoints = 0;  // distinct addresses, ready, on this node

    friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

// `before` absent: came; `after` absent: went.
struct ServicePortChange {
    ServicePortPlanPtr before;
    ServicePortPlanPtr after;
};

struct HealthCheckChange {
    ServiceName service;
    std::optional<HealthCheck> before;
    std::optional<HealthCheck> after;
};

struct NodeRulesChange {
    NodeRules before;
    NodeRules after;
};

// Parts of a ServicePortChange, for who thinks in destinations and pools.
struct DestinationChange {
    const Destination* before;
    const Destination* after;
};
struct PoolChange {
    const ServicePortName* service_port;
    PoolScope scope;
    const Pool* before;
    const Pool* after;
};

// What changed between two plans of the same family.
struct Delta {
    std::vector<ServicePortChange> service_ports;
    std::vector<net::IpAddress> cluster_ips_added;
    std::vector<net::IpAddress> cluster_ips_removed;
    std::vector<Hairpin> hairpins_added;
    std::vector<Hairpin> hairpins_removed;
    std::vector<HealthCheckChange> health_checks;
    std::optional<NodeRulesChange> node_rules;

    [[nodiscard]] bool empty() const;
    [[nodiscard]] std::vector<DestinationChange> destinations() const;  // points into this delta
    [[nodiscard]] std::vector<PoolChange> pools() const;                // points into this delta
};

struct Plan {
    net::Family family = net::Family::kIpv4;
    NodeRules node;
    std::map<ServicePortName, ServicePortPlanPtr> service_ports;
    std::map<net::IpAddress, std::uint32_t> cluster_ips;  // with the number of service ports that own one
    std::map<Hairpin, std::uint32_t> hairpins;            // with the number of service ports that need one
    std::map<ServiceName, HealthCheck> health_checks;

    // Makes this plan what it was before the delta's "after". A delta made from another plan leaves nonsense.
    void apply(const Delta& delta);
    // Deep: equal pools and destinations, not equal pointers.
    friend bool operator==(const Plan& a, const Plan& b);
};

[[nodiscard]] Delta inverse(const Delta& delta);
// From an empty plan of the same family to this one.
[[nodiscard]] Delta everything(const Plan& plan);
// Hairpins that one service port needs.
[[nodiscard]] std::vector<Hairpin> hairpins_of(const ServicePortPlan& plan, const ModeProfile& profile);

}  // namespace ghostip::plan

template <>
struct std::hash<ghostip::plan::DestinationKey> {
    std::size_t operator()(const ghostip::plan::DestinationKey& key) const noexcept {
        return std::hash<ghostip::net::IpAddress>{}(key.address) * 31 + (static_cast<std::size_t>(key.port) << 9 |
                                                                         static_cast<std::size_t>(key.protocol) << 1 |
                                                                         (key.node_port ? 1U : 0U));
    }
};

template <>
struct std::hash<ghostip::plan::AddressPort> {
    std::size_t operator()(const ghostip::plan::AddressPort& end) const noexcept {
        return std::hash<ghostip::net::IpAddress>{}(end.address) * 31 + end.port;
    }
};

template <>
struct std::hash<ghostip::plan::Hairpin> {
    std::size_t operator()(const ghostip::plan::Hairpin& key) const noexcept {
        return std::hash<ghostip::net::IpAddress>{}(key.address) * 31 +
               (static_cast<std::size_t>(key.port) << 8 | static_cast<std::size_t>(key.protocol));
    }
};
