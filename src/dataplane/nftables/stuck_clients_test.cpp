#include "dataplane/nftables/stuck_clients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using namespace testing;
using kernel::nft::MemoryKernel;
using ::testing::ElementsAre;

constexpr std::uint32_t kSeconds = 10800;
const SetRef kStuckToAddress{SetRole::kStuck, Lane::kAddress, kSeconds};

api::Service sticky(std::string name = "web", std::string_view cluster_ip = "172.30.0.41",
                    std::uint32_t seconds = kSeconds) {
    auto object = plan::testing::service(std::move(name), cluster_ip, {service_port("p", 80)});
    object.affinity_seconds = seconds;
    return object;
}
api::EndpointSlice endpoints(const std::vector<int>& numbers, const std::string& service_name = "web") {
    std::vector<Ep> eps;
    for (const int number : numbers) eps.push_back({"10.180.0." + std::to_string(number), "r", "test-node"});
    return slice(service_name, service_name, {slice_port("p", 8080)}, eps);
}

// What the rules write when a client's connection is translated.
kernel::nft::Elements remembered(int client, std::string_view cluster_ip, int endpoint) {
    const KeyBytes key = KeyBytes()
                             .address(ip("203.0.113." + std::to_string(client)))
                             .address(ip(cluster_ip))
                             .protocol(net::Protocol::kTcp)
                             .port(80);
    const KeyBytes data = KeyBytes().endpoint({ip("10.180.0." + std::to_string(endpoint)), 8080, false});
    kernel::nft::Elements elements{set_name(kStuckToAddress),
                                   static_cast<std::uint16_t>(key.bytes().size()),
                                   static_cast<std::uint16_t>(data.bytes().size()),
                                   {}};
    elements.bytes.assign(key.bytes().begin(), key.bytes().end());
    elements.bytes.insert(elements.bytes.end(), data.bytes().begin(), data.bytes().end());
    return elements;
}

struct Sticky {
    Sticky() : place(net::Family::kIpv4) {
        static_cast<void>(planner.apply({put(sticky()), put(sticky("mail", "172.30.0.42")), put(endpoints({1, 2, 3})),
                                         put(endpoints({1, 2, 3}, "mail"))}));
        EXPECT_TRUE(place.reconcile(planner.plan()));
        for (int client = 1; client <= 3; ++client) {
            remember(remembered(client, "172.30.0.41", client));
            remember(remembered(client, "172.30.0.42", client));
        }
        place.twin.reset_counters();
    }
    void remember(kernel::nft::Elements elements) {
        EXPECT_TRUE(place.twin.commit({place.table, {kernel::nft::AddElements{std::move(elements)}}}));
    }
    // `client service`: the last numbers of both addresses.
    [[nodiscard]] std::vector<std::string> stuck() const {
        std::vector<std::string> result;
        for (const auto& [key, data] : place.state().sets.at(set_name(kStuckToAddress)).elements)
            result.push_back(std::to_string(key[3]) + " " + std::to_string(key[7]));
        return result;
    }
    [[nodiscard]] Result<Outcome> apply(const api::Change& change) { return place.apply(planner.apply({change})); }

    NodePlanner planner;
    OnTwin place;
};

TEST(StuckClients, WhoIsForgotten) {
    struct Case {
        const char* name;
        api::Change change;
        std::vector<std::string> left;
    };
    auto local = sticky();
    local.internal_traffic_policy = api::TrafficPolicy::kLocal;
    const Case cases[] = {
        {"an endpoint goes", put(endpoints({1, 3})), {"1 41", "1 42", "2 42", "3 41", "3 42"}},
        {"an endpoint is replaced", put(endpoints({1, 2, 4})), {"1 41", "1 42", "2 41", "2 42", "3 42"}},
        {"all endpoints go", put(endpoints({})), {"1 42", "2 42", "3 42"}},
        {"the service goes", gone(sticky()), {"1 42", "2 42", "3 42"}},
        {"no affinity any more", put(sticky("web", "172.30.0.41", 0)), {"1 42", "2 42", "3 42"}},
        {"another time-out", put(sticky("web", "172.30.0.41", 100)), {"1 42", "2 42", "3 42"}},
        {"an endpoint comes", put(endpoints({1, 2, 3, 4})), {"1 41", "1 42", "2 41", "2 42", "3 41", "3 42"}},
        {"the same endpoints by another policy", put(local), {"1 41", "1 42", "2 41", "2 42", "3 41", "3 42"}},
    };
    for (const auto& c : cases) {
        Sticky world;
        ASSERT_TRUE(world.apply(c.change)) << c.name;
        EXPECT_EQ(world.stuck(), c.left) << c.name;
    }
}

