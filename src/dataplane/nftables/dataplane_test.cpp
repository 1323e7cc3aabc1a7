#include "dataplane/nftables/dataplane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/cleanup.h"
#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/supported.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using namespace testing;
using kernel::nft::MemoryKernel;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A service with `destinations` destinations: cluster IP, then load-balancer IPs, and a node port at the end.
api::Service shaped(int number, int destinations = 3) {
    const auto low = std::to_string(number % 250);
    const auto high = std::to_string(number / 250);
    auto object = plan::testing::service(
        "s" + std::to_string(number), "172.30." + high + "." + low,
        {service_port("p", 80, net::Protocol::kTcp, static_cast<std::uint16_t>(30000 + number))});
    object.type = api::ServiceType::kLoadBalancer;
    for (int i = 0; i < destinations - 2; ++i)
        object.load_balancer_vips.push_back(ip("20." + std::to_string(i) + "." + high + "." + low));
    object.load_balancer_source_ranges = plan::testing::cidrs({"192.168.0.0/24"});
    object.affinity_seconds = 10800;
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    return object;
}

api::EndpointSlice shaped_slice(int number, const std::vector<int>& endpoints) {
    std::vector<Ep> eps;
    for (const int endpoint : endpoints)
        eps.push_back(
            {"10." + std::to_string(number / 250) + "." + std::to_string(number % 250) + "." + std::to_string(endpoint),
             "r", "test-node"});
    return slice("s" + std::to_string(number), "s" + std::to_string(number), {slice_port("p", 8080)}, eps);
}

// Chains, rules and sets are a matter of shape, not of number.
TEST(NftablesDataplane, TheStructureDoesNotGrow) {
    const auto replaced = [](int services) {
        NodePlanner planner;
        std::vector<api::Change> changes;
        for (int i = 1; i <= services; ++i) {
            changes.push_back(put(shaped(i)));
            changes.push_back(put(shaped_slice(i, {1, 2, 3})));
        }
        static_cast<void>(planner.apply(changes));
        return freshly_replaced(planner.plan());
    };
    const TableState one = replaced(1);
    const TableState thousand = replaced(1000);
    EXPECT_EQ(one.chains, thousand.chains);
    EXPECT_FALSE(one.chains.empty());
    ASSERT_EQ(one.sets.size(), thousand.sets.size());
    for (const auto& [name, set] : one.sets) {
        ASSERT_TRUE(thousand.sets.contains(name)) << name;
        EXPECT_EQ(set.declaration, thousand.sets.at(name).declaration) << name;
    }
    EXPECT_EQ(thousand.sets.at("cluster-ips").elements.size(), 1000U);
    EXPECT_EQ(thousand.sets.at("endpoints").elements.size(), 1000U * 2 * 3) << "cluster IP and load-balancer IP";
}

