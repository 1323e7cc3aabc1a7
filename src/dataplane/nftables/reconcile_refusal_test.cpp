// What the kernel refuses, or fails to do, on its twin: who is set aside, what stays, and that all converges.
#include "dataplane/nftables/reconcile.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/reconcile_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using namespace testing;
using kernel::nft::DeleteElements;
using kernel::nft::FlushChain;
using kernel::nft::MemoryKernel;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Refusal, OneObjectIsSetAsideAndAllOthersLand) {
    for (const auto says :
         {MemoryKernel::Says::kNothing, MemoryKernel::Says::kOperation, MemoryKernel::Says::kElement}) {
        for (const std::size_t at_once : {40U, 4096U}) {
            Cluster cluster;
            OnTwin place(net::Family::kIpv4, Limits{at_once});
            place.twin.says(says);
            place.twin.refuse(bytes_of(destination(9)), EINVAL);
            place.twin.refuse(bytes_of(destination(21, 81)), ERANGE);
            const auto outcome = place.reconcile(cluster.plan());
            ASSERT_TRUE(outcome) << outcome.error().message;
            ASSERT_THAT(outcome->set_aside, SizeIs(2));
            const auto aside = place.dataplane.set_aside();
            ASSERT_THAT(aside, SizeIs(2));
            EXPECT_THAT(aside[0].object, HasSubstr("s21:q"));
            EXPECT_THAT(aside[1].object, HasSubstr("s9:p"));
            EXPECT_THAT(aside[1].reason, HasSubstr("Invalid argument"));
            EXPECT_EQ(place.state().sets.at("upto-4").elements.size(), 2U * kServices - 2U);
            EXPECT_EQ(place.state().sets.at("cluster-ips").elements.size(), std::size_t{kServices});

            // Others go on, and it is tried again whenever it changes.
            ASSERT_TRUE(place.apply(cluster.planner.apply({put(endpoints(8, {1}))})));
            const auto still = place.apply(cluster.planner.apply({put(endpoints(9, {1, 2}))}));
            ASSERT_TRUE(still);
            ASSERT_THAT(still->set_aside, SizeIs(1));
            EXPECT_THAT(place.dataplane.set_aside(), SizeIs(2));
            place.twin.refuse_nothing();
            ASSERT_TRUE(place.apply(cluster.planner.apply({put(endpoints(9, {1, 2, 3, 4}))})));
            EXPECT_THAT(place.dataplane.set_aside(), SizeIs(1));
            ASSERT_TRUE(place.reconcile(cluster.plan()));
            EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
            EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())));
        }
    }
}

// What was there before stays as it was, whole.
TEST(Refusal, ARefusedChangeLeavesTheOldState) {
    Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    const auto before = place.state();
    place.twin.refuse(bytes_of(destination(9)), EINVAL);
    auto delta = cluster.planner.apply({put(endpoints(9, {7, 8, 9})), put(endpoints(10, {7, 8, 9}))});
    delta.hairpins_added.clear();  // theirs are not refused; leave them out to compare
    delta.hairpins_removed.clear();
    const auto outcome = place.apply(delta);
    ASSERT_TRUE(outcome);
    ASSERT_THAT(outcome->set_aside, SizeIs(1));
    const auto& now = place.state().sets.at("endpoints").elements;
    for (const auto& [key, data] : before.sets.at("endpoints").elements) {
        if (key[3] == 9 && key[9] == 80) {
            EXPECT_EQ(now.at(key), data);
        }
    }
    place.twin.refuse_nothing();
    auto healed = cluster.planner.apply({put(endpoints(9, {7, 8}))});
    healed.hairpins_added.clear();
    healed.hairpins_removed.clear();
    ASSERT_TRUE(place.apply(healed));
    EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
    EXPECT_THAT(broken_pools(place.state()), IsEmpty());
    EXPECT_EQ(comparable(place.state()).at("endpoints"), comparable(freshly_replaced(cluster.plan())).at("endpoints"));
}

