// The Kubernetes objects that ghostip reads, cut down on arrival to the fields that matter for reaching a pod.
//
// Plain values: compare with ==, copy freely. What the API would call optional but defines a default for holds the
// default. Text that Kubernetes parses leniently (addresses, ranges) is parsed on arrival; entries that do not parse
// and that kube-proxy would skip are left out and reported as notices by the decoder.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "net/address.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::api {

// Annotations of ghostip's own (docs/annotations.md).
inline constexpr std::string_view kSchedulerAnnotation = "ghostip.io/ipvs-scheduler";
inline constexpr std::string_view kWeightsAnnotation = "ghostip.io/endpoint-weights";
inline constexpr std::string_view kProxyProtocolAnnotation = "ghostip.io/proxy-protocol";

// How much of the traffic an endpoint gets beside the others, in modes that schedule. 0: nothing new.
struct EndpointWeight {
    net::IpAddress address;
    std::uint32_t weight = 1;  // at most 65535

    friend auto operator<=>(const EndpointWeight&, const EndpointWeight&) = default;
};

enum class ServiceType : std::uint8_t { kClusterIp, kNodePort, kLoadBalancer, kExternalName };
enum class TrafficPolicy : std::uint8_t { kCluster, kLocal };

// v1 ServicePort. targetPort and appProtocol are not read: an EndpointSlice carries the resolved port.
struct ServicePort {
    std::string name;  // may be empty
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;
    std::uint16_t node_port = 0;  // 0 = none

    friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

// v1 Service.
struct Service {
    std::string namespace_;
    std::string name;
    ServiceType type = ServiceType::kClusterIp;
    bool headless = false;                     // spec.clusterIP: None
    std::optional<net::IpAddress> cluster_ip;  // spec.clusterIP; absent when empty or None
    std::vector<net::IpAddress> cluster_ips;   // spec.clusterIPs, without "None"
    std::vector<net::Family> ip_families;      // spec.ipFamilies
    std::vector<ServicePort> ports;
    std::vector<net::IpAddress> external_ips;
    std::vector<net::IpAddress> load_balancer_vips;  // status.loadBalancer.ingress[].ip, ipMode absent or VIP
    std::vector<net::Prefix> load_balancer_source_ranges;
    std::uint32_t affinity_seconds = 0;  // sessionAffinity ClientIP: its timeout (default 10800); None: 0
    TrafficPolicy external_traffic_policy = TrafficPolicy::kCluster;
    TrafficPolicy internal_traffic_policy = TrafficPolicy::kCluster;
    std::uint16_t health_check_node_port = 0;  // 0 = none
    bool proxied_elsewhere = false;            // carries the label service.kubernetes.io/service-proxy-name
    std::string scheduler;                     // annotation ghostip.io/ipvs-scheduler; empty = the node's
    // Annotation ghostip.io/endpoint-weights: sorted by address, each once.
    std::vector<EndpointWeight> endpoint_weights;
    std::uint8_t proxy_protocol = 0;  // annotation ghostip.io/proxy-protocol: version 1 or 2; 0 = none

    friend bool operator==(const Service&, const Service&) = default;
};

enum class AddressType : std::uint8_t { kIpv4, kIpv6, kOther };

// discovery.k8s.io/v1 EndpointPort.
struct SlicePort {
    std::optional<std::string> name;  // null makes the port unusable; empty is a name
    net::Protocol protocol = net::Protocol::kTcp;
    std::optional<std::uint16_t> port;  // null or 0 makes the port unusable

    friend bool operator==(const SlicePort&, const SlicePort&) = default;
};

// hints.forZones[].name and hints.forNodes[].name, in the order of the object.
struct Hints {
    std::vector<std::string> zones;
    std::vector<std::string> nodes;

    friend bool operator==(const Hints&, const Hints&) = default;
};

// discovery.k8s.io/v1 Endpoint. Names are kept once a slice: at a million endpoints they would be most of the memory.
struct Endpoint {
    static constexpr std::uint16_t kNone = 0xffff;

    net::IpAddress address;       // addresses[0]; endpoints without an address are left out on arrival
    bool ready = true;            // conditions.ready, null = true
    bool serving = true;          // conditions.serving, null = true
    bool terminating = false;     // conditions.terminating, null = false
    std::uint16_t node = kNone;   // index into EndpointSlice::node_names
    std::uint16_t hints = kNone;  // index into EndpointSlice::hints

    friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// discovery.k8s.io/v1 EndpointSlice.
struct EndpointSlice {
    std::string namespace_;
    std::string name;
    std::string service_name;  // label kubernetes.io/service-name; empty = not for a Service
    bool headless = false;     // carries the label service.kubernetes.io/headless
    AddressType address_type = AddressType::kIpv4;
    std::vector<SlicePort> ports;
    std::vector<Endpoint> endpoints;
    std::vector<std::string> node_names;  // distinct, in order of first use
    std::vector<Hints> hints;             // distinct, in order of first use
    // Annotation ghostip.io/endpoint-weights: sorted by address, each once.
    std::vector<EndpointWeight> endpoint_weights = {};
    // Annotation endpoints.kubernetes.io/last-change-trigger-time: when that happened which made somebody write this
    // state. Only measured with. No part of ==, for it tells nothing of where packets go: a slice that differs in
    // nothing else has not changed.
    std::optional<std::chrono::system_clock::time_point> last_change_trigger_time = {};

    friend bool operator==(const EndpointSlice& a, const EndpointSlice& b) {
        const auto content = [](const EndpointSlice& slice) {
            return std::tie(slice.namespace_, slice.name, slice.service_name, slice.headless, slice.address_type,
                            slice.ports, slice.endpoints, slice.node_names, slice.hints, slice.endpoint_weights);
        };
        return content(a) == content(b);
    }
};

enum class NodeAddressType : std::uint8_t { kInternalIp, kExternalIp };

struct NodeAddress {
    NodeAddressType type = NodeAddressType::kInternalIp;
    net::IpAddress address;

    friend bool operator==(const NodeAddress&, const NodeAddress&) = default;
};

// v1 Node.
struct Node {
    std::string name;
    std::string zone;                          // label topology.kubernetes.io/zone; empty = none
    std::vector<NodeAddress> addresses;        // status.addresses of the two IP types
    std::vector<net::Prefix> pod_cidrs;        // spec.podCIDRs, or spec.podCIDR
    bool deleting = false;                     // metadata.deletionTimestamp is set
    bool to_be_deleted_by_autoscaler = false;  // taint ToBeDeletedByClusterAutoscaler

    friend bool operator==(const Node&, const Node&) = default;
};

// networking.k8s.io/v1 ServiceCIDR.
struct ServiceCidr {
    std::string name;
    std::vector<net::Prefix> cidrs;  // spec.cidrs

    friend bool operator==(const ServiceCidr&, const ServiceCidr&) = default;
};

// v1 Pod and v1 Namespace are recognised, so that manifests may hold them; nothing is read from them yet.
struct Pod {
    std::string namespace_;
    std::string name;

    friend bool operator==(const Pod&, const Pod&) = default;
};

struct Namespace {
    std::string name;

    friend bool operator==(const Namespace&, const Namespace&) = default;
};

enum class Kind : std::uint8_t { kService, kEndpointSlice, kNode, kServiceCidr, kPod, kNamespace };

[[nodiscard]] std::string_view kind_name(Kind kind);  // "EndpointSlice"

// What identifies an object. Cluster-scoped kinds have an empty namespace.
struct ObjectKey {
    Kind kind = Kind::kService;
    std::string namespace_;
    std::string name;

    // `EndpointSlice default/web-1`, `Node n1`.
    [[nodiscard]] std::string text() const;
    friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

// One object of any kind, shared and never modified. The alternatives stand in the order of Kind.
using Object =
    std::variant<std::shared_ptr<const Service>, std::shared_ptr<const EndpointSlice>, std::shared_ptr<const Node>,
                 std::shared_ptr<const ServiceCidr>, std::shared_ptr<const Pod>, std::shared_ptr<const Namespace>>;

[[nodiscard]] ObjectKey key_of(const Object& object);
// Equal in every field that is kept (not: the same pointer).
[[nodiscard]] bool same_content(const Object& a, const Object& b);

// One object came, changed, or went.
struct Change {
    ObjectKey key;
    std::optional<Object> object;  // absent: it is gone
};

}  // namespace ghostip::api

template <>
struct std::hash<ghostip::api::ObjectKey> {
    std::size_t operator()(const ghostip::api::ObjectKey& key) const noexcept;
};
