#include "agent/plan_counts.h"

#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace plan::testing;

api::Service web(api::TrafficPolicy internal, api::TrafficPolicy external) {
    auto object =
        service("web", "172.30.0.41", {service_port("p", 80, net::Protocol::kTcp, 30080), service_port("q", 81)});
    object.type = api::ServiceType::kLoadBalancer;
    object.load_balancer_vips = {ip("1.2.3.4")};
    object.internal_traffic_policy = internal;
    object.external_traffic_policy = external;
    return object;
}

TEST(PlanCounts, FollowsTheDeltas) {
    using enum api::TrafficPolicy;
    struct Case {
        const char* name;
        api::TrafficPolicy internal;
        api::TrafficPolicy external;
        std::vector<Ep> endpoints;
        std::size_t without_internal;
        std::size_t without_external;
    };
    const Ep here{"10.0.0.1", "r", "test-node"};
    const Ep there{"10.0.0.2", "r", "other"};
    const std::vector<Case> cases{
        {"no policy", kCluster, kCluster, {there}, 0, 0},    {"nobody anywhere", kLocal, kLocal, {}, 0, 0},
        {"all elsewhere", kLocal, kLocal, {there}, 1, 1},    {"one here", kLocal, kLocal, {here, there}, 0, 0},
        {"internal alone", kLocal, kCluster, {there}, 1, 0}, {"external alone", kCluster, kLocal, {there}, 0, 1},
        {"the same again", kCluster, kLocal, {there}, 0, 1},
    };
    plan::testing::NodePlanner planner;
    PlanCounts counts;
    for (const auto& c : cases) {
        counts.apply(planner.apply({put(web(c.internal, c.external)),
                                    put(slice("s", "web", {slice_port("p", 80), slice_port("q", 81)}, c.endpoints))}));
        EXPECT_EQ(counts.without_local_internal(), c.without_internal) << c.name;
        EXPECT_EQ(counts.without_local_external(), c.without_external) << c.name;
        EXPECT_EQ(counts.destinations(), 5U) << c.name;
    }
    EXPECT_EQ(counts.endpoints(), 2U) << "one for each service port";
    counts.apply(planner.apply({gone(web(kCluster, kLocal))}));
    EXPECT_EQ(counts.destinations(), 0U);
    EXPECT_EQ(counts.endpoints(), 0U);
    EXPECT_EQ(counts.without_local_external(), 0U);
}

}  // namespace
}  // namespace ghostip::agent
