// For tests: small builders of objects and of what the plan makes of them, written the way the cases are told.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "net/prefix.h"
#include "plan/endpoints.h"
#include "plan/node.h"
#include "plan/plan.h"
#include "plan/planner.h"
#include "plan/service_port.h"

namespace ghostip::plan::testing {

inline net::IpAddress ip(std::string_view text) { return net::IpAddress::parse_lenient(text).value(); }
inline net::Prefix cidr(std::string_view text) { return net::Prefix::parse_lenient(text).value(); }

inline std::vector<net::IpAddress> ips(const std::vector<std::string_view>& texts) {
    std::vector<net::IpAddress> result;
    std::transform(texts.begin(), texts.end(), std::back_inserter(result), ip);
    return result;
}
inline std::vector<net::Prefix> cidrs(const std::vector<std::string_view>& texts) {
    std::vector<net::Prefix> result;
    std::transform(texts.begin(), texts.end(), std::back_inserter(result), cidr);
    return result;
}

// --- what comes out, as text ---

inline std::vector<std::string> texts(const Pool& pool) {
    std::vector<std::string> result;
    for (const auto& endpoint : pool) result.push_back(net::host_port(endpoint.address, endpoint.port));
    return result;
}
template <typename Values>
std::vector<std::string> texts(const Values& values) {
    std::vector<std::string> result;
    for (const auto& value : values) result.push_back(value.text());
    return result;
}

// --- slices ---

// `conditions`: r = ready and serving; st = serving and terminating; t = terminating, not serving; u = none of them;
// rt = published as ready although terminating (publishNotReadyAddresses).
struct Ep {
    std::string address;
    std::string conditions = "r";
    std::string node = {};  // empty: none
    std::vector<std::string> zones = {};
    std::vector<std::string> nodes = {};
};

inline api::SlicePort slice_port(std::string name, std::uint16_t port, net::Protocol protocol = net::Protocol::kTcp) {
    return {std::move(name), protocol, port};
}

inline api::EndpointSlice slice(std::string name, std::string service, std::vector<api::SlicePort> ports,
                                const std::vector<Ep>& endpoints) {
    api::EndpointSlice result;
    result.namespace_ = "ns";
    result.name = std::move(name);
    result.service_name = std::move(service);
    result.ports = std::move(ports);
    const auto index_of = [](auto& values, const auto& value) {
        const auto found = std::find(values.begin(), values.end(), value);
        const auto index = static_cast<std::uint16_t>(found - values.begin());
        if (found == values.end()) values.push_back(value);
        return index;
    };
    for (const auto& ep : endpoints) {
        api::Endpoint endpoint;
        endpoint.address = ip(ep.address);
        if (!endpoint.address.is_ipv4()) result.address_type = api::AddressType::kIpv6;
        endpoint.ready = ep.conditions.find('r') != std::string::npos;
        endpoint.serving = endpoint.ready || ep.conditions.find('s') != std::string::npos;
        endpoint.terminating = ep.conditions.find('t') != std::string::npos;
        if (!ep.node.empty()) endpoint.node = index_of(result.node_names, ep.node);
        if (!ep.zones.empty() || !ep.nodes.empty())
            endpoint.hints = index_of(result.hints, api::Hints{ep.zones, ep.nodes});
        result.endpoints.push_back(endpoint);
    }
    return result;
}

inline std::shared_ptr<const api::EndpointSlice> shared(api::EndpointSlice slice) {
    return std::make_shared<const api::EndpointSlice>(std::move(slice));
}

// --- services ---

inline api::ServicePort service_port(std::string name, std::uint16_t port, net::Protocol protocol = net::Protocol::kTcp,
                                     std::uint16_t node_port = 0) {
    return {std::move(name), protocol, port, node_port};
}

inline api::Service service(std::string name, std::string_view cluster_ip, std::vector<api::ServicePort> ports) {
    api::Service result;
    result.namespace_ = "ns";
    result.name = std::move(name);
    result.cluster_ip = ip(cluster_ip);
    result.cluster_ips = {ip(cluster_ip)};
    result.ip_families = {ip(cluster_ip).family()};
    result.ports = std::move(ports);
    return result;
}

// --- changes ---

template <typename T>
api::Change put(T value) {
    const api::Object object = std::make_shared<const T>(std::move(value));
    return {api::key_of(object), object};
}
template <typename T>
api::Change gone(const T& value) {
    return {put(value).key, std::nullopt};
}

// --- the node of the cases ---

inline NodeSettings node_settings() {
    NodeSettings settings;
    settings.node_name = "test-node";
    settings.cluster_cidrs = cidrs({"10.0.0.0/8", "fd00:10::/64"});
    return settings;
}
inline HostFacts host_facts() {
    return {ips({"127.0.0.1", "192.168.0.2", "192.168.1.2", "192.168.99.11", "::1", "2001:db8::1", "2001:db8:1::2"})};
}
inline api::Node node_object() {
    api::Node node;
    node.name = "test-node";
    node.addresses = {{api::NodeAddressType::kInternalIp, ip("192.168.0.2")},
                      {api::NodeAddressType::kInternalIp, ip("2001:db8::1")}};
    return node;
}

// A planner of that node, that has already been told of it.
class NodePlanner : public Planner {
  public:
    explicit NodePlanner(net::Family family = net::Family::kIpv4, NodeSettings settings = node_settings(),
                         const ModeProfile& profile = nftables_profile())
        : Planner(family, std::move(settings), profile, host_facts()) {
        static_cast<void>(apply({put(node_object())}));
    }
};

}  // namespace ghostip::plan::testing
