// Starting, restarting and repairing on the twin of the kernel: what is written, in which order, and what is not.
#include "dataplane/nftables/reconcile.h"

#include <algorithm>
#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/cleanup.h"
#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/drift.h"
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
using kernel::nft::MemoryKernel;
using kernel::nft::Operation;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kServices = 30;

std::string cluster_ip(int number) { return "172.30.0." + std::to_string(number); }

api::Service numbered(int number, std::string_view address) {
    return plan::testing::service("s" + std::to_string(number), address,
                                  {service_port("p", 80, net::Protocol::kTcp), service_port("q", 81)});
}
api::EndpointSlice endpoints(int number, const std::vector<int>& hosts) {
    std::vector<Ep> eps;
    for (const int host : hosts)
        eps.push_back({"10.180." + std::to_string(number) + "." + std::to_string(host), "r", "test-node"});
    return slice("s" + std::to_string(number), "s" + std::to_string(number),
                 {slice_port("p", 8080), slice_port("q", 8081)}, eps);
}

// A cluster of some services, planned.
struct Cluster {
    Cluster() {
        std::vector<api::Change> changes{put(api::ServiceCidr{"c", plan::testing::cidrs({"172.30.0.0/16"})})};
        for (int i = 1; i <= kServices; ++i) {
            changes.push_back(put(numbered(i, cluster_ip(i))));
            changes.push_back(put(endpoints(i, {1, 2, 3})));
        }
        static_cast<void>(planner.apply(changes));
    }
    [[nodiscard]] plan::Plan plan() const { return planner.plan(); }
    NodePlanner planner;
};

std::vector<std::uint8_t> bytes_of(const plan::DestinationKey& key) {
    const KeyBytes bytes = KeyBytes().destination(key);
    return {bytes.bytes().begin(), bytes.bytes().end()};
}
plan::DestinationKey destination(int number, std::uint16_t port = 80) {
    return {false, ip(cluster_ip(number)), net::Protocol::kTcp, port};
}

Elements first_elements(const OnTwin& place, const std::string& set, std::size_t count) {
    const auto& state = place.state().sets.at(set);
    Elements elements{set, 0, 0, {}};
    for (const auto& [key, data] : state.elements) {
        if (count-- == 0) break;
        elements.key_bytes = static_cast<std::uint16_t>(key.size());
        elements.data_bytes = static_cast<std::uint16_t>(data.size());
        elements.bytes.insert(elements.bytes.end(), key.begin(), key.end());
        elements.bytes.insert(elements.bytes.end(), data.begin(), data.end());
    }
    return elements;
}

// What the kernel would tell of a foreign batch.
ForeignWrite told(const kernel::nft::Batch& batch) {
    kernel::nft::ForeignWrite write;
    write.family = batch.table.family;
    for (const auto& operation : batch.operations) {
        const auto* add = std::get_if<AddElements>(&operation);
        const auto* remove = std::get_if<DeleteElements>(&operation);
        write.table = write.table || std::holds_alternative<DeleteTable>(operation);
        write.structure = write.structure || (add == nullptr && remove == nullptr);
        const Elements* elements = add != nullptr ? &add->elements : remove != nullptr ? &remove->elements : nullptr;
        for (std::size_t i = 0; elements != nullptr && i < elements->count(); ++i) {
            const auto key = elements->at(i).first(elements->key_bytes);
            write.elements.push_back(
                {elements->set,
                 {key.begin(), key.end()},
                 add != nullptr ? kernel::nft::Touched::How::kAdded : kernel::nft::Touched::How::kDeleted});
        }
    }
    ForeignWrite out;
    out.family = write.family;
    out.where = std::make_shared<const kernel::nft::ForeignWrite>(std::move(write));
    return out;
}

// --- starting -------------------------------------------------------------------------------------------------------

// Whoever looks between two transactions of a start sees services that are whole, or not there; never one whose address
// leads to a pool that is not there yet, and no dropping of addresses before all are known.
TEST(Start, HalfDoneIsNeverWrong) {
    const Cluster cluster;
    for (const std::size_t at_once : {1U, 7U, 40U, 4096U}) {
        std::uint64_t transactions = 0;
        for (std::uint64_t stop_at = 1;; ++stop_at) {
            OnTwin place(net::Family::kIpv4, Limits{at_once});
            place.twin.fail_call(1 + stop_at, ENOMEM);  // the first call looks what is there
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
        dying.twin.fail_call(1 + stop_at, ENOMEM);
        static_cast<void>(dying.reconcile(cluster.plan()));
        OnTwin next(net::Family::kIpv4, dying.twin, Limits{40});
        next.twin.fail_no_more();
        ASSERT_TRUE(next.reconcile(cluster.plan()));
        EXPECT_EQ(comparable(next.state()), comparable(freshly_replaced(cluster.plan())));
        EXPECT_EQ(next.state().chains, freshly_replaced(cluster.plan()).chains);
    }
}

// --- restarting -----------------------------------------------------------------------------------------------------

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
        EXPECT_EQ(outcome->transactions, 1U) << c.name;
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

// --- repairing ------------------------------------------------------------------------------------------------------

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

// --- refusals -------------------------------------------------------------------------------------------------------

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
    place.twin.fail_call(2, EMSGSIZE);
    const auto outcome = place.reconcile(cluster.plan());
    ASSERT_FALSE(outcome) << "the structure alone is too large: no way";
    place.twin.fail_no_more();
    OnTwin other(net::Family::kIpv4);
    other.twin.fail_call(3, EMSGSIZE);  // all pieces and what comes last
    other.twin.fail_call(4, EMSGSIZE);  // all pieces
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

// --- faults ---------------------------------------------------------------------------------------------------------

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