// A change costs what changed: elements for each destination of the service, whatever its number of endpoints.
TEST(NftablesDataplane, OneChangedEndpointWritesFewElements) {
    struct Case {
        const char* name;
        std::vector<int> (*after)(std::vector<int>);
        // For each place where a destination is found, and once on the whole (hairpins).
        std::uint64_t each, once;
    };
    // A place is a destination in a lane; each holds a slot and a member. A replaced slot is deleted and added; the
    // last slot of a pool that shrinks is deleted, and its endpoint moves.
    const Case cases[] = {
        {"one replaced",
         [](std::vector<int> e) {
             e[7] = 200;
             return e;
         },
         4, 2},
        {"one added",
         [](std::vector<int> e) {
             e.push_back(200);
             return e;
         },
         2, 1},
        {"one removed",
         [](std::vector<int> e) {
             e.erase(e.begin() + 7);
             return e;
         },
         4, 1},
        {"the last removed",
         [](std::vector<int> e) {
             e.pop_back();
             return e;
         },
         4, 1},
        {"none", [](std::vector<int> e) { return e; }, 0, 0},
        {"another order",
         [](std::vector<int> e) {
             std::swap(e[0], e[5]);
             return e;
         },
         0, 0},
    };
    for (const auto& c : cases) {
        for (const int endpoints : {20, 50, 120}) {
            for (const int destinations : {2, 5}) {
                SCOPED_TRACE(fmt::format("{}, {} endpoints, {} destinations", c.name, endpoints, destinations));
                std::vector<int> numbers;
                for (int i = 1; i <= endpoints; ++i) numbers.push_back(i);
                NodePlanner planner;
                static_cast<void>(planner.apply({put(shaped(1, destinations)), put(shaped_slice(1, numbers))}));
                OnTwin place(net::Family::kIpv4);
                ASSERT_TRUE(place.reconcile(planner.plan()));
                place.twin.reset_counters();
                ASSERT_TRUE(place.apply(planner.apply({put(shaped_slice(1, c.after(numbers)))})));
                // The cluster IP stands in one lane, the others in two.
                const auto places = static_cast<std::uint64_t>(1 + 2 * (destinations - 1));
                const auto& counters = place.twin.counters();
                EXPECT_LE(counters.elements_added + counters.elements_deleted, c.each * places + c.once);
                EXPECT_EQ(counters.elements_added + counters.elements_deleted == 0, c.each == 0);
                EXPECT_LE(counters.operations, 24U) << "a message a set, not an element";
                EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(planner.plan())));
                EXPECT_THAT(broken_pools(place.state()), IsEmpty());
            }
        }
    }
}

TEST(NftablesDataplane, NothingToDoIsNoCommit) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    place.twin.reset_counters();
    ASSERT_TRUE(place.apply(planner.apply({})));
    EXPECT_EQ(place.twin.counters().calls, 0U);
}

// What cannot be turned into what should be there is replaced in one step.
TEST(NftablesDataplane, ASetOfAnotherTypeMakesTheTableAnew) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.twin.commit({place.table,
                                   {kernel::nft::AddTable{}, kernel::nft::AddChain{"left-over", std::nullopt},
                                    kernel::nft::AddSet{{.name = "hairpins", .key = {kernel::nft::Field::kPort}}}}}));
    const auto commits = place.twin.counters().commits;
    ASSERT_TRUE(place.reconcile(planner.plan()));
    EXPECT_EQ(place.twin.counters().commits, commits + 3) << "in one step, with the same rules beside it meanwhile";
    EXPECT_EQ(place.state(), freshly_replaced(planner.plan()));
    EXPECT_EQ(place.twin.find(handover_table(net::Family::kIpv4)), nullptr);
}

TEST(NftablesDataplane, WhatAKilledReplacementLeftIsRemoved) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    const auto handover = handover_table(net::Family::kIpv4);
    ASSERT_TRUE(place.twin.commit({handover, {kernel::nft::AddTable{}}}));
    ASSERT_TRUE(place.reconcile(planner.plan()));
    EXPECT_EQ(place.twin.find(handover), nullptr);
}

// The rules say which sources are pods and where node ports are taken; a change of that leaves elements alone.
TEST(NftablesDataplane, NodeRulesRewriteRules) {
    auto settings = node_settings();
    settings.node_port_ranges = plan::testing::cidrs({"192.168.0.0/16"});
    NodePlanner planner(net::Family::kIpv4, settings);
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    place.twin.reset_counters();

    auto host = host_facts();
    host.addresses.push_back(ip("192.168.7.7"));
    ASSERT_TRUE(place.apply(planner.set_host(host)));
    EXPECT_EQ(place.twin.counters().elements_added, 1U);
    EXPECT_EQ(place.twin.counters().operations, 1U);
    ASSERT_TRUE(place.apply(planner.apply({put(api::ServiceCidr{"c", plan::testing::cidrs({"172.30.0.0/16"})})})));
    EXPECT_EQ(place.twin.counters().elements_added, 1U) << "a rule, no element";
    EXPECT_EQ(place.state(), freshly_replaced(planner.plan()));
}

