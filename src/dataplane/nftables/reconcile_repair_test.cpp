// Repairing on the twin of the kernel what others did: where is looked, and what is put back.
#include "dataplane/nftables/reconcile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/cleanup.h"
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
using kernel::nft::DeleteTable;
using kernel::nft::Elements;
using kernel::nft::FlushChain;
using kernel::nft::Operation;
using ::testing::Contains;
using ::testing::HasSubstr;

TEST(Repair, WhateverSomebodyDoesIsPutBack) {
    const Cluster cluster;
    OnTwin model(net::Family::kIpv4);
    ASSERT_TRUE(model.reconcile(cluster.plan()));
    const auto wanted = model.state();
    Elements wrong = first_elements(model, "endpoints", 1);
    wrong.bytes[wrong.key_bytes + 3] = 99;  // another endpoint
    Elements foreign_slot = first_elements(model, "endpoints", 1);
    foreign_slot.bytes[12] = 77;  // slot
    kernel::nft::RuleBuilder builder(net::Family::kIpv4);
    const auto drop = std::move(builder).drop();
    struct Case {
        const char* name;
        std::vector<Operation> operations;
        const char* example;
    };
    const Case cases[] = {
        {"an endpoint deleted", {DeleteElements{first_elements(model, "endpoints", 1)}}, "endpoints lacks 172.30.0."},
        {"an endpoint changed", {DeleteElements{wrong}, AddElements{wrong}}, "endpoints has 172.30.0."},
        {"an endpoint added", {AddElements{foreign_slot}}, "endpoints has 172.30.0."},
        {"many deleted", {DeleteElements{first_elements(model, "hairpins", 40)}}, "hairpins lacks 10.180."},
        {"an address deleted", {DeleteElements{first_elements(model, "cluster-ips", 1)}}, "cluster-ips lacks"},
        {"rules flushed", {FlushChain{"pick"}}, "chain pick has other rules"},
        {"a rule added", {AddRule{"services", drop}}, "chain services has other rules"},
        {"a chain added", {AddChain{"mine", std::nullopt}}, "chain mine is not ours"},
        {"a set added", {AddSet{{.name = "mine", .key = {kernel::nft::Field::kPort}}}}, "set mine is not ours"},
        {"a base chain deleted",
         {FlushChain{"nat-output"}, kernel::nft::DeleteChain{"nat-output"}},
         "chain nat-output is missing"},
        {"the table deleted", {DeleteTable{}}, nullptr},
        {"the table made anew, empty", {DeleteTable{}, AddTable{}}, "is missing"},
        {"nothing in fact",
         {DeleteElements{first_elements(model, "endpoints", 1)}, AddElements{first_elements(model, "endpoints", 1)}},
         nullptr},
    };
    for (const auto& c : cases) {
        OnTwin place(net::Family::kIpv4, Limits{40});
        ASSERT_TRUE(place.reconcile(cluster.plan()));
        const kernel::nft::Batch batch{place.table, c.operations};
        ASSERT_TRUE(place.twin.written_by_another(batch)) << c.name;
        const std::vector<ForeignWrite> writes{told(batch)};
        const auto outcome = place.dataplane.repair(cluster.plan(), writes);
        ASSERT_TRUE(outcome) << c.name << ": " << outcome.error().message;
        EXPECT_EQ(place.state(), wanted) << c.name;
        if (c.example != nullptr) {
            EXPECT_THAT(outcome->examples, Contains(HasSubstr(c.example))) << c.name;
        }
        // And nothing is left to be done by who looks at everything.
        const auto again = place.reconcile(cluster.plan());
        ASSERT_TRUE(again);
        EXPECT_EQ(again->differences, 0U) << c.name;
        EXPECT_EQ(again->transactions, 0U) << c.name;
    }
}

TEST(Repair, LooksOnlyWhereSomebodyWrote) {
    const Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    const kernel::nft::Batch batch{place.table, {DeleteElements{first_elements(place, "endpoints", 3)}}};
    ASSERT_TRUE(place.twin.written_by_another(batch));
    place.twin.reset_counters();
    const std::vector<ForeignWrite> writes{told(batch)};
    const auto outcome = place.dataplane.repair(cluster.plan(), writes);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->differences, 3U);
    EXPECT_EQ(outcome->elements_added, 3U);
    EXPECT_EQ(place.twin.counters().calls, 2U) << "one look, one commit";
}

// A sight that is old when it arrives: what we changed meanwhile is no difference, what somebody else did is.
TEST(Check, BelievesNothingThatChangedSince) {
    Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    const kernel::nft::Batch foreign{place.table, {DeleteElements{first_elements(place, "hairpins", 2)}}};
    ASSERT_TRUE(place.twin.written_by_another(foreign));
    const auto sight = place.dataplane.look(cluster.plan())();
    ASSERT_TRUE(sight);
    ASSERT_TRUE(place.apply(cluster.planner.apply({put(endpoints(20, {3, 4, 5, 6, 7, 8}))})));
    ASSERT_TRUE(place.apply(cluster.planner.apply({put(endpoints(21, {3, 1}))})));
    const auto outcome = place.dataplane.check(cluster.plan(), *sight);
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_EQ(outcome->differences, 2U);
    EXPECT_THAT(outcome->examples, Contains(HasSubstr("hairpins lacks")));
    EXPECT_EQ(outcome->elements_deleted, 0U);
    EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())));
    const auto again = place.dataplane.check(cluster.plan(), *place.dataplane.look(cluster.plan())());
    ASSERT_TRUE(again);
    EXPECT_EQ(again->differences, 0U);
    EXPECT_EQ(again->transactions, 0U);
}

TEST(Check, NoticesAMissingTable) {
    const Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    ASSERT_TRUE(cleanup(place.twin));
    ASSERT_TRUE(place.dataplane.check(cluster.plan(), *place.dataplane.look(cluster.plan())()));
    EXPECT_EQ(place.state(), freshly_replaced(cluster.plan()));
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
