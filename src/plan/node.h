// What the plan knows of the node it is made for: settings (flags), facts from the Node object, the host, the cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "net/prefix.h"
#include "plan/service_range.h"

namespace ghostip::plan {

// Where Kubernetes' modes are meant to differ. One value a mode; the plan reads it, no dataplane asks again.
struct ModeProfile {
    std::string_view name;
    bool node_ports_on_primary_only;         // default of nodePortAddresses: primary (else all addresses)
    bool loopback_node_ports;                // 127.0.0.0/8 may accept node ports (IPv4)
    bool refuses_on_every_local_address;     // a node port without endpoints, also where node ports are not accepted
    bool refuses_after_translation;          // also what was translated to an address that is itself refused
    bool refuses_own_traffic;                // the node's own, to external addresses without endpoints
    bool rejects_unknown_cluster_ip_ports;   // a cluster IP on a port that no service port owns
    bool drops_unallocated_cluster_ips;      // an address of a ServiceCIDR that no Service owns
    bool filters_sources_without_endpoints;  // source ranges count even when there is no endpoint
    bool hairpin_local_endpoints_only;       // else every reachable endpoint
    // Not empty: a device of this name has the cluster, load-balancer and external IPs. They are no HostFacts; a port
    // of one that nobody owns is refused, by whomever it is asked for, unless another device has the address too.
    std::string_view service_device = {};
    bool schedules = false;                 // a scheduler and weights choose the endpoint; annotations name them
    bool affinity_per_destination = false;  // else a client sticks whichever address of the service port it dials
    // TCP and UDP are carried by this process: endpoints see an address of this node, and clients may be named to them
    // by PROXY protocol. SCTP goes the kernel's way.
    bool relays = false;
    // External policy Local: pods and the node get the cluster IP's pool, which internal policy Local narrows, and not
    // all endpoints.
    bool inside_gets_cluster_ip_pool = false;
};

[[nodiscard]] const ModeProfile& nftables_profile();
[[nodiscard]] const ModeProfile& iptables_profile();
[[nodiscard]] const ModeProfile& ipvs_profile();
[[nodiscard]] const ModeProfile& userspace_profile();

// KubeProxyConfiguration detectLocalMode.
enum class DetectLocalMode : std::uint8_t { kClusterCidr, kNodeCidr, kBridgeInterface, kInterfaceNamePrefix };

// Where external IPs and load-balancer IPs may come from.
struct ExternalRange {
    std::string namespace_;  // empty: for Services of every namespace
    net::Prefix range;
};

// From flags or the configuration file; constant while the process runs.
struct NodeSettings {
    std::string node_name;  // lower-case
    DetectLocalMode detect_local_mode = DetectLocalMode::kClusterCidr;
    std::vector<net::Prefix> cluster_cidrs;  // the first of a family counts
    std::string pod_interface;               // bridge name or name prefix, by detect_local_mode
    bool masquerade_all = false;
    std::uint8_t masquerade_bit = 14;  // 0 to 31
    // nodePortAddresses: absent = the mode's default.
    bool node_ports_on_primary = false;  // the word "primary"
    std::vector<net::Prefix> node_port_ranges;
    // iptables.localhostNodePorts: loopback may accept node ports, where the mode can and the ranges include it.
    bool localhost_node_ports = true;
    // nodePortAddresses names `localhost`: node ports at 127.0.0.1 and ::1 too, by a relay (KEP-6032).
    bool relayed_localhost = false;
    std::optional<net::IpAddress> bind_address;  // counts as this node's address when it is a specific one
    // Not empty: external and load-balancer IPs outside of these are refused, in both families (CVE-2020-8554).
    std::vector<ExternalRange> external_ranges;
    // Feature gate AllowServiceExternalIPs. False: spec.externalIPs get no destinations; a Service that has some counts
    // as reachable from outside all the same.
    bool serve_external_ips = true;
    // Where the source reaches the API server; not a cluster IP, which a Service owns and nothing drops.
    std::vector<net::IpAddress> api_servers;
};

// From the machine.
struct HostFacts {
    std::vector<net::IpAddress> addresses;  // of all interfaces, loopback included; but see ModeProfile::service_device
    std::vector<net::IpAddress> gateways = {};  // next hops of its routes

    friend bool operator==(const HostFacts&, const HostFacts&) = default;
};

// How traffic from a pod of this node is told from other traffic (LocalTrafficDetector).
struct LocalDetector {
    enum class Kind : std::uint8_t { kNone, kCidr, kInterface, kInterfacePrefix };
    Kind kind = Kind::kNone;
    net::Prefix cidr;
    std::string interface;

    [[nodiscard]] bool available() const { return kind != Kind::kNone; }
    friend bool operator==(const LocalDetector&, const LocalDetector&) = default;
};

// Addresses of this node that accept node ports.
struct NodePortAddresses {
    bool all = false;                       // every local address, loopback as the next field says
    bool loopback = false;                  // 127.0.0.0/8 accepts them, as far as the ranges say (IPv4)
    std::vector<net::IpAddress> addresses;  // when not all: sorted; may be empty = node ports are closed

    friend bool operator==(const NodePortAddresses&, const NodePortAddresses&) = default;
};

// From the cluster's objects, of both families.
struct ClusterFacts {
    std::vector<net::Prefix> service_cidrs;
    std::vector<net::IpAddress> api_servers;  // endpoints of Service default/kubernetes
    const LocalPods* local_pods = nullptr;    // null: none are known
    // Is it the cluster IP of a Service? Null: nothing is.
    std::function<bool(const net::IpAddress&)> is_cluster_ip = nullptr;
};

// What holds for the whole node in one family.
struct NodeRules {
    LocalDetector detector;
    bool masquerade_all = false;
    std::uint32_t masquerade_mark = 0x4000;  // exactly one bit
    NodePortAddresses node_ports;
    std::vector<net::Prefix> service_cidrs;  // sorted; addresses nobody owns in them are dropped
    std::vector<UndroppedRange> undropped;   // the other service ranges, sorted, with the reason
    std::vector<net::IpAddress> addresses;   // of this node (type local), sorted
    std::optional<net::IpAddress> node_ip;   // this node's own address in the family
    // Node ports of TCP and UDP at 127.0.0.1 and ::1, by a relay in this process; no rule is made of it.
    bool relayed_localhost = false;
    // What this node sends with this bit in its mark is no client's, and left as it is: a relay on its way to an
    // endpoint. 0: there is none.
    std::uint32_t relay_mark = 0;

    friend bool operator==(const NodeRules&, const NodeRules&) = default;
};

// This node's address in a family: the bind address if specific, else the Node's first InternalIP, else its first
// ExternalIP; without a Node object the host's first address that is neither loopback nor link-local.
[[nodiscard]] std::optional<net::IpAddress> node_ip(const NodeSettings& settings, const api::Node* node,
                                                    const HostFacts& host, net::Family family);

// `node` may be null: not known (yet).
[[nodiscard]] NodeRules node_rules(const NodeSettings& settings, const ModeProfile& profile, const api::Node* node,
                                   const HostFacts& host, const ClusterFacts& cluster, net::Family family);

}  // namespace ghostip::plan
