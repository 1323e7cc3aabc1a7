#include "plan/merged_delta.h"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "plan/world_testing.h"

namespace ghostip::plan {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Commands = std::vector<Command>;

api::Service web(std::uint16_t port, std::string_view cluster_ip = "172.30.0.1") {
    return plan::testing::service("web", cluster_ip, {service_port("p", port)});
}
api::EndpointSlice endpoints(const std::string& address) {
    return slice("web", "web", {slice_port("p", 80)}, {{address, "r", "test-node"}});
}

TEST(MergedDelta, WhatCameAndWentIsNotInIt) {
    NodePlanner planner;
    MergedDelta merged;
    EXPECT_TRUE(merged.empty());
    merged.add(planner.apply({put(web(80)), put(endpoints("10.180.0.1"))}));
    EXPECT_FALSE(merged.empty());
    EXPECT_THAT(merged.delta().cluster_ips_added, ElementsAre(ip("172.30.0.1")));
    EXPECT_THAT(merged.delta().hairpins_added, SizeIs(1));
    merged.add(planner.apply({gone(web(80)), gone(endpoints("10.180.0.1"))}));
    EXPECT_TRUE(merged.empty());
    EXPECT_TRUE(merged.delta().empty());
}

TEST(MergedDelta, HasTheFirstBeforeAndTheLastAfter) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(web(80)), put(endpoints("10.180.0.1"))}));
    const auto before = planner.plan();
    MergedDelta merged;
    for (const auto* address : {"10.180.0.2", "10.180.0.3", "10.180.0.4"})
        merged.add(planner.apply({put(endpoints(address))}));
    const auto delta = merged.take();
    EXPECT_TRUE(merged.empty());
    ASSERT_EQ(delta.service_ports.size(), 1U);
    EXPECT_EQ(delta.service_ports[0].before, before.service_ports.begin()->second);
    EXPECT_EQ(delta.service_ports[0].after, planner.plan().service_ports.begin()->second);
    EXPECT_THAT(texts(delta.service_ports[0].after->cluster), ElementsAre("10.180.0.4:80"));
    EXPECT_THAT(delta.hairpins_added, ElementsAre(Hairpin{ip("10.180.0.4"), net::Protocol::kTcp, 80}));
    EXPECT_THAT(delta.hairpins_removed, ElementsAre(Hairpin{ip("10.180.0.1"), net::Protocol::kTcp, 80}));
    EXPECT_THAT(delta.cluster_ips_added, IsEmpty());
}

TEST(MergedDelta, NodeRulesAndHealthChecksToo) {
    NodePlanner planner;
    auto balanced = web(80);
    balanced.type = api::ServiceType::kLoadBalancer;
    balanced.external_traffic_policy = api::TrafficPolicy::kLocal;
    balanced.health_check_node_port = 32000;
    static_cast<void>(planner.apply({put(balanced)}));
    MergedDelta merged;
    auto other = host_facts();
    other.addresses.push_back(ip("192.168.7.7"));
    merged.add(planner.set_host(other));
    merged.add(planner.apply({put(endpoints("10.180.0.1"))}));
    balanced.health_check_node_port = 32001;
    merged.add(planner.apply({put(balanced)}));
    auto delta = merged.delta();
    ASSERT_TRUE(delta.node_rules);
    ASSERT_EQ(delta.health_checks.size(), 1U);
    EXPECT_EQ(delta.health_checks[0].before, (HealthCheck{32000, 0}));
    EXPECT_EQ(delta.health_checks[0].after, (HealthCheck{32001, 1}));
    merged.add(planner.set_host(host_facts()));
    EXPECT_FALSE(merged.delta().node_rules) << "the address is gone again";
}

// Of a list of keys: each once, none in both.
template <typename Key>
std::set<Key> distinct(const std::vector<Key>& keys) {
    std::set<Key> result(keys.begin(), keys.end());
    RC_ASSERT(result.size() == keys.size());
    return result;
}

