// Starting and restarting on the twin of the kernel: what is written, in which order, and what is not.
#include "dataplane/nftables/reconcile.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/reconcile_testing.h"
#include "kernel/nft/rule_builder.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using namespace testing;
using kernel::nft::AddChain;
using kernel::nft::AddElements;
using kernel::nft::AddRule;
using kernel::nft::AddSet;
using kernel::nft::AddTable;
using kernel::nft::DeleteElements;
using kernel::nft::Elements;
using kernel::nft::FlushChain;
using kernel::nft::MemoryKernel;
using kernel::nft::Operation;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Whoever looks between two transactions of a start sees services that are whole, or not there; never one whose address
// leads to a pool that is not there yet, and no dropping of addresses before all are known.
TEST(Start, HalfDoneIsNeverWrong) {
    const Cluster cluster;
    for (const std::size_t at_once : {1U, 7U, 40U, 4096U}) {
        std::uint64_t transactions = 0;
        for (std::uint64_t stop_at = 1;; ++stop_at) {
            OnTwin place(net::Family::kIpv4, Limits{at_once});
            place.twin.fail_call(2 + stop_at, ENOMEM);  // the first calls look what is there
            const auto result = place.reconcile(cluster.plan());
            if (result) {
                transactions = result->transactions;
                EXPECT_EQ(stop_at, transactions + 1);
                EXPECT_EQ(place.state(), freshly_replaced(cluster.plan()));
                break;
            }
            ASSERT_EQ(result.error().code, ENOMEM);
            if (place.twin.find(place.table) == nullptr) continue;
            const auto& state = place.state();
            EXPECT_THAT(broken_pools(state), IsEmpty());
            const auto& pools = state.sets.at("upto-4").elements;
            for (const auto& [address, none] : state.sets.at("cluster-ips").elements)
                for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{81}})
                    EXPECT_TRUE(pools.contains(bytes_of(destination(address[3], port)))) << "an address without a pool";
            EXPECT_THAT(state.chains.at("unknown-cluster-ips").rules, SizeIs(2)) << "nothing is dropped yet";
        }
        EXPECT_EQ(transactions == 2, at_once == 4096) << "the structure, and all else";
    }
}

TEST(Start, AnInterruptedStartIsFinishedByTheNext) {
    const Cluster cluster;
    for (std::uint64_t stop_at = 1; stop_at <= 12; ++stop_at) {
        OnTwin dying(net::Family::kIpv4, Limits{40});
        dying.twin.fail_call(2 + stop_at, ENOMEM);
        static_cast<void>(dying.reconcile(cluster.plan()));
        OnTwin next(net::Family::kIpv4, dying.twin, Limits{40});
        next.twin.fail_no_more();
        ASSERT_TRUE(next.reconcile(cluster.plan()));
        EXPECT_EQ(comparable(next.state()), comparable(freshly_replaced(cluster.plan())));
        EXPECT_EQ(next.state().chains, freshly_replaced(cluster.plan()).chains);
    }
}

TEST(Restart, WritesTheDifferenceAndNothingElse) {
    Cluster cluster;
    OnTwin first(net::Family::kIpv4);
    ASSERT_TRUE(first.reconcile(cluster.plan()));
    // Slots that are not in the pool's order stay where they are.
    ASSERT_TRUE(first.apply(cluster.planner.apply({put(endpoints(7, {2, 3, 1, 9}))})));
    ASSERT_TRUE(first.apply(cluster.planner.apply({put(endpoints(7, {9, 3, 1}))})));

    OnTwin same(net::Family::kIpv4, first.twin);
    same.twin.reset_counters();
    const auto unchanged = same.reconcile(cluster.plan());
    ASSERT_TRUE(unchanged);
    EXPECT_EQ(same.twin.counters().commits, 0U);
    EXPECT_EQ(unchanged->differences, 0U);
    EXPECT_THAT(unchanged->examples, IsEmpty());

    static_cast<void>(cluster.planner.apply({put(endpoints(3, {1, 2, 4})), gone(numbered(5, cluster_ip(5)))}));
    OnTwin changed(net::Family::kIpv4, first.twin);
    changed.twin.reset_counters();
    const auto outcome = changed.reconcile(cluster.plan());
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->transactions, 1U);
    // A slot of two ports is replaced; two ports of three endpoints, their classes and an address go.
    EXPECT_EQ(outcome->elements_added, 2U + 2U) << "slots, hairpins";
    EXPECT_EQ(outcome->elements_deleted, 2U + 2U + 2U * (3U + 1U) + 1U + 2U * 3U);
    EXPECT_EQ(comparable(changed.state()), comparable(freshly_replaced(cluster.plan())));
}

