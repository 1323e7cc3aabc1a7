#include "plan/service_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "plan/explain.h"
#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ServiceRange, WhoElseLivesInIt) {
    const LocalPods pods{{ip("10.4.9.9"), 1}, {ip("10.4.1.1"), 2}, {ip("fd00:4::9"), 1}};
    const RangeOccupants all{.node = ips({"10.1.0.9", "10.1.0.1", "fd00:1::1"}),
                             .gateways = ips({"10.2.0.1", "10.1.0.254"}),
                             .api_servers = ips({"10.3.0.1", "203.0.113.7"}),
                             .pod_ranges = cidrs({"10.4.0.0/16", "fd00:4::/64"}),
                             .pods = &pods};
    struct Case {
        const char* name;
        const char* range;
        std::optional<Occupant> occupant;
        const char* example;
    };
    const Case cases[] = {
        {"nobody", "172.30.0.0/16", std::nullopt, ""},
        {"the node, by its least address", "10.1.0.0/24", Occupant::kNode, "10.1.0.1/32"},
        {"before its gateway", "10.1.0.0/16", Occupant::kNode, "10.1.0.1/32"},
        {"the gateway alone", "10.1.0.128/25", Occupant::kGateway, "10.1.0.254/32"},
        {"the API server", "203.0.113.0/24", Occupant::kApiServer, "203.0.113.7/32"},
        {"a part of the pods' range", "10.4.7.0/24", Occupant::kPodRange, "10.4.0.0/16"},
        {"more than the pods' range", "10.4.0.0/15", Occupant::kPodRange, "10.4.0.0/16"},
        {"beside it", "10.5.0.0/16", std::nullopt, ""},
        {"one address short", "10.1.0.2/31", std::nullopt, ""},
        {"a single address", "10.2.0.1/32", Occupant::kGateway, "10.2.0.1/32"},
        {"IPv6: the node", "fd00:1::/112", Occupant::kNode, "fd00:1::1/128"},
        {"IPv6: the pods' range", "fd00:4::/112", Occupant::kPodRange, "fd00:4::/64"},
        {"IPv6: nobody", "fd00:30::/112", std::nullopt, ""},
    };
    for (const auto& c : cases) {
        const auto found = find_occupant(cidr(c.range), all);
        ASSERT_EQ(found.has_value(), c.occupant.has_value()) << c.name;
        if (!found) continue;
        EXPECT_EQ(found->occupant, *c.occupant) << c.name;
        EXPECT_EQ(found->example.text(), c.example) << c.name;
    }
    const RangeOccupants only_pods{.node = {}, .gateways = {}, .api_servers = {}, .pod_ranges = {}, .pods = &pods};
    EXPECT_EQ(find_occupant(cidr("10.4.0.0/16"), only_pods)->example.text(), "10.4.1.1/32");
    EXPECT_FALSE(find_occupant(cidr("10.4.2.0/24"), only_pods));
    EXPECT_FALSE(find_occupant(cidr("10.4.10.0/24"), only_pods));
    EXPECT_FALSE(find_occupant(cidr("0.0.0.0/0"), {}));
}

TEST(ServiceRange, SaysWhatItFound) {
    const UndroppedRange range{cidr("10.0.0.0/8"), Occupant::kGateway, net::Prefix::host(ip("10.0.0.1"))};
    EXPECT_EQ(range.text(),
              "service range 10.0.0.0/8 overlaps with 10.0.0.1 (a gateway of this node): packets to its addresses that "
              "no Service has are not dropped");
    EXPECT_EQ(range, (UndroppedRange{range.range, Occupant::kGateway, cidr("10.0.0.2/32")}))
        << "another example is no other decision";
    EXPECT_FALSE(range == (UndroppedRange{range.range, Occupant::kPod, range.example}));
}

// --- the same by way of the planner ---

api::ServiceCidr service_cidr(const std::vector<std::string_view>& ranges) { return {"kubernetes", cidrs(ranges)}; }

struct Divided {
    std::vector<std::string> dropped;
    std::vector<std::string> left;
};
Divided ranges_of(const Planner& planner) {
    Divided divided;
    const auto plan = planner.plan();
    divided.dropped = texts(plan.node.service_cidrs);
    for (const auto& range : plan.node.undropped) divided.left.push_back(range.range.text());
    return divided;
}

