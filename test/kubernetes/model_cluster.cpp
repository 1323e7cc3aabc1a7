#include "kubernetes/model_cluster.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace ghostip::testkubernetes {
namespace {

using net::Family;
using plan::testing::Command;
using plan::testing::World;
using source::kubernetes::testing::Dice;
using source::kubernetes::testing::ModelServer;
using source::kubernetes::testing::Wire;

constexpr const char* kNamespace = "always";

// What an API server would not refuse. (Worlds are for planners, which have to cope with more.)
api::Service admissible(api::Service service) {
    if (service.ports.size() > 1) std::erase_if(service.ports, [](const auto& port) { return port.name.empty(); });
    std::vector<api::ServicePort> ports;
    for (auto& port : service.ports)
        if (std::ranges::none_of(ports, [&](const auto& taken) {
                return taken.protocol == port.protocol &&
                       (taken.port == port.port || (port.node_port != 0 && taken.node_port == port.node_port));
            }))
            ports.push_back(std::move(port));
    service.ports = std::move(ports);
    return service;
}

// One range, or one of each family.
api::ServiceCidr admissible(api::ServiceCidr cidr) {
    std::vector<net::Prefix> ranges;
    for (const auto& range : cidr.cidrs)
        if (std::ranges::none_of(ranges, [&](const auto& taken) { return taken.family() == range.family(); }))
            ranges.push_back(range);
    if (ranges.empty()) ranges.push_back(plan::testing::cidr("172.30.0.0/16"));
    cidr.cidrs = std::move(ranges);
    return cidr;
}

// Of ports that share a name one is left.
api::EndpointSlice admissible(api::EndpointSlice slice, Dice& dice) {
    std::map<std::optional<std::string>, std::vector<api::SlicePort>> by_name;
    for (auto& port : slice.ports) by_name[port.name].push_back(std::move(port));
    slice.ports.clear();
    for (auto& [name, ports] : by_name) slice.ports.push_back(std::move(ports[dice.below(ports.size())]));
    std::erase_if(slice.endpoints, [](const auto& endpoint) {
        return endpoint.address.is_loopback() || endpoint.address.is_link_local();
    });
    return slice;
}

}  // namespace

ModelCluster::ModelCluster(std::uint64_t seed, ModelServer& server, Dice& dice)
    : server_(server),
      dice_(dice),
      worlds_{World(Family::kIpv4, static_cast<std::uint32_t>(seed)),
              World(Family::kIpv6, static_cast<std::uint32_t>(seed))} {
    server.node_name = settings().node_name;
    for (int i = 0; i < kImmortals; ++i) {
        // No address that the random ones have.
        auto service = plan::testing::service(immortal(i).service.name, fmt::format("172.30.0.{}", 200 + i),
                                              {plan::testing::service_port("p", 80)});
        service.namespace_ = kNamespace;
        service.cluster_ips.push_back(plan::testing::ip(fmt::format("fd00:30::{}", 200 + i)));
        service.ip_families.push_back(Family::kIpv6);
        server.put(std::make_shared<const api::Service>(std::move(service)));
        for (const auto family : {Family::kIpv4, Family::kIpv6}) write_endpoints(i, family);
    }
}

plan::ServicePortName ModelCluster::immortal(int number) {
    return {{kNamespace, fmt::format("s{}", number)}, "p", net::Protocol::kTcp};
}

void ModelCluster::change_something() {
    switch (dice_.below(12)) {
        case 0: return change_world(What::kNode);
        case 1: return change_world(What::kServiceCidr);
        case 2:
        case 3:
            return write_endpoints(static_cast<int>(dice_.below(kImmortals)),
                                   dice_.one_in(2) ? Family::kIpv4 : Family::kIpv6);
        case 4:
        case 5:
        case 6: return change_world(What::kService);
        default: return change_world(What::kSlice);
    }
}

void ModelCluster::change_host() {
    static_cast<void>(worlds_[0].change(
        {What::kHost, dice_.one_in(5), false, 0, static_cast<std::uint32_t>(dice_.below(1'000'000))}));
}

void ModelCluster::change_world(What what) {
    const bool second = what == What::kSlice && dice_.one_in(3);
    // Few seeds, so that the same object often comes again as it was.
    const Command command{what, dice_.one_in(5), false, static_cast<std::uint8_t>(dice_.below(12)),
                          static_cast<std::uint32_t>(dice_.below(dice_.one_in(3) ? 5 : 1'000'000))};
    auto change = *worlds_.at(second ? 1 : 0).change(command);
    if (second) change.key.name += "-v6";
    if (!change.object) return server_.remove(change.key);
    if (what == What::kService) {
        const auto& service = std::get<std::shared_ptr<const api::Service>>(*change.object);
        change.object = std::make_shared<const api::Service>(admissible(*service));
    } else if (what == What::kServiceCidr) {
        const auto& cidr = std::get<std::shared_ptr<const api::ServiceCidr>>(*change.object);
        change.object = std::make_shared<const api::ServiceCidr>(admissible(*cidr));
    } else if (what == What::kSlice) {
        auto slice = admissible(*std::get<std::shared_ptr<const api::EndpointSlice>>(*change.object), dice_);
        slice.name = change.key.name;
        slice.headless = dice_.one_in(20);
        change.object = std::make_shared<const api::EndpointSlice>(std::move(slice));
    }
    put(*change.object);
}

void ModelCluster::write_endpoints(int immortal, Family family) {
    std::vector<plan::testing::Ep> endpoints;
    for (std::size_t i = 0; i <= dice_.below(3); ++i)
        endpoints.push_back(
            {fmt::format("{}{}", family == Family::kIpv4 ? "10.180.1." : "fd00:10::1:", 1 + dice_.below(9)), "r",
             dice_.one_in(2) ? "test-node" : "other"});
    auto slice = plan::testing::slice(fmt::format("s{}-{}", immortal, net::family_name(family) == "IPv4" ? "v4" : "v6"),
                                      ModelCluster::immortal(immortal).service.name,
                                      {plan::testing::slice_port("p", 8080)}, endpoints);
    slice.namespace_ = kNamespace;
    put(std::make_shared<const api::EndpointSlice>(std::move(slice)));
}

void ModelCluster::put(const api::Object& object) {
    server_.put(object, server_.faults && dice_.one_in(12) ? Wire::Is::kBroken : Wire::Is::kWell);
}

}  // namespace ghostip::testkubernetes
