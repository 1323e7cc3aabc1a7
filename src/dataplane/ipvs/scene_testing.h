// One Service, a planner, a machine and a process on it.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/ipvs/dataplane_testing.h"

namespace ghostip::dataplane::ipvs::testing {

using namespace plan::testing;
using net::Protocol;

inline api::Service web() { return plan::testing::service("web", "172.30.0.1", {service_port("p", 80)}); }
inline api::EndpointSlice web_slice(const std::vector<Ep>& endpoints, Protocol protocol = Protocol::kTcp) {
    return slice("web", "web", {slice_port("p", 8080, protocol)}, endpoints);
}
inline api::Service balanced() {
    auto object = web();
    object.type = api::ServiceType::kLoadBalancer;
    object.ports.front().node_port = 30080;
    object.load_balancer_vips = {ip("1.2.3.4")};
    object.external_ips = {ip("5.6.7.8")};
    return object;
}
inline kernel::ipvs::ServiceKey key(std::string_view address, std::uint16_t port = 80,
                                    Protocol protocol = Protocol::kTcp) {
    return {ip(address), protocol, port, 0};
}

inline kernel::ipset::Element element(std::string_view address) { return {ip(address), Protocol::kTcp, 80, {}}; }

// A planner, a machine and a process on it.
struct Scene {
    Result<Outcome> change(const std::vector<api::Change>& changes) { return process.apply(planner.apply(changes)); }

    explicit Scene(IpvsOptions options = {}) : process(machine, std::move(options)) {
        EXPECT_TRUE(process.reconcile(planner.plan()).has_value());
    }
    IpvsPlanner planner;
    Machine machine;
    OnMachine process;
};

}  // namespace ghostip::dataplane::ipvs::testing