// An older version of this program: other chains, sets and rules under the same table. Its rules serve until the new
// ones are in place with all that they look at; then it goes.
TEST(Restart, AnOlderLayoutGoesWhenTheNewIsInPlace) {
    const Cluster cluster;
    const auto fresh = freshly_replaced(cluster.plan());
    const kernel::nft::Table table = nftables::table(net::Family::kIpv4);
    const auto older = [&](MemoryKernel& kernel) {
        kernel::nft::RuleBuilder jump(net::Family::kIpv4);
        kernel::nft::RuleBuilder look(net::Family::kIpv4);
        kernel::nft::RuleBuilder old_rule(net::Family::kIpv4);
        return kernel.written_by_another(
            {table,
             {AddTable{}, AddSet{{.name = "old-services", .key = {kernel::nft::Field::kAddress}}},
              AddChain{"old-dispatch", std::nullopt},
              AddChain{"old-prerouting",
                       kernel::nft::BaseChain{kernel::nft::ChainType::kNat, kernel::nft::Hook::kPrerouting, -99}},
              AddChain{"nat-output",
                       kernel::nft::BaseChain{kernel::nft::ChainType::kNat, kernel::nft::Hook::kOutput, -99}},
              AddRule{"old-dispatch",
                      std::move(look.in_set({kernel::nft::select::kDestination}, "old-services")).drop()},
              AddRule{"old-prerouting", std::move(jump).jump("old-dispatch")},
              AddRule{"nat-output", std::move(old_rule).jump("old-dispatch")},
              AddElements{{"old-services", 4, 0, {172, 30, 0, 1}}}}});
    };
    for (std::uint64_t stop_at = 1;; ++stop_at) {
        OnTwin place(net::Family::kIpv4, Limits{40});
        ASSERT_TRUE(older(place.twin));
        place.twin.fail_call(2 + stop_at, ENOMEM);  // contents, and no set of ours to read
        const auto result = place.reconcile(cluster.plan());
        if (result) {
            EXPECT_GT(stop_at, 5U);
            EXPECT_GE(result->differences, 1U);
            EXPECT_EQ(place.state(), fresh);
            break;
        }
        const auto& state = place.state();
        ASSERT_TRUE(state.chains.contains("old-prerouting")) << "the old serves until all of the new is there";
        EXPECT_EQ(state.chains.at("nat-output").rules.size(), 1U);
        EXPECT_TRUE(state.sets.contains("old-services"));
        ASSERT_LT(stop_at, 60U);
    }
}

