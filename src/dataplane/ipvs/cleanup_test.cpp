// What goes by a clean-up, and what stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/scene_testing.h"
#include "dataplane/ipvs/sets.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

void never(std::chrono::milliseconds /*time*/) { FAIL() << "nothing is busy"; }

// A rule of somebody else's keeps a chain, and that one a set: until it is gone, the rest is still known for ours.
TEST(IpvsCleanup, WhatTellsThatSetsAreOursGoesLast) {
    Machine machine;
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(
        machine.sets.create({spare_set_name(net::Family::kIpv6), kernel::ipset::Type::kIp, net::Family::kIpv6}));
    ASSERT_FALSE(
        machine.iptables.restore("*nat\n:CNI-CHAIN - [0:0]\n-A CNI-CHAIN -j KUBE-POSTROUTING\nCOMMIT\n").value());
    std::vector<std::string> kept;
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_THAT(kept, ElementsAre("table nat: chain KUBE-POSTROUTING stays, because a rule of chain CNI-CHAIN leads "
                                  "into it"));
    const auto refer = [&](std::uint32_t references) {
        for (const auto* name : {"KUBE-LOOP-BACK", "KUBE-CLUSTER-IP"}) machine.sets.set_references(name, references);
    };
    refer(1);
    int pauses = 0;
    const auto busy = clean_sets(machine.sets, WhichSets::kAll, [&](auto) { ++pauses; });
    ASSERT_FALSE(busy);
    EXPECT_THAT(busy.error().message, HasSubstr("KUBE-"));
    EXPECT_EQ(pauses, 20) << "two seconds for all together";
    EXPECT_THAT(machine.sets.headers().value(), SizeIs(3));
    EXPECT_TRUE(are_ours(machine.sets).value());
    // Of a rule that nf_tables lets go of a moment later.
    EXPECT_TRUE(clean_sets(machine.sets, WhichSets::kAll, [&](auto) { refer(0); }));
    EXPECT_THAT(machine.sets.headers().value(), IsEmpty());
}

TEST(IpvsCleanup, TakesAwayAllThatIsOurs) {
    std::vector<std::string> kept;
    Machine machine;
    ASSERT_FALSE(machine.iptables.restore("*nat\n:CNI-CHAIN - [0:0]\n-A POSTROUTING -j CNI-CHAIN\nCOMMIT\n").value());
    const auto rules = machine.rules();
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))})));
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    const auto left = machine.rules();
    for (const auto& line : rules) EXPECT_THAT(left, Contains(line));
    for (const auto& line : left) {
        EXPECT_THAT(line, Not(HasSubstr("KUBE-")));
        EXPECT_THAT(line, Not(HasSubstr("GHOSTIP-")));
    }
    ASSERT_TRUE(clean_servers(machine.ipvs, machine.sets, machine.links));
    EXPECT_THAT(machine.servers(), IsEmpty());
    ASSERT_TRUE(clean_sets(machine.sets, WhichSets::kAll, never));
    EXPECT_THAT(machine.sets.headers().value(), IsEmpty());
}

// It writes the chains that it knows anew, and ours stand beside them.
TEST(IpvsCleanup, LeavesWhatKubeProxyTookBack) {
    std::vector<std::string> kept;
    Machine machine;
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))})));
    EXPECT_FALSE(is_kube_proxys(machine.iptables).value());
    ASSERT_FALSE(machine.iptables
                     .restore("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODE-PORT - [0:0]\n"
                              "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\nCOMMIT\n"
                              "*filter\n:KUBE-PROXY-FIREWALL - [0:0]\nCOMMIT\n")
                     .value());
    EXPECT_TRUE(is_kube_proxys(machine.iptables).value());
    auto expected = machine.rules();
    std::erase_if(expected, [](const auto& line) { return line.find("GHOSTIP-") != std::string::npos; });
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_EQ(machine.rules(), expected);
    EXPECT_TRUE(is_kube_proxys(machine.iptables).value()) << "also when it is run again";
    auto elements = machine.elements();
    std::erase_if(elements, [](const auto& line) { return line.starts_with("GHOSTIP-"); });
    ASSERT_TRUE(clean_sets(machine.sets, WhichSets::kOnlyOurs, never));
    EXPECT_EQ(machine.elements(), elements);
    EXPECT_FALSE(are_ours(machine.sets).value());
}

// kube-proxy's rules and sets have the same names.
TEST(IpvsCleanup, LeavesWhatIsKubeProxys) {
    std::vector<std::string> kept;
    Machine machine;
    ASSERT_FALSE(machine.iptables
                     .restore("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-LOAD-BALANCER - [0:0]\n"
                              "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -j KUBE-LOAD-BALANCER\nCOMMIT\n")
                     .value());
    const auto rules = machine.rules();
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_EQ(machine.rules(), rules);
    for (const auto set : {Set::kClusterIp, Set::kNodePortTcp, Set::kIpvsIps})
        ASSERT_TRUE(machine.sets.create(definition(set, net::Family::kIpv4)));
    EXPECT_FALSE(are_ours(machine.sets).value());
    ASSERT_TRUE(machine.sets.create(definition(Set::kNodePorts, net::Family::kIpv6)));
    EXPECT_TRUE(are_ours(machine.sets).value());
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
