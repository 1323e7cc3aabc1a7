// On loopback, on ports that the kernel has just called free.
#include "agent/health_check_ports.h"

#include <atomic>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/client_testing.h"
#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using namespace plan::testing;
using http::testing::ask;
using http::testing::Client;
using net::Family;
using plan::Delta;
using plan::HealthCheck;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Time = HealthCheckPorts::Time;

constexpr Time kStart = Time{} + 1h;

Listener any_port() { return std::move(listen_tcp("127.0.0.1", 0, Accepts::kOwnFamily)).value(); }

// A port that was free a moment ago.
std::uint16_t free_port() { return any_port().port; }

plan::ServiceName name(const char* text) { return {"ns", text}; }

Delta change(const char* service, std::optional<HealthCheck> after) {
    Delta delta;
    delta.health_checks.push_back({name(service), std::nullopt, after});
    return delta;
}

Delta at_addresses(const std::vector<std::string_view>& addresses) {
    Delta delta;
    delta.node_rules.emplace();
    delta.node_rules->after.node_ports.addresses = ips(addresses);
    return delta;
}

struct Scene {
    Scene() { ports.take(Family::kIpv4, at_addresses({"127.0.0.1"})); }
    void settled(const Delta& delta, Time now = kStart) {
        ports.take(Family::kIpv4, delta);
        ports.settle(Family::kIpv4, now);
    }

    std::atomic<std::chrono::seconds> passed{0s};
    Health health{{30s, NodeObject::kOptional}, [this] {
                      return Moment{std::chrono::steady_clock::time_point(passed.load()), {}};
                  }};
    std::vector<std::string> failures;
    HealthCheckPorts ports{health, [this](const plan::ServiceName& service, std::uint16_t port, const Error& error) {
                               failures.push_back(service.text() + " " + std::to_string(port) + ": " + error.message);
                           }};
};

TEST(HealthCheckPorts, AnswersByteForByte) {
    Scene scene;
    const auto port = free_port();
    scene.settled(change("web", HealthCheck{port, 2}));
    const auto answer = ask(port, "GET /any/path?whatever");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body,
              "{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"web\"\n\t},\n"
              "\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}");
    EXPECT_THAT(answer.head, HasSubstr("Content-Type: application/json\r\n"));
    EXPECT_THAT(answer.head, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
    EXPECT_THAT(answer.head, HasSubstr("X-Load-Balancing-Endpoint-Weight: 2\r\n"));
    EXPECT_EQ(ask(port, "POST /").status, 200) << "any method";
}

TEST(HealthCheckPorts, CountsAndTheProxysHealthDecide) {
    Scene scene;
    const auto port = free_port();
    scene.settled(change("web", HealthCheck{port, 0}));
    EXPECT_EQ(ask(port, "GET /").status, 503) << "nobody here";
    scene.settled(change("web", HealthCheck{port, 18}));
    EXPECT_EQ(ask(port, "GET /").status, 200);
    scene.ports.take(Family::kIpv4, change("web", HealthCheck{port, 0}));
    EXPECT_EQ(ask(port, "GET /").status, 200) << "the kernel does not have it yet";
    scene.ports.settle(Family::kIpv4, kStart);
    EXPECT_EQ(ask(port, "GET /").status, 503);
    scene.settled(change("web", HealthCheck{port, 18}));
    scene.health.queued(Family::kIpv6);
    scene.passed = 60s;
    const auto unwell = ask(port, "GET /");
    EXPECT_EQ(unwell.status, 503);
    EXPECT_THAT(unwell.body, HasSubstr("\"serviceProxyHealthy\": false"));
    EXPECT_THAT(unwell.head, HasSubstr("X-Load-Balancing-Endpoint-Weight: 18\r\n"));
}

TEST(HealthCheckPorts, ComeMoveAndGo) {
    Scene scene;
    const auto first = free_port();
    auto held = any_port();
    const auto second = held.port;
    held.socket.reset();
    Delta both = change("a", HealthCheck{first, 1});
    both.health_checks.push_back(change("b", HealthCheck{second, 2}).health_checks[0]);
    scene.settled(both);
    EXPECT_EQ(scene.ports.open(Family::kIpv4), 2U);
    EXPECT_THAT(ask(first, "GET /").body, HasSubstr("\"a\""));
    EXPECT_THAT(ask(second, "GET /").body, HasSubstr("\"b\""));
    // They change places at once.
    Delta swapped = change("a", HealthCheck{second, 1});
    swapped.health_checks.push_back(change("b", HealthCheck{first, 2}).health_checks[0]);
    scene.settled(swapped);
    EXPECT_THAT(ask(first, "GET /").body, HasSubstr("\"b\""));
    EXPECT_THAT(ask(second, "GET /").body, HasSubstr("\"a\""));
    scene.settled(change("b", std::nullopt));
    EXPECT_FALSE(Client(first).connected());
    EXPECT_EQ(ask(second, "GET /").status, 200) << "others are left alone";
    EXPECT_EQ(scene.ports.open(Family::kIpv4), 1U);
    EXPECT_THAT(scene.failures, ::testing::IsEmpty());
}

