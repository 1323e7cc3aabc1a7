// Service ports: what one Service asks for, in one family, port by port. The policy-free reading of the object.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::plan {

struct ServiceName {
    std::string namespace_;
    std::string name;

    [[nodiscard]] std::string text() const { return namespace_ + "/" + name; }
    friend auto operator<=>(const ServiceName&, const ServiceName&) = default;
};

struct ServicePortName {
    ServiceName service;
    std::string port;  // the port's name; may be empty
    net::Protocol protocol = net::Protocol::kTcp;

    // `ns/name`, or `ns/name:port`; the protocol is not printed, as kube-proxy does not.
    [[nodiscard]] std::string text() const;
    friend auto operator<=>(const ServicePortName&, const ServicePortName&) = default;
};

struct ServicePort {
    ServicePortName name;
    net::IpAddress cluster_ip;
    std::uint16_t port = 0;
    std::uint16_t node_port = 0;         // 0 = none; asked for whatever the Service's type
    std::uint32_t affinity_seconds = 0;  // 0 = no session affinity
    std::vector<net::IpAddress> external_ips;
    bool serves_external_ips = true;  // NodeSettings serve_external_ips
    std::vector<net::IpAddress> load_balancer_vips;
    std::vector<net::Prefix> source_ranges;  // empty = everybody may
    bool external_policy_local = false;
    bool internal_policy_local = false;
    std::uint16_t health_check_node_port = 0;  // 0 = none

    [[nodiscard]] bool externally_accessible() const {
        return node_port != 0 || !load_balancer_vips.empty() || !external_ips.empty();
    }
    // Needed for short-circuiting even if the external policy is Local.
    [[nodiscard]] bool uses_cluster_endpoints() const { return !internal_policy_local || externally_accessible(); }
    [[nodiscard]] bool uses_local_endpoints() const {
        return internal_policy_local || (external_policy_local && externally_accessible());
    }
};

// The service ports of a Service in a family; none if the Service is not for this proxy (headless, ExternalName, no
// cluster IP of the family).
[[nodiscard]] std::vector<ServicePort> service_ports(const api::Service& service, net::Family family);

}  // namespace ghostip::plan

template <>
struct std::hash<ghostip::plan::ServiceName> {
    std::size_t operator()(const ghostip::plan::ServiceName& name) const noexcept {
        return std::hash<std::string>{}(name.namespace_) * 31 + std::hash<std::string>{}(name.name);
    }
};

template <>
struct std::hash<ghostip::plan::ServicePortName> {
    std::size_t operator()(const ghostip::plan::ServicePortName& name) const noexcept {
        return (std::hash<ghostip::plan::ServiceName>{}(name.service) * 31 + std::hash<std::string>{}(name.port)) * 31 +
               static_cast<std::size_t>(name.protocol);
    }
};