// No memory, buffers, interrupted, busy: said so at once, nothing is looked for by halves, nothing is set aside.
TEST(Refusal, TroubleOfTheMachineIsNobodysFault) {
    for (const int code : {ENOMEM, ENOBUFS, EINTR, EBUSY, EAGAIN, EPERM}) {
        Cluster cluster;
        OnTwin place(net::Family::kIpv4);
        ASSERT_TRUE(place.reconcile(cluster.plan()));
        place.twin.reset_counters();
        place.twin.fail_call(1, code);
        const auto result = place.apply(cluster.planner.apply({put(endpoints(9, {7})), put(endpoints(4, {7}))}));
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, code);
        EXPECT_EQ(place.twin.counters().calls, 1U);
        EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
        ASSERT_TRUE(place.reconcile(cluster.plan()));
        EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())));
    }
}

// Looking at everything does not take a refused change for landed.
TEST(Refusal, ACheckTriesAgain) {
    Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    ASSERT_TRUE(place.apply(cluster.planner.apply({put(endpoints(9, {2, 3, 4}))})));  // an order of its own
    place.twin.refuse(bytes_of(destination(9)), EINVAL);
    place.twin.refuse(bytes_of(destination(9, 81)), EINVAL);
    const auto refused = place.apply(cluster.planner.apply({put(endpoints(9, {3, 4, 5}))}));
    ASSERT_TRUE(refused);
    EXPECT_THAT(place.dataplane.set_aside(), SizeIs(2));
    place.twin.refuse_nothing();
    const auto outcome = place.dataplane.check(cluster.plan(), *place.dataplane.look(cluster.plan())());
    ASSERT_TRUE(outcome);
    EXPECT_GT(outcome->differences, 0U);
    EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
    EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())));
    // And what is believed is what is there: back to the pool of before is a change.
    const auto next = place.apply(cluster.planner.apply({put(endpoints(9, {2, 3, 4}))}));
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())));
}

// What is no service port's own is named as well, at a change and at a start, and lands when it can.
TEST(Refusal, ClusterIpsAndHairpinsAreNamedToo) {
    Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    const auto address = ip(cluster_ip(12));
    place.twin.refuse({address.bytes().begin(), address.bytes().end()}, EINVAL);
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    ASSERT_THAT(place.dataplane.set_aside(), SizeIs(3)) << "its address, and both ports that begin with it";
    EXPECT_EQ(place.dataplane.set_aside()[0].object, "cluster-ips 172.30.0.12");
    OnTwin again(net::Family::kIpv4, place.twin);
    ASSERT_TRUE(again.reconcile(cluster.plan()));
    EXPECT_THAT(again.dataplane.set_aside(), SizeIs(3));
    again.twin.refuse_nothing();
    ASSERT_TRUE(again.dataplane.check(cluster.plan(), *again.dataplane.look(cluster.plan())()));
    EXPECT_THAT(again.dataplane.set_aside(), IsEmpty());
    EXPECT_EQ(comparable(again.state()), comparable(freshly_replaced(cluster.plan())));
}

// A socket whose buffer cannot grow: the same in smaller batches.
TEST(Refusal, WhatIsTooLargeGoesInHalves) {
    const Cluster cluster;
    OnTwin place(net::Family::kIpv4);
    place.twin.fail_call(3, EMSGSIZE);
    const auto outcome = place.reconcile(cluster.plan());
    ASSERT_FALSE(outcome) << "the structure alone is too large: no way";
    place.twin.fail_no_more();
    OnTwin other(net::Family::kIpv4);
    other.twin.fail_call(4, EMSGSIZE);  // all pieces and what comes last
    other.twin.fail_call(5, EMSGSIZE);  // all pieces
    const auto halved = other.reconcile(cluster.plan());
    ASSERT_TRUE(halved) << halved.error().message;
    EXPECT_THAT(halved->set_aside, IsEmpty());
    EXPECT_EQ(other.state(), freshly_replaced(cluster.plan()));
}

