#include "plan/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"
#include "plan/planner.h"

namespace ghostip::plan {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> weights(const ServicePortPlan& plan) {
    std::vector<std::string> result;
    for (const auto& entry : plan.weights) result.push_back(entry.address.text() + "=" + std::to_string(entry.weight));
    return result;
}

struct Objects {
    api::Service svc = service("svc", "172.30.0.1", {service_port("p", 80)});
    api::EndpointSlice one = slice("one", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}, {"10.180.0.2"}});
    api::EndpointSlice two = slice("two", "svc", {slice_port("p", 80)}, {{"10.180.0.3"}, {"10.180.0.10"}});

    [[nodiscard]] ServicePortPlan planned(const ModeProfile& profile = ipvs_profile()) const {
        NodePlanner planner(net::Family::kIpv4, node_settings(), profile);
        static_cast<void>(planner.apply({put(two), put(svc), put(one)}));
        return *planner.plan().service_ports.begin()->second;
    }
};

TEST(Weights, AreThoseOfThePoolsThatDifferFromOne) {
    Objects objects;
    EXPECT_THAT(weights(objects.planned()), IsEmpty());
    objects.svc.scheduler = "wlc";
    objects.svc.endpoint_weights = {
        {ip("10.180.0.1"), 5}, {ip("10.180.0.2"), 1}, {ip("10.180.0.10"), 0}, {ip("10.180.0.99"), 7}};
    EXPECT_THAT(weights(objects.planned()), ElementsAre("10.180.0.1=5", "10.180.0.10=0"));
    EXPECT_EQ(objects.planned().scheduler, "wlc");
    EXPECT_EQ(weight_of(objects.planned().weights, ip("10.180.0.10")), 0U);
    EXPECT_EQ(weight_of(objects.planned().weights, ip("10.180.0.3")), 1U);
}

TEST(Weights, SlicesHaveTheLastWord) {
    Objects objects;
    objects.svc.endpoint_weights = {{ip("10.180.0.1"), 5}, {ip("10.180.0.2"), 5}, {ip("10.180.0.3"), 5}};
    objects.one.endpoint_weights = {{ip("10.180.0.1"), 1}, {ip("10.180.0.2"), 6}};
    objects.two.endpoint_weights = {{ip("10.180.0.2"), 7}};
    EXPECT_THAT(weights(objects.planned()), ElementsAre("10.180.0.2=7", "10.180.0.3=5"));
}

TEST(Weights, AreOnlyForModesThatSchedule) {
    Objects objects;
    objects.svc.scheduler = "wlc";
    objects.svc.endpoint_weights = {{ip("10.180.0.1"), 5}};
    for (const auto* profile : {&nftables_profile(), &iptables_profile()}) {
        EXPECT_THAT(weights(objects.planned(*profile)), IsEmpty());
        EXPECT_EQ(objects.planned(*profile).scheduler, "");
    }
}

TEST(Weights, ThatChangeAreADelta) {
    Objects objects;
    NodePlanner planner(net::Family::kIpv4, node_settings(), ipvs_profile());
    static_cast<void>(planner.apply({put(objects.svc), put(objects.one)}));
    objects.one.endpoint_weights = {{ip("10.180.0.1"), 2}};
    const auto delta = planner.apply({put(objects.one)});
    ASSERT_EQ(delta.service_ports.size(), 1U);
    EXPECT_THAT(weights(*delta.service_ports[0].after), ElementsAre("10.180.0.1=2"));
    EXPECT_THAT(delta.pools(), IsEmpty());
}

}  // namespace
}  // namespace ghostip::plan
