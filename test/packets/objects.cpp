#include "packets/objects.h"

#include <algorithm>

namespace ghostip::packets {

std::shared_ptr<api::Service> make_service(const std::string& name, const net::IpAddress& cluster_ip,
                                           std::vector<api::ServicePort> ports) {
    auto service = std::make_shared<api::Service>();
    service->namespace_ = "test";
    service->name = name;
    service->cluster_ip = cluster_ip;
    service->cluster_ips = {cluster_ip};
    service->ip_families = {cluster_ip.family()};
    service->ports = std::move(ports);
    return service;
}

std::shared_ptr<api::EndpointSlice> make_slice(const api::Service& service, std::uint16_t target_port) {
    auto slice = std::make_shared<api::EndpointSlice>();
    slice->namespace_ = service.namespace_;
    slice->name = service.name + "-1";
    slice->service_name = service.name;
    slice->address_type = service.cluster_ip->is_ipv4() ? api::AddressType::kIpv4 : api::AddressType::kIpv6;
    for (const auto& port : service.ports) slice->ports.push_back({port.name, port.protocol, target_port});
    return slice;
}

void add_endpoint(api::EndpointSlice& slice, const net::IpAddress& address, bool local) {
    const std::string node = local ? "test-node" : "other-node";
    auto found = std::find(slice.node_names.begin(), slice.node_names.end(), node);
    if (found == slice.node_names.end()) found = slice.node_names.insert(slice.node_names.end(), node);
    api::Endpoint endpoint;
    endpoint.address = address;
    endpoint.node = static_cast<std::uint16_t>(found - slice.node_names.begin());
    slice.endpoints.push_back(endpoint);
}

std::vector<api::ServicePort> ports_of_all_protocols(std::uint16_t port, std::uint16_t node_port) {
    return {{"t", net::Protocol::kTcp, port, node_port},
            {"u", net::Protocol::kUdp, port, node_port},
            {"s", net::Protocol::kSctp, port, node_port}};
}

}  // namespace ghostip::packets
