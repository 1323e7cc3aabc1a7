#include "plan/refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/explain.h"
#include "plan/external_range.h"
#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ExternalRange, WhoMayClaimWhat) {
    struct Case {
        const char* name;
        std::vector<ExternalRange> ranges;
        const char* namespace_;
        const char* address;
        bool may;
    };
    const ExternalRange for_all{"", cidr("10.1.0.0/16")};
    const ExternalRange for_a{"a", cidr("192.0.2.0/24")};
    const ExternalRange for_a6{"a", cidr("2001:db8:f::/48")};
    const Case cases[] = {
        {"no ranges: everything", {}, "a", "8.8.8.8", true},
        {"no ranges: everything, IPv6", {}, "a", "2001:db8::1", true},
        {"for all", {for_all, for_a}, "b", "10.1.2.3", true},
        {"for all, outside", {for_all, for_a}, "b", "10.2.0.1", false},
        {"one's own", {for_all, for_a}, "a", "192.0.2.9", true},
        {"somebody else's", {for_all, for_a}, "b", "192.0.2.9", false},
        {"a namespace with ranges has those for all too", {for_all, for_a}, "a", "10.1.2.3", true},
        {"only others have ranges", {for_a}, "b", "10.1.2.3", false},
        {"a longer name", {for_a}, "ab", "192.0.2.9", false},
        {"ranges of IPv4 alone close IPv6", {for_all}, "a", "2001:db8:f::1", false},
        {"IPv6", {for_a6}, "a", "2001:db8:f::1", true},
    };
    for (const auto& c : cases) EXPECT_EQ(may_claim(c.ranges, c.namespace_, ip(c.address)), c.may) << c.name;
}

api::Service load_balancer(const std::vector<std::string_view>& external_ips,
                           const std::vector<std::string_view>& vips) {
    auto result = service("web", "172.30.0.41", {service_port("p", 80), service_port("q", 443)});
    result.type = api::ServiceType::kLoadBalancer;
    result.external_ips = ips(external_ips);
    result.load_balancer_vips = ips(vips);
    return result;
}

std::vector<std::string> destinations(const Planner& planner) {
    std::vector<std::string> result;
    for (const auto& [name, port] : planner.plan().service_ports)
        for (const auto& destination : port->destinations) result.push_back(destination.key.text());
    return result;
}

NodeSettings only(std::vector<ExternalRange> ranges) {
    auto settings = node_settings();
    settings.external_ranges = std::move(ranges);
    return settings;
}

TEST(ExternalRange, WhatIsOutsideIsNotPlannedAndSaidOnce) {
    NodePlanner planner(Family::kIpv4, only({{"", cidr("1.2.3.0/24")}}));
    static_cast<void>(planner.apply({put(load_balancer({"1.2.3.4", "8.8.8.8"}, {"5.6.7.8", "1.2.3.5"}))}));
    EXPECT_THAT(destinations(planner), ElementsAre("172.30.0.41:80/TCP", "1.2.3.5:80/TCP", "1.2.3.4:80/TCP",
                                                   "172.30.0.41:443/TCP", "1.2.3.5:443/TCP", "1.2.3.4:443/TCP"));
    EXPECT_THAT(
        texts(planner.take_refusals()),
        ElementsAre("Service ns/web: load-balancer IP 5.6.7.8 is in none of the ranges allowed to namespace ns; "
                    "it is not served",
                    "Service ns/web: external IP 8.8.8.8 is in none of the ranges allowed to namespace ns; it is "
                    "not served"));
    static_cast<void>(planner.apply({put(load_balancer({"1.2.3.4", "8.8.8.8"}, {"5.6.7.8"}))}));
    EXPECT_THAT(planner.take_refusals(), IsEmpty()) << "nothing new";
    static_cast<void>(planner.apply({put(load_balancer({"8.8.8.8", "8.8.4.4"}, {"8.8.8.8"}))}));
    EXPECT_THAT(planner.take_refusals(), ::testing::SizeIs(2)) << "a new address, and an old one in another role";
    static_cast<void>(planner.apply({gone(load_balancer({}, {}))}));
    EXPECT_THAT(planner.take_refusals(), IsEmpty());
    static_cast<void>(planner.apply({put(load_balancer({"8.8.8.8"}, {}))}));
    EXPECT_THAT(planner.take_refusals(), ::testing::SizeIs(1)) << "it began anew";
}

TEST(ExternalRange, NoneRefusesNothing) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(load_balancer({"8.8.8.8"}, {"5.6.7.8"}))}));
    EXPECT_THAT(destinations(planner), ::testing::SizeIs(6));
    EXPECT_THAT(planner.take_refusals(), IsEmpty());
}