// Each of them comes, and the range is not dropped any more; it goes, and the range is dropped again.
TEST(ServiceRange, IsLeftAloneWhileItIsOccupied) {
    const auto with_gateway = [](std::string_view gateway) {
        auto host = host_facts();
        host.gateways = ips({gateway});
        return host;
    };
    const auto with_address = [](std::string_view address) {
        auto host = host_facts();
        host.addresses.push_back(ip(address));
        return host;
    };
    struct Case {
        const char* name;
        Occupant occupant;
        std::function<Delta(Planner&)> comes, goes;
    };
    const auto back = [&](Planner& planner) { return planner.set_host(host_facts()); };
    const auto pod = slice("web-1", "web", {slice_port("p", 80)}, {{"172.30.9.9", "u", "test-node"}});
    const auto same_pod = slice("mail-1", "mail", {slice_port("p", 80)}, {{"172.30.9.9", "r", "test-node"}});
    auto api_server = slice("kubernetes-1", "kubernetes", {slice_port("https", 6443)}, {{"172.30.8.8", "r", "cp"}});
    api_server.namespace_ = "default";
    auto node = node_object();
    node.pod_cidrs = cidrs({"172.30.128.0/24"});
    auto other_address = node_object();
    other_address.addresses.push_back({api::NodeAddressType::kExternalIp, ip("172.30.7.7")});
    const Case cases[] = {
        {"an address of the host", Occupant::kNode, [&](auto& p) { return p.set_host(with_address("172.30.0.7")); },
         back},
        {"an address of the Node object", Occupant::kNode, [&](auto& p) { return p.apply({put(other_address)}); },
         [&](auto& p) { return p.apply({put(node_object())}); }},
        {"a gateway", Occupant::kGateway, [&](auto& p) { return p.set_host(with_gateway("172.30.255.254")); }, back},
        {"an endpoint of the API server", Occupant::kApiServer, [&](auto& p) { return p.apply({put(api_server)}); },
         [&](auto& p) { return p.apply({gone(api_server)}); }},
        {"the node's pod range", Occupant::kPodRange, [&](auto& p) { return p.apply({put(node)}); },
         [&](auto& p) { return p.apply({put(node_object())}); }},
        {"a pod of this node, ready or not", Occupant::kPod, [&](auto& p) { return p.apply({put(pod)}); },
         [&](auto& p) { return p.apply({gone(pod)}); }},
        {"a pod that two slices have", Occupant::kPod,
         [&](auto& p) {
             return p.apply({put(pod), put(same_pod)});
         },
         [&](auto& p) {
             EXPECT_FALSE(p.apply({gone(pod)}).node_rules) << "the other slice still has it";
             return p.apply({gone(same_pod)});
         }},
    };
    for (const auto& c : cases) {
        NodePlanner planner;
        static_cast<void>(planner.apply({put(service_cidr({"172.30.0.0/16", "fd00:30::/112"}))}));
        EXPECT_THAT(ranges_of(planner).dropped, ElementsAre("172.30.0.0/16")) << c.name;
        const auto came = c.comes(planner);
        ASSERT_TRUE(came.node_rules) << c.name;
        EXPECT_THAT(came.node_rules->after.service_cidrs, IsEmpty()) << c.name;
        ASSERT_THAT(ranges_of(planner).left, ElementsAre("172.30.0.0/16")) << c.name;
        EXPECT_EQ(planner.plan().node.undropped[0].occupant, c.occupant) << c.name;
        ASSERT_TRUE(c.goes(planner).node_rules) << c.name;
        EXPECT_THAT(ranges_of(planner).dropped, ElementsAre("172.30.0.0/16")) << c.name;
        EXPECT_THAT(ranges_of(planner).left, IsEmpty()) << c.name;
    }
}

TEST(ServiceRange, PodsElsewhereAndOtherRangesDoNotCount) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(service_cidr({"172.30.0.0/16"}))}));
    const auto elsewhere = slice("web-1", "web", {slice_port("p", 80)},
                                 {{"172.30.9.9", "r", "other"}, {"172.30.9.8"}, {"10.180.0.1", "r", "test-node"}});
    EXPECT_FALSE(planner.apply({put(elsewhere)}).node_rules);
    auto not_the_api_server = slice("kubernetes-1", "kubernetes", {slice_port("p", 80)}, {{"172.30.9.9", "r", "cp"}});
    EXPECT_FALSE(planner.apply({put(not_the_api_server)}).node_rules) << "of another namespace";
    EXPECT_THAT(ranges_of(planner).dropped, ElementsAre("172.30.0.0/16"));
}

TEST(ServiceRange, PodsThatComeAndGoInsideAreOneDecision) {
    NodePlanner planner;
    const auto pods = [](const std::vector<Ep>& endpoints) {
        return put(slice("web-1", "web", {slice_port("p", 80)}, endpoints));
    };
    static_cast<void>(planner.apply({put(service_cidr({"172.30.0.0/16"})), pods({{"172.30.9.9", "r", "test-node"}})}));
    EXPECT_THAT(ranges_of(planner).left, ElementsAre("172.30.0.0/16"));
    EXPECT_FALSE(
        planner.apply({pods({{"172.30.9.9", "r", "test-node"}, {"172.30.1.1", "r", "test-node"}})}).node_rules);
    EXPECT_FALSE(planner.apply({pods({{"172.30.1.1", "r", "test-node"}})}).node_rules);
    EXPECT_TRUE(planner.apply({pods({})}).node_rules);
}

TEST(ServiceRange, TheApiServerOfTheSettingsCounts) {
    auto settings = node_settings();
    settings.api_servers = ips({"172.30.5.5"});
    NodePlanner planner(Family::kIpv4, settings);
    static_cast<void>(
        planner.apply({put(service_cidr({"172.30.0.0/16"})), put(api::ServiceCidr{"b", cidrs({"10.96.0.0/12"})})}));
    EXPECT_THAT(ranges_of(planner).dropped, ElementsAre("10.96.0.0/12")) << "the other range is judged by itself";
    EXPECT_THAT(ranges_of(planner).left, ElementsAre("172.30.0.0/16"));
}

TEST(ServiceRange, ExplainAgrees) {
    auto host = host_facts();
    NodePlanner planner;
    static_cast<void>(planner.apply({put(service_cidr({"172.30.0.0/16"}))}));
    const Flow flow{ip("10.0.0.2"), ip("172.30.0.99"), net::Protocol::kTcp, 80, {}};
    const auto explain = [&](const Flow& asked) {
        const Plan plan = planner.plan();
        return Explainer(plan, nftables_profile()).explain(asked);
    };
    EXPECT_EQ(explain(flow).reason, Reason::kUnallocatedClusterIp);
    host.gateways = ips({"172.30.0.1"});
    static_cast<void>(planner.set_host(host));
    EXPECT_EQ(explain(flow).verdict, Verdict::kNotOurs);
}

}  // namespace
}  // namespace ghostip::plan
