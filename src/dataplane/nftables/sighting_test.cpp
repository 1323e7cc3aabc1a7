#include "dataplane/nftables/sighting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace testing;
using namespace plan::testing;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::string_view kOutside = "203.0.113.2";

// A Service with every kind of destination, one sticky, one without endpoints.
std::vector<api::Change> objects() {
    auto web = service("web", "172.30.0.41", {service_port("p", 80, net::Protocol::kTcp, 3001)});
    web.external_ips = {ip("192.0.2.7")};
    auto local = service("local", "172.30.0.42", {service_port("p", 80, net::Protocol::kTcp, 3002)});
    local.type = api::ServiceType::kLoadBalancer;
    local.external_traffic_policy = api::TrafficPolicy::kLocal;
    local.load_balancer_vips = {ip("1.2.3.4")};
    local.load_balancer_source_ranges = cidrs({"203.0.113.0/25"});
    auto sticky = service("sticky", "172.30.0.43", {service_port("p", 80)});
    sticky.affinity_seconds = 10800;
    return {put(web),
            put(local),
            put(sticky),
            put(service("empty", "172.30.0.44", {service_port("p", 80)})),
            put(slice("web", "web", {slice_port("p", 8080)}, {{"10.180.0.1"}, {"10.180.0.2"}, {"10.180.0.3"}})),
            put(slice("local", "local", {slice_port("p", 8080)}, {{"10.180.0.4", "r", "test-node"}, {"10.180.0.5"}})),
            put(slice("sticky", "sticky", {slice_port("p", 8080)}, {{"10.180.0.6"}, {"10.180.0.7"}}))};
}

struct Scene {
    Scene() : place(net::Family::kIpv4) {
        static_cast<void>(planner.apply(objects()));
        plan = planner.plan();
        static_cast<void>(place.reconcile(plan));
    }
    [[nodiscard]] Sighting seen(std::string_view to, std::uint16_t port, std::string_view from = kOutside) {
        const plan::Explainer explainer(plan, planner.profile());
        auto result = sight(place.twin, plan, explainer.explain({ip(from), ip(to), net::Protocol::kTcp, port, ""}));
        return result ? *result : Sighting{{}, {result.error().message}};
    }

    NodePlanner planner;
    plan::Plan plan;
    OnTwin place;
};

struct Flow {
    const char* to;
    std::uint16_t port;
    std::size_t found;  // lines
};
constexpr Flow kFlows[] = {Flow{"172.30.0.41", 80, 5}, Flow{"192.0.2.7", 80, 5},   Flow{"192.168.0.2", 3001, 6},
                           Flow{"1.2.3.4", 80, 9},     Flow{"172.30.0.42", 80, 5}, Flow{"192.168.0.2", 3002, 8},
                           Flow{"172.30.0.43", 80, 7}, Flow{"172.30.0.44", 80, 2}, Flow{"172.30.0.44", 81, 0},
                           Flow{"198.51.100.1", 1, 0}};

TEST(Sighting, AgreesWithWhatWasWritten) {
    Scene scene;
    for (const auto& flow : kFlows) {
        const auto seen = scene.seen(flow.to, flow.port);
        EXPECT_THAT(seen.differences, IsEmpty()) << flow.to;
        EXPECT_THAT(seen.found, SizeIs(flow.found)) << flow.to << ":\n" << ::testing::PrintToString(seen.found);
    }
}

// Each element that a packet meets, taken away, is missed, and nothing else is.
TEST(Sighting, MissesWhatIsGone) {
    Scene scene;
    std::size_t missed = 0;
    const auto sets = scene.place.state().sets;
    for (const auto& [name, set] : sets)
        for (const auto& [key, data] : set.elements) {
            Bytes bytes = key;
            bytes.insert(bytes.end(), data.begin(), data.end());
            const kernel::nft::DeleteElements gone{
                {name, static_cast<std::uint16_t>(key.size()), static_cast<std::uint16_t>(data.size()), bytes}};
            const kernel::nft::AddElements back{gone.elements};
            ASSERT_TRUE(scene.place.twin.commit({scene.place.table, {gone}}));
            std::size_t differing = 0;
            for (const auto& flow : kFlows) differing += scene.seen(flow.to, flow.port).differences.empty() ? 0U : 1U;
            EXPECT_GE(differing, 1U) << name;
            ++missed;
            ASSERT_TRUE(scene.place.twin.commit({scene.place.table, {back}}));
        }
    EXPECT_GT(missed, 30U);
}

// For who stands behind the one endpoint of each pool.
TEST(Leads, AreTheFirstEndpointOfEachPool) {
    Scene scene;
    const auto text_of = [&](std::string_view to, std::uint16_t port) {
        const plan::Explainer explainer(scene.plan, scene.planner.profile());
        const auto journey = explainer.explain({ip(kOutside), ip(to), net::Protocol::kTcp, port, ""});
        const auto found = leads(scene.place.twin, net::Family::kIpv4, &*journey.destination);
        if (!found) return found.error().message;
        std::string text = found->rules ? "" : "no rules";
        for (const auto& lead : found->leads)
            text += fmt::format("{} {};", lead.scope == plan::PoolScope::kCluster ? "cluster" : "local",
                                net::host_port(lead.address, lead.port));
        return text;
    };
    EXPECT_EQ(text_of("172.30.0.41", 80), "cluster 10.180.0.1:8080;");
    EXPECT_EQ(text_of("192.168.0.2", 3002), "cluster 10.180.0.4:8080;local 10.180.0.4:8080;");
    EXPECT_EQ(text_of("172.30.0.44", 80), "") << "nobody there";
    const auto nobodys = leads(scene.place.twin, net::Family::kIpv4, nullptr);
    ASSERT_TRUE(nobodys);
    EXPECT_TRUE(nobodys->rules);
    ASSERT_TRUE(scene.place.twin.commit({scene.place.table, {kernel::nft::DeleteTable{}}}));
    EXPECT_EQ(text_of("172.30.0.41", 80), "no rules");
}

TEST(Sighting, FindsWhatThePlanHasNot) {
    Scene scene;
    static_cast<void>(scene.planner.apply({gone(service("web", "172.30.0.41", {}))}));
    scene.plan = scene.planner.plan();  // the kernel still has it
    EXPECT_THAT(scene.seen("192.0.2.7", 80).differences, Not(IsEmpty()));
    EXPECT_THAT(::testing::PrintToString(scene.seen("172.30.0.41", 80).differences), HasSubstr("172.30.0.41:80/TCP"));
}

TEST(Sighting, SaysThatNothingIsThere) {
    Scene scene;
    ASSERT_TRUE(scene.place.twin.commit({scene.place.table, {kernel::nft::DeleteTable{}}}));
    EXPECT_THAT(scene.seen("172.30.0.41", 80).differences, ::testing::ElementsAre("there is no table ghostip"));
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