// While it was down, a load balancer's source range got a length that was not there before, and a pool a size: whoever
// looks half-way sees no element that needs a rule which is not there yet.
TEST(Restart, NewRulesComeBeforeTheElementsThatNeedThem) {
    Cluster cluster;
    auto balanced = numbered(3, cluster_ip(3));
    balanced.type = api::ServiceType::kLoadBalancer;
    balanced.load_balancer_vips = {ip("5.6.7.8")};
    balanced.load_balancer_source_ranges = plan::testing::cidrs({"10.0.0.0/8"});
    static_cast<void>(cluster.planner.apply({put(balanced)}));
    OnTwin first(net::Family::kIpv4);
    ASSERT_TRUE(first.reconcile(cluster.plan()));
    balanced.load_balancer_source_ranges = plan::testing::cidrs({"10.1.0.0/16", "10.2.3.0/24"});
    static_cast<void>(cluster.planner.apply({put(balanced), put(endpoints(4, {1, 2, 3, 4, 5, 6}))}));
    const auto fresh = freshly_replaced(cluster.plan());
    for (std::uint64_t stop_at = 1;; ++stop_at) {
        OnTwin place(net::Family::kIpv4, first.twin, Limits{1});
        place.twin.reset_counters();
        place.twin.fail_call(stop_at, ENOMEM);
        const auto result = place.reconcile(cluster.plan());
        const auto& state = place.state();
        const auto has = [&](const std::string& set) {
            const auto found = state.sets.find(set);
            return found != state.sets.end() && !found->second.elements.empty();
        };
        // Two rules a length, and the drop.
        const bool new_length = has("allowed-sources-16") || has("allowed-sources-24");
        EXPECT_TRUE(!new_length || state.chains.at("allowed-sources").rules.size() == 2 * 3 + 1);
        EXPECT_TRUE(!has("upto-8") || state.chains.at("pick").rules.size() == 3);
        if (result) {
            EXPECT_GT(stop_at, 4U);
            EXPECT_THAT(comparable(state).at("upto-8"), SizeIs(2));
            EXPECT_EQ(comparable(state).at("filtered-sources"), comparable(fresh).at("filtered-sources"));
            break;
        }
        ASSERT_LT(stop_at, 60U);
    }
}

TEST(Restart, WhatCannotBeTurnedIsMadeAnewInOneStep) {
    const Cluster cluster;
    const auto fresh = freshly_replaced(cluster.plan());
    struct Case {
        const char* name;
        Operation odd;
    };
    const Case cases[] = {
        {"a set of another type", AddSet{{.name = "cluster-ips", .key = {kernel::nft::Field::kPort}}}},
        {"a set with a limit", AddSet{{.name = "cluster-ips", .key = {kernel::nft::Field::kAddress}, .size = 9}}},
    };
    for (const auto& c : cases) {
        OnTwin place(net::Family::kIpv4, Limits{40});
        ASSERT_TRUE(place.twin.written_by_another({place.table, {AddTable{}, c.odd}})) << c.name;
        const auto outcome = place.reconcile(cluster.plan());
        ASSERT_TRUE(outcome) << c.name << ": " << outcome.error().message;
        EXPECT_EQ(outcome->transactions, 3U) << c.name;
        EXPECT_EQ(place.state(), fresh) << c.name;
    }
}

// Maps that are too large to be dumped are looked up, also where others left something.
TEST(Restart, LargeMapsAreLookedUp) {
    constexpr int kMany = 300;
    const Limits limits{kElementsAtOnce, 2000};
    const auto address = [](int i) { return "172.30." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1); };
    NodePlanner planner;
    std::vector<api::Change> changes;
    for (int i = 0; i < kMany; ++i) {
        changes.push_back(put(plan::testing::service("s" + std::to_string(i), address(i), {service_port("p", 80)})));
        std::vector<Ep> eps;
        for (int e = 0; e < 10; ++e)
            eps.push_back({fmt::format("10.{}.{}.{}", i / 250 + 1, i % 250, e + 1), "r", "other"});
        changes.push_back(put(slice("s" + std::to_string(i), "s" + std::to_string(i), {slice_port("p", 8080)}, eps)));
    }
    static_cast<void>(planner.apply(changes));
    OnTwin first(net::Family::kIpv4, limits);
    ASSERT_TRUE(first.reconcile(planner.plan()));
    first.twin.reset_counters();
    OnTwin same(net::Family::kIpv4, first.twin, limits);
    ASSERT_TRUE(same.reconcile(planner.plan()));
    EXPECT_EQ(same.twin.counters().commits, 0U);

    // A slot that is wrong, one that is missing, one too many within the class, and a service that is gone.
    const auto slot = [&](int service, std::uint32_t number, std::uint8_t host) {
        const KeyBytes key =
            KeyBytes().destination({false, ip(address(service)), net::Protocol::kTcp, 80}).number(number);
        const KeyBytes data = KeyBytes().endpoint({ip("10.99.9." + std::to_string(host)), 8080, false});
        Elements elements{"endpoints",
                          static_cast<std::uint16_t>(key.bytes().size()),
                          static_cast<std::uint16_t>(data.bytes().size()),
                          {}};
        elements.bytes.assign(key.bytes().begin(), key.bytes().end());
        elements.bytes.insert(elements.bytes.end(), data.bytes().begin(), data.bytes().end());
        return elements;
    };
    ASSERT_TRUE(same.twin.written_by_another({same.table,
                                              {DeleteElements{slot(5, 3, 1)}, AddElements{slot(5, 3, 1)},
                                               DeleteElements{slot(6, 0, 1)}, AddElements{slot(7, 15, 1)}}}));
    static_cast<void>(planner.apply(
        {gone(plan::testing::service("s8", address(8), {service_port("p", 80)})), gone(slice("s8", "s8", {}, {}))}));
    OnTwin next(net::Family::kIpv4, same.twin, limits);
    const auto outcome = next.reconcile(planner.plan());
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->differences, 2U + 1U + 1U + 10U + 1U + 1U);
    EXPECT_EQ(comparable(next.state()), comparable(freshly_replaced(planner.plan())));
    EXPECT_THAT(broken_pools(next.state()), IsEmpty());
}