// A refused claim is none: it neither wins against others nor lets its address through to sources.
TEST(ExternalRange, ARefusedClaimTakesNothingFromOthers) {
    NodePlanner planner(Family::kIpv4, only({{"team", cidr("1.2.3.0/24")}}));
    auto theirs = load_balancer({"1.2.3.4"}, {});
    theirs.namespace_ = "team";
    theirs.cluster_ip = ip("172.30.0.42");
    theirs.cluster_ips = ips({"172.30.0.42"});
    auto mine = load_balancer({}, {"1.2.3.4"});  // a load-balancer IP would win
    mine.load_balancer_source_ranges = cidrs({"192.168.0.0/16"});
    static_cast<void>(planner.apply({put(mine), put(theirs)}));
    EXPECT_THAT(planner.take_conflicts(), IsEmpty());
    const Plan plan = planner.plan();
    const auto journey =
        Explainer(plan, nftables_profile()).explain({ip("10.0.0.2"), ip("1.2.3.4"), net::Protocol::kTcp, 80, {}});
    ASSERT_TRUE(journey.service_port);
    EXPECT_EQ(journey.service_port->name.service.namespace_, "team");
}

TEST(ExternalRange, ExplainSaysWhoAsked) {
    NodePlanner planner(Family::kIpv4, only({{"", cidr("1.2.3.0/24")}}));
    static_cast<void>(planner.apply({put(load_balancer({"8.8.8.8"}, {}))}));
    const Plan plan = planner.plan();
    const Explainer explainer(plan, nftables_profile());
    const auto refused = explainer.explain({ip("10.0.0.2"), ip("8.8.8.8"), net::Protocol::kTcp, 80, {}});
    EXPECT_EQ(refused.verdict, Verdict::kNotOurs);
    EXPECT_EQ(refused.reason, Reason::kRefusedAddress);
    ASSERT_TRUE(refused.service_port);
    EXPECT_EQ(refused.service_port->name.text(), "ns/web:p");
    EXPECT_FALSE(refused.destination);
    EXPECT_EQ(explainer.explain({ip("10.0.0.2"), ip("8.8.8.8"), net::Protocol::kTcp, 81, {}}).reason,
              Reason::kUnknownDestination);
}

// CVE-2021-25737, for a source that does not leave such endpoints out itself.
TEST(RefusedEndpoints, AreNeverInAPoolAndSaidOnce) {
    struct Case {
        Family family;
        const char* address;
        bool refused;
    };
    for (const Case& c :
         {Case{Family::kIpv4, "127.0.0.1", true}, Case{Family::kIpv4, "169.254.169.254", true},
          Case{Family::kIpv4, "224.0.0.1", true}, Case{Family::kIpv4, "0.0.0.0", true},
          Case{Family::kIpv4, "10.180.0.2", false}, Case{Family::kIpv4, "169.255.0.1", false},
          Case{Family::kIpv6, "::1", true}, Case{Family::kIpv6, "fe80::1", true}, Case{Family::kIpv6, "ff02::1", true},
          Case{Family::kIpv6, "::", true}, Case{Family::kIpv6, "fd00:10::2", false}}) {
        const bool ipv4 = c.family == Family::kIpv4;
        const std::string good = ipv4 ? "10.180.0.1" : "fd00:10::1";
        NodePlanner planner(c.family);
        const auto endpoints =
            slice("web-1", "web", {slice_port("p", 80)}, {{good, "r", "test-node"}, {c.address, "r", "test-node"}});
        static_cast<void>(planner.apply(
            {put(service("web", ipv4 ? "172.30.0.41" : "fd00:30::41", {service_port("p", 80)})), put(endpoints)}));
        const auto port = planner.plan().service_ports.begin()->second;
        EXPECT_EQ(port->cluster.size(), c.refused ? 1U : 2U) << c.address;
        EXPECT_EQ(planner.plan().hairpins.size(), c.refused ? 1U : 2U) << c.address;
        EXPECT_EQ(planner.take_refusals().size(), c.refused ? 1U : 0U) << c.address;
        static_cast<void>(planner.apply({put(endpoints)}));
        EXPECT_THAT(planner.take_refusals(), IsEmpty()) << c.address;
    }
    // An IPv4-mapped address is written by hand, for parsing makes IPv4 of it.
    auto mapped = slice("web-1", "web", {slice_port("p", 80)}, {{"fd00:10::1"}});
    mapped.endpoints.front().address = *net::IpAddress::parse("::ffff:127.0.0.1");
    EXPECT_THAT(texts(refused_addresses(mapped)), ElementsAre("::ffff:127.0.0.1"));
    std::vector<Refusal> refusals;
    note_refusals(nullptr, mapped, refusals);
    EXPECT_THAT(texts(refusals), ElementsAre("EndpointSlice ns/web-1: ::ffff:127.0.0.1 is a loopback address, which "
                                             "cannot be an endpoint; left out"));
}

}  // namespace
}  // namespace ghostip::plan