TEST(HealthCheckPorts, APortThatIsTakenIsTriedAgain) {
    Scene scene;
    auto taken = any_port();
    const auto port = taken.port;
    scene.settled(change("web", HealthCheck{port, 1}));
    const std::string failure =
        "ns/web " + std::to_string(port) + ": bind 127.0.0.1 port " + std::to_string(port) + ": Address already in use";
    EXPECT_THAT(scene.failures, ElementsAre(failure));
    EXPECT_EQ(scene.ports.open(Family::kIpv4), 0U);
    scene.settled({}, kStart + 999ms);
    EXPECT_EQ(scene.failures.size(), 1U) << "not with every sync of a busy cluster";
    scene.settled({}, kStart + 1s);
    EXPECT_THAT(scene.failures, ElementsAre(failure, failure));
    EXPECT_EQ(scene.ports.due(), kStart + HealthCheckPorts::kRetry);
    taken.socket.reset();
    scene.ports.tick(kStart + HealthCheckPorts::kRetry);
    EXPECT_EQ(ask(port, "GET /").status, 200);
    EXPECT_EQ(scene.ports.due(), Time::max());
    EXPECT_EQ(scene.failures.size(), 2U);
}

// It goes while it waits to be tried again, and the kernel does not take the change for a while.
TEST(HealthCheckPorts, OneThatCouldNotListenGoes) {
    Scene scene;
    const auto taken = any_port();
    scene.settled(change("web", HealthCheck{taken.port, 1}));
    ASSERT_THAT(scene.failures, ::testing::SizeIs(1));
    scene.ports.take(Family::kIpv4, change("web", std::nullopt));
    scene.ports.tick(kStart + HealthCheckPorts::kRetry);
    scene.ports.settle(Family::kIpv4, kStart + HealthCheckPorts::kRetry + 1s);
    scene.ports.tick(kStart + 3 * HealthCheckPorts::kRetry);
    EXPECT_EQ(scene.ports.open(Family::kIpv4), 0U);
    EXPECT_THAT(scene.failures, ::testing::SizeIs(1));
}

TEST(HealthCheckPorts, ListenWhereNodePortsAre) {
    Scene scene;
    auto elsewhere = listen_tcp("127.0.0.2", 0);
    ASSERT_TRUE(elsewhere);
    const auto port = elsewhere->port;
    scene.settled(change("web", HealthCheck{port, 1}));
    EXPECT_EQ(ask(port, "GET /").status, 200);
    // One address that fails is all of them.
    scene.settled(at_addresses({"127.0.0.1", "127.0.0.2"}));
    EXPECT_EQ(scene.failures.size(), 1U);
    EXPECT_FALSE(Client(port).connected());
    elsewhere->socket.reset();
    scene.settled({}, kStart + 2s);
    EXPECT_EQ(ask(port, "GET /").status, 200);
    EXPECT_EQ(ask(port, "GET /", "", "", "127.0.0.2").status, 200);
    scene.settled(at_addresses({}));
    EXPECT_FALSE(Client(port).connected()) << "node ports are closed";
}

TEST(HealthCheckPorts, FamiliesAreApart) {
    if (!listen_tcp("::1", 0)) GTEST_SKIP() << "this host has no IPv6";
    Scene scene;
    const auto port = free_port();
    Delta six = at_addresses({"::1", "fe80::1"});  // nobody can listen on the second without an interface
    six.health_checks = change("web", HealthCheck{port, 6}).health_checks;
    scene.ports.take(Family::kIpv6, six);
    scene.ports.settle(Family::kIpv6, kStart);
    scene.settled(change("web", HealthCheck{port, 4}));
    EXPECT_THAT(scene.failures, ::testing::IsEmpty());
    EXPECT_THAT(ask(port, "GET /").body, HasSubstr("\"localEndpoints\": 4"));
    EXPECT_THAT(ask(port, "GET /", "", "", "::1").body, HasSubstr("\"localEndpoints\": 6"));
    scene.settled(change("web", std::nullopt));
    EXPECT_FALSE(Client(port).connected());
    EXPECT_EQ(ask(port, "GET /", "", "", "::1").status, 200);
}

TEST(HealthCheckPorts, StayClosedForWhoLeavesAtOnce) {
    Scene scene;
    scene.ports.stay_closed();
    const auto port = free_port();
    scene.settled(change("web", HealthCheck{port, 1}));
    EXPECT_FALSE(Client(port).connected());
    EXPECT_EQ(scene.ports.due(), Time::max());
}

TEST(HealthCheckPorts, HundredsOnOneThread) {
    Scene scene;
    std::vector<Listener> held;
    for (int i = 0; i < 200; ++i) held.push_back(any_port());
    Delta delta;
    for (std::size_t i = 0; i < held.size(); ++i) {
        delta.health_checks.push_back(
            {{"ns", "s" + std::to_string(i)}, std::nullopt, HealthCheck{held[i].port, static_cast<std::uint32_t>(i)}});
        held[i].socket.reset();
    }
    scene.settled(delta);
    EXPECT_EQ(scene.ports.open(Family::kIpv4) + scene.failures.size(), 200U);
    EXPECT_GE(scene.ports.open(Family::kIpv4), 190U) << "a few may have been taken by others meanwhile";
    for (const std::size_t i : {1U, 57U, 199U})
        EXPECT_THAT(ask(held[i].port, "GET /").body, HasSubstr("\"localEndpoints\": " + std::to_string(i) + ","));
}

}  // namespace
}  // namespace ghostip::agent
