#include "agent/health.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/json_text.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using net::Family;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kStart = std::chrono::system_clock::time_point(1'767'225'600s);  // 2026-01-01T00:00:00Z

// Time goes on where the test says so.
struct Scene {
    explicit Scene(NodeObject node_object = NodeObject::kExpected)
        : health({5s, node_object}, [this] {
              return Moment{std::chrono::steady_clock::time_point(1h) + passed, kStart + passed};
          }) {}
    void after(std::chrono::nanoseconds time) { passed += time; }
    [[nodiscard]] unsigned healthz() const { return health.healthz().status; }
    [[nodiscard]] unsigned livez() const { return health.livez().status; }

    std::chrono::nanoseconds passed{0};
    Health health;
};

TEST(Health, TimesAsGoPrintsThem) {
    EXPECT_EQ(rfc3339(kStart), "2026-01-01T00:00:00Z");
    EXPECT_EQ(rfc3339(kStart + 500ms), "2026-01-01T00:00:00.5Z");
    EXPECT_EQ(rfc3339(kStart + 1ns), "2026-01-01T00:00:00.000000001Z");
    EXPECT_EQ(rfc3339(kStart + 10s + 120'300us), "2026-01-01T00:00:10.1203Z");
    EXPECT_EQ(rfc3339(kStart + 100s), "2026-01-01T00:01:40Z") << "zeros of the seconds stay";
    EXPECT_EQ(json_string("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
}

TEST(Health, BodiesByteForByte) {
    Scene scene;
    EXPECT_EQ(scene.health.livez().body,
              R"({"lastUpdated":"2026-01-01T00:00:00Z","currentTime":"2026-01-01T00:00:00Z","healthy":true})")
        << "no family is known yet";
    EXPECT_EQ(scene.healthz(), 503U) << "the Node was not seen yet";
    EXPECT_EQ(
        scene.health.healthz().body,
        R"({"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2026-01-01T00:00:00Z","nodeEligible":false,"healthy":true})");
    scene.health.set_node(NodeState::kEligible);
    scene.health.updated(Family::kIpv6);
    scene.after(1500ms);
    scene.health.updated(Family::kIpv4);
    scene.after(1s);
    const auto page = scene.health.healthz();
    EXPECT_EQ(page.status, 200U);
    EXPECT_EQ(page.body, R"({"lastUpdated":"2026-01-01T00:00:02.5Z","currentTime":"2026-01-01T00:00:02.5Z",)"
                         R"("nodeEligible":true,"healthy":true,"status":{)"
                         R"("IPv4":{"lastUpdated":"2026-01-01T00:00:01.5Z","healthy":true},)"
                         R"("IPv6":{"lastUpdated":"2026-01-01T00:00:00Z","healthy":true}}})");
    EXPECT_THAT(page.headers, ::testing::ElementsAre(::testing::Pair("Content-Type", "application/json"),
                                                     ::testing::Pair("X-Content-Type-Options", "nosniff")));
    scene.health.queued(Family::kIpv6);
    scene.after(10s);
    const auto late = scene.health.livez();
    EXPECT_EQ(late.status, 503U);
    EXPECT_EQ(late.body,
              R"({"lastUpdated":"2026-01-01T00:00:01.5Z","currentTime":"2026-01-01T00:00:12.5Z","healthy":false,)"
              R"("status":{"IPv4":{"lastUpdated":"2026-01-01T00:00:01.5Z","healthy":true},)"
              R"("IPv6":{"lastUpdated":"2026-01-01T00:00:00Z","healthy":false}}})");
}

// The cases 85 to 88 of the specification, step by step. The limit is 10 s.
TEST(Health, OverTime) {
    struct Step {
        const char* what;
        std::chrono::nanoseconds wait;
        std::vector<Family> queued;
        std::vector<Family> updated;
        std::optional<NodeState> node;
        unsigned healthz;
        unsigned livez;
    };
    const std::vector<Step> steps{
        {"nothing registered, no Node", 0s, {}, {}, {}, 503, 200},
        {"Node seen", 0s, {}, {}, NodeState::kEligible, 200, 200},
        {"both updated", 0s, {}, {Family::kIpv4, Family::kIpv6}, {}, 200, 200},
        {"quiet for long", 25s, {}, {}, {}, 200, 200},
        {"IPv4 queued", 0s, {Family::kIpv4}, {}, {}, 200, 200},
        {"nearly late", 10s - 1ns, {}, {}, {}, 200, 200},
        {"late", 1ns, {}, {}, {}, 503, 503},
        {"later changes do not excuse it", 0s, {Family::kIpv4}, {}, {}, 503, 503},
        {"nor does the other family", 0s, {}, {Family::kIpv6}, {}, 503, 503},
        {"updated", 0s, {}, {Family::kIpv4}, {}, 200, 200},
        {"both queued", 0s, {Family::kIpv4, Family::kIpv6}, {}, {}, 200, 200},
        {"both late, one updated", 25s, {}, {Family::kIpv4}, {}, 503, 503},
        {"the same again", 1s, {}, {Family::kIpv4}, {}, 503, 503},
        {"the other one", 0s, {}, {Family::kIpv6}, {}, 200, 200},
        {"queued, then again", 0s, {Family::kIpv4}, {}, {}, 200, 200},
        {"the oldest counts", 9s, {Family::kIpv4}, {}, {}, 200, 200},
        {"and is late", 1s, {}, {}, {}, 503, 503},
        {"well again", 0s, {}, {Family::kIpv4}, {}, 200, 200},
        {"the node is leaving", 0s, {}, {}, NodeState::kLeaving, 503, 200},
        {"it stays after all", 0s, {}, {}, NodeState::kEligible, 200, 200},
        {"the Node is gone", 0s, {}, {}, NodeState::kUnknown, 503, 200},
    };
    Scene scene;
    for (const auto& step : steps) {
        scene.after(step.wait);
        for (const auto family : step.queued) scene.health.queued(family);
        for (const auto family : step.updated) scene.health.updated(family);
        if (step.node) scene.health.set_node(*step.node);
        EXPECT_EQ(scene.healthz(), step.healthz) << step.what;
        EXPECT_EQ(scene.livez(), step.livez) << step.what;
        EXPECT_EQ(scene.health.healthy(), step.livez == 200) << step.what;
        EXPECT_THAT(scene.health.livez().body, Not(HasSubstr("nodeEligible"))) << step.what;
    }
}

TEST(Health, ManifestsMayLackTheNode) {
    Scene scene(NodeObject::kOptional);
    EXPECT_EQ(scene.healthz(), 200U);
    scene.health.set_node(NodeState::kLeaving);
    EXPECT_EQ(scene.healthz(), 503U);
    scene.health.set_node(NodeState::kUnknown);
    EXPECT_EQ(scene.healthz(), 200U);
}

TEST(Health, ReadyOnceTheFirstSyncIsDone) {
    Scene scene;
    EXPECT_EQ(scene.health.readyz().status, 503U);
    scene.health.updated(Family::kIpv4);
    EXPECT_EQ(scene.health.readyz().status, 503U) << "a loop that starts has not synced";
    scene.health.synced();
    EXPECT_EQ(scene.health.readyz().status, 200U);
    scene.health.queued(Family::kIpv4);
    scene.after(1h);
    EXPECT_EQ(scene.health.readyz().status, 200U) << "ready once is ready";
}

}  // namespace
}  // namespace ghostip::agent
