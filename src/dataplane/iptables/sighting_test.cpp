#include "dataplane/iptables/sighting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace plan::testing;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class IptablesSighting : public ::testing::Test {
  protected:
    IptablesSighting() : planner(net::Family::kIpv4, node_settings(), plan::iptables_profile()) {
        auto filtered = service("svc", "172.30.0.1", {service_port("p", 80, net::Protocol::kTcp, 30001)});
        filtered.type = api::ServiceType::kLoadBalancer;
        filtered.load_balancer_vips = ips({"1.2.3.4"});
        filtered.load_balancer_source_ranges = cidrs({"203.0.113.0/24"});
        filtered.affinity_seconds = 100;
        auto empty = service("empty", "172.30.0.2", {service_port("p", 80)});
        static_cast<void>(
            planner.apply({put(filtered), put(empty),
                           put(slice("s", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}, {"10.180.0.2"}}))}));
        plan = planner.plan();
        static_cast<void>(place.reconcile(plan));
    }

    Sighting see(const char* destination, std::uint16_t port, const char* source = "203.0.113.9") {
        const plan::Explainer explainer(plan, plan::iptables_profile());
        const auto journey = explainer.explain({ip(source), ip(destination), net::Protocol::kTcp, port, {}});
        auto seen = sight(twin, plan, journey);
        EXPECT_TRUE(seen.has_value());
        return seen ? *seen : Sighting{};
    }

    NodePlanner planner;
    plan::Plan plan;
    MemoryIptables twin{Variant::kNft, net::Family::kIpv4};
    OnTwin place{twin};
};

TEST_F(IptablesSighting, AgreesWithWhatWasWritten) {
    struct Case {
        const char* destination;
        std::uint16_t port;
        std::size_t lines;
    };
    // Dispatch; then the rules of each chain on the way: pool 1 + 2 + 2, endpoints 2 * 2, external 2, firewall 2.
    for (const auto& c :
         {Case{"172.30.0.1", 80, 1 + 5 + 4}, Case{"1.2.3.4", 80, 2 + 2 + 2 + 5 + 4},
          Case{"192.168.0.2", 30001, 2 + 2 + 5 + 4}, Case{"172.30.0.2", 80, 1}, Case{"8.8.8.8", 80, 0}}) {
        SCOPED_TRACE(c.destination);
        const auto seen = see(c.destination, c.port);
        EXPECT_THAT(seen.differences, IsEmpty());
        EXPECT_THAT(seen.found, SizeIs(c.lines));
    }
    EXPECT_THAT(see("1.2.3.4", 80).found.front(), HasSubstr("nat: -A KUBE-SERVICES -d 1.2.3.4/32"));
}

TEST_F(IptablesSighting, EachRuleOnTheWayCounts) {
    const auto lines = see("1.2.3.4", 80).found;
    for (const auto& found : lines) {
        SCOPED_TRACE(found);
        const auto table = found.substr(0, found.find(':'));
        ASSERT_TRUE(twin.delete_rule(table, found.substr(table.size() + 2)));
        EXPECT_THAT(see("1.2.3.4", 80).differences, Not(IsEmpty()));
        ASSERT_TRUE(place.reconcile(plan).has_value());
        EXPECT_THAT(see("1.2.3.4", 80).differences, IsEmpty());
    }
}

TEST_F(IptablesSighting, TooMuchAndTheFrame) {
    static_cast<void>(twin.restore("*nat\n-I KUBE-SERVICES -d 8.8.8.8 -p tcp --dport 80 -j RETURN\nCOMMIT\n"));
    EXPECT_THAT(see("8.8.8.8", 80).differences, Contains(HasSubstr("which the plan has not")));
    EXPECT_THAT(see("172.30.0.1", 80).differences, IsEmpty()) << "another packet's";
    ASSERT_TRUE(twin.delete_chain("nat", "KUBE-POSTROUTING"));
    EXPECT_THAT(see("172.30.0.1", 80).differences, Contains(HasSubstr("KUBE-POSTROUTING")));
}

TEST_F(IptablesSighting, NothingIsThere) {
    twin.flush_all();
    EXPECT_THAT(see("172.30.0.1", 80).differences,
                Contains(HasSubstr("lacks the rule -A KUBE-SERVICES -d 172.30.0.1/32")));
    EXPECT_THAT(see("172.30.0.1", 80).found, IsEmpty());
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