// Any stretch of a world's history, as one delta.
RC_GTEST_PROP(MergedDeltaProperties, DoesWhatItsPartsDo,
              (const Commands& first, const Commands& commands, std::uint32_t seed)) {
    const auto family = *rc::gen::element(net::Family::kIpv4, net::Family::kIpv6);
    const auto& profile = *rc::gen::arbitrary<bool>() ? nftables_profile() : iptables_profile();
    World world(family, seed);
    Planner planner(family, world.settings(), profile, world.host());
    const auto next = [&](const Command& command) {
        const auto change = world.change(command);
        return change ? planner.apply({*change}) : planner.set_host(world.host());
    };
    static_cast<void>(planner.apply({}));
    for (const auto& command : first) static_cast<void>(next(command));

    const Plan before = planner.plan();
    MergedDelta merged;
    Delta in_pairs;
    for (const auto& command : commands) {
        const auto delta = next(command);
        merged.add(delta);
        in_pairs = merge(in_pairs, delta);
    }
    const Plan after = planner.plan();
    const auto delta = merged.delta();
    Plan applied = before;
    applied.apply(delta);
    RC_ASSERT(applied == after);
    applied.apply(inverse(delta));
    RC_ASSERT(applied == before);
    applied.apply(in_pairs);
    RC_ASSERT(applied == after);
    RC_ASSERT(merged.empty() == delta.empty());
    RC_ASSERT(merged.empty() == (before == after));

    // Nothing stands in it that is the same before and after, or that is not what the plans say.
    const auto of = [](const Plan& plan, const ServicePortName& name) {
        const auto found = plan.service_ports.find(name);
        return found == plan.service_ports.end() ? nullptr : found->second;
    };
    const auto same = [](const ServicePortPlanPtr& a, const ServicePortPlanPtr& b) {
        return a == b || (a && b && *a == *b);
    };
    std::vector<ServicePortName> names;
    for (const auto& change : delta.service_ports) {
        names.push_back((change.after ? change.after : change.before)->name);
        RC_ASSERT(same(change.before, of(before, names.back())));
        RC_ASSERT(same(change.after, of(after, names.back())));
        RC_ASSERT(!same(change.before, change.after));
    }
    static_cast<void>(distinct(names));
    for (const auto& address : distinct(delta.cluster_ips_added))
        RC_ASSERT(!before.cluster_ips.contains(address) && after.cluster_ips.contains(address));
    for (const auto& address : distinct(delta.cluster_ips_removed))
        RC_ASSERT(before.cluster_ips.contains(address) && !after.cluster_ips.contains(address));
    for (const auto& hairpin : distinct(delta.hairpins_added))
        RC_ASSERT(!before.hairpins.contains(hairpin) && after.hairpins.contains(hairpin));
    for (const auto& hairpin : distinct(delta.hairpins_removed))
        RC_ASSERT(before.hairpins.contains(hairpin) && !after.hairpins.contains(hairpin));
    for (const auto& change : delta.health_checks) RC_ASSERT(change.before != change.after);
    if (delta.node_rules) RC_ASSERT(delta.node_rules->before == before.node);
    if (delta.node_rules) RC_ASSERT(delta.node_rules->after == after.node);
}

// Whatever is undone leaves nothing.
RC_GTEST_PROP(MergedDeltaProperties, AndTheInverseIsNothing, (const Commands& commands, std::uint32_t seed)) {
    World world(net::Family::kIpv4, seed);
    Planner planner(net::Family::kIpv4, world.settings(), nftables_profile(), world.host());
    static_cast<void>(planner.apply({}));
    std::vector<Delta> history;
    for (const auto& command : commands)
        if (const auto change = world.change(command)) history.push_back(planner.apply({*change}));
    MergedDelta merged;
    for (const auto& delta : history) merged.add(delta);
    for (auto delta = history.rbegin(); delta != history.rend(); ++delta) merged.add(inverse(*delta));
    RC_ASSERT(merged.empty());
}

}  // namespace
}  // namespace ghostip::plan