// A destination that passes from one Service to another does so in one step.
TEST(Handover, IsOneTransaction) {
    Cluster cluster;
    OnTwin place(net::Family::kIpv4, Limits{1});
    ASSERT_TRUE(place.reconcile(cluster.plan()));
    auto taker = numbered(2, cluster_ip(2));
    auto giver = numbered(1, cluster_ip(1));
    giver.external_ips = {ip("198.51.100.1")};
    ASSERT_TRUE(place.apply(cluster.planner.apply({put(giver)})));
    giver.external_ips.clear();
    taker.external_ips = {ip("198.51.100.1")};
    const auto key = bytes_of({false, ip("198.51.100.1"), net::Protocol::kTcp, 80});
    const plan::Delta delta = cluster.planner.apply({put(giver), put(taker)});
    for (std::uint64_t stop_at = 1;; ++stop_at) {
        OnTwin copy(net::Family::kIpv4, place.twin, Limits{1});
        Cluster before;
        auto first_giver = numbered(1, cluster_ip(1));
        first_giver.external_ips = {ip("198.51.100.1")};
        static_cast<void>(before.planner.apply({put(first_giver)}));
        ASSERT_TRUE(copy.reconcile(before.plan()));
        copy.twin.fail_call(stop_at, ENOMEM);
        const auto result = copy.apply(delta);
        EXPECT_TRUE(copy.state().sets.at("upto-4").elements.contains(key)) << "served at every moment";
        EXPECT_THAT(broken_pools(copy.state()), IsEmpty());
        if (result) break;
        ASSERT_LT(stop_at, 20U);
    }
}

// A life in which every call of the kernel is made to fail once in turn, in every way that calls fail: the next sync
// always converges.
TEST(Faults, EveryCallFailsOnceInTurn) {
    const auto live = [](OnTwin& place, int code, std::uint64_t failing) {
        Cluster cluster;
        if (failing != 0) place.twin.fail_call(failing, code);
        const auto or_reconcile = [&](const Result<Outcome>& result) {
            if (!result) return place.reconcile(cluster.plan()).has_value();
            return true;
        };
        bool well = or_reconcile(place.reconcile(cluster.plan()));
        well = or_reconcile(place.apply(cluster.planner.apply({put(endpoints(3, {4, 5})), gone(endpoints(4, {}))}))) &&
               well;
        const kernel::nft::Batch foreign{place.table,
                                         {DeleteElements{first_elements(place, "endpoints", 2)}, FlushChain{"pick"}}};
        static_cast<void>(place.twin.written_by_another(foreign));
        const std::vector<ForeignWrite> writes{told(foreign)};
        well = or_reconcile(place.dataplane.repair(cluster.plan(), writes)) && well;
        well = or_reconcile(place.apply(cluster.planner.apply({gone(numbered(6, cluster_ip(6)))}))) && well;
        well = or_reconcile(place.reconcile(cluster.plan())) && well;
        EXPECT_TRUE(well) << "call " << failing << ", code " << code;
        EXPECT_THAT(place.dataplane.set_aside(), IsEmpty()) << "call " << failing << ", code " << code;
        EXPECT_EQ(comparable(place.state()), comparable(freshly_replaced(cluster.plan())))
            << "call " << failing << ", code " << code;
    };
    OnTwin undisturbed(net::Family::kIpv4, Limits{40});
    live(undisturbed, 0, 0);
    const auto calls = undisturbed.twin.counters().calls;
    ASSERT_GT(calls, 20U);
    for (const int code : {ENOBUFS, ENOMEM, EINTR, EBUSY, ENOENT, EEXIST, EINVAL, ENFILE})
        for (std::uint64_t failing = 1; failing <= calls; ++failing) {
            OnTwin place(net::Family::kIpv4, Limits{40});
            live(place, code, failing);
            if (HasFailure()) return;
        }
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