TEST(StuckClients, NoDumpWhereNobodyCanBeStuck) {
    Sticky world;
    ASSERT_TRUE(world.apply(put(endpoints({1, 2, 3, 4}))));
    EXPECT_EQ(world.place.twin.counters().calls, 1U) << "the commit alone";
    ASSERT_TRUE(world.apply(put(plan::testing::service("plain", "172.30.0.43", {service_port("p", 80)}))));
    ASSERT_TRUE(world.apply(put(endpoints({1}, "plain"))));
    ASSERT_TRUE(world.apply(put(endpoints({2}, "plain"))));
    EXPECT_EQ(world.place.twin.counters().calls, 5U) << "one more for the first pool of its size";
}

// Entries expire while they are being deleted.
TEST(StuckClients, TriesAgainWhenAnEntryExpiredMeanwhile) {
    Sticky world;
    world.place.twin.fail_call(4, ENOENT);  // structure, commit, dump, delete
    ASSERT_TRUE(world.apply(put(endpoints({1, 3}))));
    EXPECT_THAT(world.stuck(), ElementsAre("1 41", "1 42", "2 42", "3 41", "3 42"));
    EXPECT_EQ(world.place.twin.counters().calls, 6U);
}

TEST(StuckClients, GivesUpInTheEnd) {
    Sticky world;
    for (std::uint64_t attempt = 0; attempt < 5; ++attempt) world.place.twin.fail_call(4 + 2 * attempt, ENOENT);
    EXPECT_EQ(world.apply(put(endpoints({1, 3}))).error().code, ENOENT);
    EXPECT_EQ(world.place.twin.counters().calls, 12U);
    EXPECT_EQ(comparable(world.place.state()).at("endpoints"),
              comparable(freshly_replaced(world.planner.plan())).at("endpoints"))
        << "the change itself is done";
    ASSERT_TRUE(world.place.reconcile(world.planner.plan()));
    EXPECT_THAT(world.stuck(), ElementsAre("1 41", "1 42", "2 42", "3 41", "3 42")) << "who is at a member stays";
}

// A restart keeps whom the plan still allows, and nobody else.
TEST(StuckClients, ReconcileKeepsThoseWhoMayStay) {
    Sticky world;
    world.remember(remembered(9, "172.30.0.99", 1));  // a service that nobody knows
    static_cast<void>(world.planner.apply({put(endpoints({1, 3}))}));
    ASSERT_TRUE(world.place.reconcile(world.planner.plan()));
    EXPECT_THAT(world.stuck(), ElementsAre("1 41", "1 42", "2 42", "3 41", "3 42"));
    static_cast<void>(world.planner.apply({put(sticky("web", "172.30.0.41", 0)), gone(sticky("mail", "172.30.0.42"))}));
    ASSERT_TRUE(world.place.reconcile(world.planner.plan()));
    EXPECT_THAT(world.stuck(), ElementsAre());
    world.place.twin.fail_call(1, EPERM);
    static_cast<void>(world.planner.apply({put(sticky())}));
    EXPECT_EQ(world.place.reconcile(world.planner.plan()).error().code, EPERM);
}

// Work that waits is one work, and knows at its time who may stay.
TEST(StuckClients, WaitingWorkIsOneAndKnowsTheLatest) {
    Sticky world;
    const auto first = world.place.dataplane.apply(world.planner.apply({put(endpoints({1, 3}))}));
    ASSERT_TRUE(first);
    ASSERT_EQ(first->later.size(), 1U);
    const auto second = world.place.dataplane.apply(world.planner.apply({put(endpoints({1, 4}))}));
    ASSERT_TRUE(second);
    EXPECT_EQ(second->later.size(), 0U) << "the one that waits will do it";
    const auto third = world.place.dataplane.apply(world.planner.apply({put(endpoints({1, 4, 5}))}));
    ASSERT_TRUE(third);
    EXPECT_EQ(third->later.size(), 0U);
    world.remember(remembered(4, "172.30.0.41", 4));
    world.remember(remembered(5, "172.30.0.41", 5));
    ASSERT_TRUE(first->later[0]());
    EXPECT_THAT(world.stuck(), ElementsAre("1 41", "1 42", "2 42", "3 42", "4 41", "5 41"));
    const auto fourth = world.place.dataplane.apply(world.planner.apply({put(endpoints({1}))}));
    ASSERT_TRUE(fourth);
    EXPECT_EQ(fourth->later.size(), 1U);
}

TEST(StuckClients, OtherErrorsAreHandedOn) {
    for (const std::uint64_t call : {3U, 4U}) {
        Sticky world;
        world.place.twin.fail_call(call, EPERM);
        EXPECT_EQ(world.apply(put(endpoints({1, 3}))).error().code, EPERM);
        EXPECT_EQ(world.place.twin.counters().calls, call) << "no second try";
    }
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
