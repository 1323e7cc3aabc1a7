#include "plan/service_port.h"

#include <algorithm>
#include <iterator>
#include <optional>

namespace ghostip::plan {
namespace {

// Old objects carry only clusterIP; since dual stack, ipFamilies[i] tells the family of clusterIPs[i].
std::optional<net::IpAddress> cluster_ip_of(const api::Service& service, net::Family family) {
    if (service.ip_families.empty()) {
        if (service.cluster_ip && service.cluster_ip->family() == family) return service.cluster_ip;
        return std::nullopt;
    }
    for (std::size_t i = 0; i < service.ip_families.size() && i < service.cluster_ips.size(); ++i)
        if (service.ip_families[i] == family && service.cluster_ips[i].family() == family)
            return service.cluster_ips[i];
    return std::nullopt;
}

std::vector<net::IpAddress> of_family(const std::vector<net::IpAddress>& all, net::Family family) {
    std::vector<net::IpAddress> own;
    for (const auto& address : all)
        if (address.family() == family && std::find(own.begin(), own.end(), address) == own.end())
            own.push_back(address);
    return own;
}

// A range that holds the whole family means: do not filter. Ranges of the other family alone leave this one open.
std::vector<net::Prefix> source_ranges_of(const api::Service& service, net::Family family) {
    std::vector<net::Prefix> own;
    for (const auto& range : service.load_balancer_source_ranges) {
        if (range.family() != family) continue;
        if (range.length == 0) return {};
        own.push_back(range);
    }
    return own;
}

bool external_policy_local(const api::Service& service) {
    const bool policy_counts = service.type == api::ServiceType::kLoadBalancer ||
                               service.type == api::ServiceType::kNodePort ||
                               (service.type == api::ServiceType::kClusterIp && !service.external_ips.empty());
    return policy_counts && service.external_traffic_policy == api::TrafficPolicy::kLocal;
}

}  // namespace

std::string ServicePortName::text() const { return port.empty() ? service.text() : service.text() + ":" + port; }

std::vector<ServicePort> service_ports(const api::Service& service, net::Family family) {
    if (service.headless || !service.cluster_ip || service.type == api::ServiceType::kExternalName) return {};
    const auto cluster_ip = cluster_ip_of(service, family);
    if (!cluster_ip) return {};

    ServicePort common;
    common.name.service = {service.namespace_, service.name};
    common.cluster_ip = *cluster_ip;
    common.affinity_seconds = service.affinity_seconds;
    common.external_ips = of_family(service.external_ips, family);
    common.load_balancer_vips = of_family(service.load_balancer_vips, family);
    common.source_ranges = source_ranges_of(service, family);
    common.external_policy_local = external_policy_local(service);
    common.internal_policy_local = service.internal_traffic_policy == api::TrafficPolicy::kLocal;
    if (service.type == api::ServiceType::kLoadBalancer && common.external_policy_local)
        common.health_check_node_port = service.health_check_node_port;

    std::vector<ServicePort> ports;
    ports.reserve(service.ports.size());
    for (const auto& entry : service.ports) {
        ServicePort port = common;
        port.name.port = entry.name;
        port.name.protocol = entry.protocol;
        port.port = entry.port;
        port.node_port = entry.node_port;
        ports.push_back(std::move(port));
    }
    return ports;
}

}  // namespace ghostip::plan
