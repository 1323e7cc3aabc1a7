#include "bench/followed_cluster.h"

#include <fmt/format.h>

namespace ghostip::bench {
namespace {

constexpr int kStride = 7919;  // a prime that divides no size

}  // namespace

api::Object service_object(int number) {
    auto service = std::make_shared<api::Service>();
    service->namespace_ = "bench";
    service->name = fmt::format("svc-{:06}", number);
    service->cluster_ip = net::IpAddress::parse(cluster_ip(number));
    service->cluster_ips = {*service->cluster_ip};
    service->ip_families = {net::Family::kIpv4};
    service->ports = {{"http", net::Protocol::kTcp, kServicePort, 0}};
    return std::shared_ptr<const api::Service>(std::move(service));
}

std::shared_ptr<api::EndpointSlice> slice_object(int number, int endpoints, int first) {
    auto slice = std::make_shared<api::EndpointSlice>();
    slice->namespace_ = "bench";
    slice->name = fmt::format("svc-{:06}-1", number);
    slice->service_name = fmt::format("svc-{:06}", number);
    slice->ports = {{"http", net::Protocol::kTcp, kEndpointPort}};
    slice->node_names = {"node-1"};
    for (int i = 0; i < endpoints; ++i) {
        api::Endpoint endpoint;
        endpoint.address = *net::IpAddress::parse(endpoint_ip(first + i));
        endpoint.node = 0;
        slice->endpoints.push_back(endpoint);
    }
    return slice;
}

FollowedCluster::FollowedCluster(testkubernetes::ApiServer& server, Size size) : server_(server), size_(size) {
    for (int i = 0; i < size.services; ++i) {
        server.put(service_object(i));
        server.put(std::shared_ptr<const api::EndpointSlice>(slice_object(i, size.endpoints, i * size.endpoints)));
    }
}

FollowedCluster::Change FollowedCluster::change() {
    const auto turn = static_cast<std::int64_t>(changes_) * kStride;
    const Change change{static_cast<int>(turn % size_.services),
                        *net::IpAddress::parse(endpoint_ip(size_.all_endpoints() + changes_))};
    auto slice = slice_object(change.service, size_.endpoints, change.service * size_.endpoints);
    slice->endpoints[static_cast<std::size_t>(turn / size_.services) % slice->endpoints.size()].address =
        change.endpoint;
    ++changes_;
    server_.put(std::shared_ptr<const api::EndpointSlice>(std::move(slice)));
    return change;
}

Result<std::unique_ptr<RunningProxy>> follow(const testnet::Namespace& where, const std::string& binary,
                                             const testkubernetes::ApiServer& server) {
    return RunningProxy::start(where, binary,
                               {"--master", server.url(), "--proxy-mode", "nftables", "--conntrack-max-per-core", "0",
                                "--conntrack-min", "0", "--healthz-bind-address", "", "--metrics-bind-address", ""});
}

}  // namespace ghostip::bench