// A chain at another place, or a table that sleeps, is put right where it is.
TEST(Restart, ChainsAtAnotherPlaceAndASleepingTable) {
    const Cluster cluster;
    const auto fresh = freshly_replaced(cluster.plan());
    struct Case {
        const char* name;
        std::vector<Operation> odd;
        const char* example;
    };
    const Case cases[] = {
        {"another priority",
         {FlushChain{"nat-output"}, kernel::nft::DeleteChain{"nat-output"},
          AddChain{"nat-output", kernel::nft::BaseChain{kernel::nft::ChainType::kNat, kernel::nft::Hook::kOutput, 7}}},
         "chain nat-output has another hook, priority or policy"},
        {"a plain chain",
         {FlushChain{"nat-output"}, kernel::nft::DeleteChain{"nat-output"}, AddChain{"nat-output", std::nullopt}},
         "chain nat-output has another hook, priority or policy"},
        {"asleep", {AddTable{1}}, "the table is asleep"},
    };
    for (const auto& c : cases) {
        OnTwin place(net::Family::kIpv4);
        ASSERT_TRUE(place.reconcile(cluster.plan()));
        ASSERT_TRUE(place.twin.written_by_another({place.table, c.odd})) << c.name;
        const auto outcome = place.reconcile(cluster.plan());
        ASSERT_TRUE(outcome) << c.name << ": " << outcome.error().message;
        EXPECT_EQ(outcome->transactions, 1U) << c.name;
        EXPECT_EQ(outcome->elements_added, 0U) << c.name;
        EXPECT_THAT(outcome->examples, Contains(HasSubstr(c.example))) << c.name;
        EXPECT_EQ(place.state(), fresh) << c.name;
    }
}

// Dumps are interrupted whenever anybody writes to any table; what they seem to show is looked up before it is
// believed.
TEST(Restart, AnInterruptedDumpIsNotBelieved) {
    Cluster cluster;
    OnTwin first(net::Family::kIpv4);
    ASSERT_TRUE(first.reconcile(cluster.plan()));
    OnTwin next(net::Family::kIpv4, first.twin);
    next.twin.interrupt_dumps(true);
    next.twin.reset_counters();
    const auto unchanged = next.reconcile(cluster.plan());
    ASSERT_TRUE(unchanged);
    EXPECT_EQ(unchanged->differences, 0U);
    EXPECT_EQ(next.twin.counters().commits, 0U);
    const Elements lost = first_elements(next, "hairpins", 9);
    ASSERT_TRUE(next.twin.written_by_another({next.table, {DeleteElements{lost}}}));
    const auto repaired = next.reconcile(cluster.plan());
    ASSERT_TRUE(repaired);
    EXPECT_EQ(repaired->differences, 9U);
    EXPECT_EQ(comparable(next.state()), comparable(freshly_replaced(cluster.plan())));
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