TEST(NftablesDataplane, AFailedCommitChangesNothingAndReconcileHeals) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    place.twin.fail_call(1, ENOMEM);
    EXPECT_EQ(place.reconcile(planner.plan()).error().code, ENOMEM);
    EXPECT_EQ(place.twin.find(place.table), nullptr);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    const auto before = place.state();
    place.twin.fail_call(1, ENOBUFS);
    EXPECT_EQ(place.apply(planner.apply({put(shaped_slice(1, {2, 3, 4, 5}))})).error().code, ENOBUFS);
    EXPECT_EQ(place.state(), before);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(planner.plan())));
    ASSERT_TRUE(place.apply(planner.apply({put(shaped_slice(1, {2, 3, 4}))})));
    EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(planner.plan())));
}

// Somebody else deleted the table: the next change says so, and reconcile() brings it back.
TEST(NftablesDataplane, ATableThatVanished) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(shaped(1)), put(shaped_slice(1, {1, 2}))}));
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    ASSERT_TRUE(cleanup(place.twin));
    EXPECT_EQ(place.apply(planner.apply({put(shaped_slice(1, {3}))})).error().code, ENOENT);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    EXPECT_EQ(place.state(), freshly_replaced(planner.plan()));
}

TEST(Cleanup, RemovesBothFamiliesAndTwiceIsFine) {
    MemoryKernel kernel;
    for (const auto family : net::kFamilies) ASSERT_TRUE(kernel.commit({table(family), {kernel::nft::AddTable{}}}));
    const kernel::nft::Table foreign{net::Family::kIpv4, "foreign", ""};
    ASSERT_TRUE(kernel.commit({foreign, {kernel::nft::AddTable{}}}));
    for (int i = 0; i < 2; ++i) {
        EXPECT_TRUE(cleanup(kernel));
        for (const auto family : net::kFamilies) EXPECT_EQ(kernel.find(table(family)), nullptr);
    }
    EXPECT_NE(kernel.find(foreign), nullptr);
    kernel.fail_call(2, EPERM);
    EXPECT_EQ(cleanup(kernel).error().code, EPERM);
}

TEST(Supported, NamesWhatIsMissing) {
    MemoryKernel kernel;
    for (const auto family : net::kFamilies) EXPECT_THAT(missing(kernel, family), IsEmpty());
    EXPECT_EQ(kernel.counters().calls, 2U) << "asked at once where nothing is missing";

    kernel.fail_call(1, ENOENT);      // everything together,
    kernel.fail_call(1 + 2, ENOENT);  // then one by one: the second is missing
    const auto lacks = missing(kernel, net::Family::kIpv6);
    ASSERT_THAT(lacks, SizeIs(1));
    EXPECT_THAT(lacks[0],
                AllOf(HasSubstr("IPv6: this kernel cannot do random numbers as part of a key (CONFIG_NFT_NUMGEN)"),
                      HasSubstr("No such file or directory")));
    const auto probes = kernel.counters().calls - 3;
    EXPECT_GE(probes, 8U);

    for (std::uint64_t i = 1; i <= probes + 1; ++i) kernel.fail_call(i, EOPNOTSUPP);
    EXPECT_THAT(missing(kernel, net::Family::kIpv4), SizeIs(probes)) << "one sentence each";

    kernel.fail_call(1, ENOSPC);
    EXPECT_THAT(missing(kernel, net::Family::kIpv4), ElementsAre(HasSubstr("refuses everything together")));

    kernel.fail_call(1, EPERM);
    EXPECT_THAT(missing(kernel, net::Family::kIpv4), ElementsAre(HasSubstr("no permission")))
        << "not the kernel's fault";
    EXPECT_EQ(kernel.counters().commits, 0U) << "nothing is kept";
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
