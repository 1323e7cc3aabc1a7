// Endpoints that do not answer, or leave.
#include <sys/socket.h>

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

Options quick_dials() {
    Options options;
    options.timeouts.dial = {milliseconds(50), milliseconds(100), milliseconds(150), milliseconds(200)};
    return options;
}

std::uint64_t refused(const ServiceMetrics& metrics, Refusal why) {
    return metrics.refused[static_cast<std::size_t>(why)];
}

// The kernel lets a client in before the relay knows of it, and an endpoint before the relay hears of that.
bool opened(const Rig& rig, std::uint64_t connections) {
    return eventually([&] { return rig.metrics().connections_opened == connections; });
}

TEST(Dial, RoundRobinIsExact) {
    const NamedServer a('a');
    const NamedServer b('b');
    const NamedServer c('c');
    const auto rig = testing::rig({.endpoints = {a.address(), b.address(), c.address()}});
    std::map<std::string, int> answers;
    for (int i = 0; i < 60; ++i) ++answers[rig.ask_name()];
    EXPECT_EQ(answers, (std::map<std::string, int>{{"a", 20}, {"b", 20}, {"c", 20}}));
}

TEST(Dial, AClientSticks) {
    const NamedServer a('a');
    const NamedServer b('b');
    const auto rig = testing::rig({.endpoints = {a.address(), b.address()}, .affinity = std::chrono::seconds(10'800)});
    const auto first = rig.ask_name();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(rig.ask_name(), first);
}

// A service whose endpoint is a place where this relay listens: each dial would be another client.
TEST(Dial, ARelayDoesNotDialItself) {
    constexpr std::uint64_t kAttempts = 4;  // of one client
    for (const auto& at : {loopback(), SocketAddress{net::IpAddress(net::Family::kIpv4), 0}}) {
        const NamedServer server('s');
        ListenerSpec spec;
        spec.address = at;
        const auto rig = testing::rig({.endpoints = {server.address()}}, {}, spec);
        const auto own = loopback(net::Family::kIpv4, rig.address.port);
        ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {own}}));
        const Fd client = connect_to(own);
        EXPECT_EQ(ending(client), Ending::kReset) << at.text();
        EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
        EXPECT_EQ(rig.metrics().dial_failures, kAttempts) << "the circle has gone round";
        ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {own, server.address()}}));
        const Fd other = connect_to(own);
        EXPECT_EQ(receive(other, 1), "s") << at.text();
    }
}

TEST(Dial, TheNextEndpointAnswersForOneThatRefuses) {
    const NamedServer server('s');
    const auto dead = dead_port();
    const auto rig = testing::rig({.endpoints = {dead.address, server.address()}});
    for (int i = 0; i < 10; ++i) EXPECT_EQ(rig.ask_name(), "s");
    const auto metrics = rig.metrics();
    // Each first dial goes to the one after the last that was dialled, and that is always the dead one, or never.
    EXPECT_GE(metrics.dial_failures, 9U);
    EXPECT_EQ(metrics.dial_timeouts, 0U);
    EXPECT_EQ(metrics.connections_opened, 10U);
}

TEST(Dial, TheNextEndpointAnswersForOneThatIsSilent) {
    const NamedServer server('s');
    const auto silent = silent_port();
    const auto rig = testing::rig({.endpoints = {silent.listener.address, server.address()}}, quick_dials());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(rig.ask_name(), "s");
    EXPECT_GE(rig.metrics().dial_timeouts, 3U);
    EXPECT_EQ(rig.metrics().dial_timeouts, rig.metrics().dial_failures);
}

TEST(Dial, FourAttemptsWithTheirTimeouts) {
    const auto silent = silent_port();
    const auto rig = testing::rig({.endpoints = {silent.listener.address}}, quick_dials());
    const auto start = std::chrono::steady_clock::now();
    const Fd client = connect_to(rig.address);
    EXPECT_EQ(ending(client), Ending::kReset);
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_GE(took, milliseconds(50 + 100 + 150 + 200));
    EXPECT_LE(took, milliseconds(2000));
    EXPECT_EQ(rig.metrics().dial_timeouts, 4U);
    EXPECT_EQ(refused(rig.metrics(), Refusal::kDialFailed), 1U);
}

TEST(Dial, TheUsualTimeouts) {
    const std::array<milliseconds, 4> wanted{milliseconds(250), milliseconds(500), milliseconds(1000),
                                             milliseconds(2000)};
    EXPECT_EQ(Timeouts{}.dial, wanted);
}

TEST(Dial, ASilentEndpointHoldsUpNobodyElse) {
    const NamedServer server('s');
    const auto silent = silent_port();
    Options options;
    options.threads = 1;
    auto rig = testing::rig({.endpoints = {silent.listener.address}}, options);
    const auto waiting = connect_many(rig.address, 50);
    const auto other = rig.relay->add_service({.endpoints = {server.address()}});
    const auto listener = rig.relay->listen({.address = loopback(), .service = other}).value();
    rig.address = rig.relay->address(listener).value();
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(rig.ask_name(), "s");
    EXPECT_LE(std::chrono::steady_clock::now() - start, milliseconds(200)) << "less than one dial takes to fail";
}

TEST(Dial, NobodyToDial) {
    const auto rig = testing::rig({});
    EXPECT_EQ(ending(connect_to(rig.address)), Ending::kReset);
    EXPECT_EQ(refused(rig.metrics(), Refusal::kNoEndpoint), 1U);
}

TEST(Drain, AnEndpointThatLeavesGetsNothingNewAndKeepsWhatItHas) {
    const auto leaving = bind_free(SOCK_STREAM);
    const NamedServer staying('s');
    auto rig = testing::rig({.endpoints = {leaving.address}});
    const Fd client = connect_to(rig.address);
    const Fd server = accept_one(leaving.socket);
    ASSERT_TRUE(opened(rig, 1));
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {staying.address()}}));
    for (int i = 0; i < 5; ++i) EXPECT_EQ(rig.ask_name(), "s");
    ASSERT_TRUE(send_all(client, "still"));
    EXPECT_EQ(receive(server, 5), "still");
    EXPECT_EQ(ending(client, milliseconds(200)), Ending::kNone);
}

TEST(Drain, CutsAfterItsTime) {
    const auto leaving = bind_free(SOCK_STREAM);
    const auto staying = bind_free(SOCK_STREAM);
    Options options;
    options.drain = milliseconds(300);
    auto rig = testing::rig({.endpoints = {leaving.address}}, options);
    const Fd client = connect_to(rig.address);
    const Fd server = accept_one(leaving.socket);
    ASSERT_TRUE(opened(rig, 1));
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {staying.address}}));
    const Fd another = connect_to(rig.address);
    const Fd its_server = accept_one(staying.socket);
    ASSERT_TRUE(opened(rig, 2));
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(ending(client), Ending::kReset);
    EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(200));
    EXPECT_EQ(ending(server), Ending::kReset);
    EXPECT_EQ(rig.metrics().connections_drained, 1U);
    EXPECT_EQ(ending(another, milliseconds(50)), Ending::kNone);
}

TEST(Drain, AnEndpointThatComesBackKeepsItsConnections) {
    const auto endpoint = bind_free(SOCK_STREAM);
    Options options;
    options.drain = milliseconds(200);
    auto rig = testing::rig({.endpoints = {endpoint.address}}, options);
    const Fd client = connect_to(rig.address);
    const Fd server = accept_one(endpoint.socket);
    ASSERT_TRUE(opened(rig, 1));
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {}));
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {endpoint.address}}));
    EXPECT_EQ(ending(client, milliseconds(500)), Ending::kNone);
}

enum class Last : std::uint8_t { kEndpoint, kService, kOnceMore };
std::string name_of(const ::testing::TestParamInfo<Last>& last) {
    constexpr std::array kNames{"TheNextEndpoint", "TheService", "TheSameOnceMore"};
    return kNames[static_cast<std::size_t>(last.param)];
}
class DrainEach : public ::testing::TestWithParam<Last> {};
INSTANTIATE_TEST_SUITE_P(Leaves, DrainEach, ::testing::Values(Last::kEndpoint, Last::kService, Last::kOnceMore),
                         name_of);

// What leaves while the time of another departure runs. Only the least is measured, however slow the machine is.
TEST_P(DrainEach, HasTheWholeTimeFromThenOn) {
    const auto a = bind_free(SOCK_STREAM);
    const auto b = bind_free(SOCK_STREAM);
    const Pool both{.endpoints = {a.address, b.address}};
    const Pool only_b{.endpoints = {b.address}};
    Options options;
    options.drain = milliseconds(1000);
    auto rig = testing::rig(both, options);
    const auto clients = connect_many(rig.address, 2);
    const Fd at_a = accept_one(a.socket);
    const Fd at_b = accept_one(b.socket);
    ASSERT_TRUE(opened(rig, 2));
    const Fd& watched = GetParam() == Last::kOnceMore ? at_a : at_b;
    ASSERT_TRUE(rig.relay->set_pool(rig.service, only_b));
    if (GetParam() == Last::kOnceMore) {
        ASSERT_TRUE(rig.relay->set_pool(rig.service, both));
    }
    EXPECT_EQ(ending(watched, *options.drain / 2), Ending::kNone);
    const auto left = std::chrono::steady_clock::now();
    switch (GetParam()) {
        case Last::kEndpoint: ASSERT_TRUE(rig.relay->set_pool(rig.service, {})); break;
        case Last::kService: rig.relay->remove_service(rig.service); break;
        case Last::kOnceMore: ASSERT_TRUE(rig.relay->set_pool(rig.service, only_b)); break;
    }
    EXPECT_EQ(ending(watched), Ending::kReset);
    EXPECT_GE(std::chrono::steady_clock::now() - left, *options.drain);
}

TEST(Drain, AServiceThatIsRemovedStopsListeningAndKeepsWhatItHas) {
    const auto endpoint = bind_free(SOCK_STREAM);
    auto rig = testing::rig({.endpoints = {endpoint.address}});
    const Fd client = connect_to(rig.address);
    const Fd server = accept_one(endpoint.socket);
    ASSERT_TRUE(opened(rig, 1));
    rig.relay->remove_service(rig.service);
    EXPECT_FALSE(connect_to(rig.address));
    EXPECT_FALSE(rig.relay->metrics(rig.service));
    EXPECT_FALSE(rig.relay->set_pool(rig.service, {}));
    ASSERT_TRUE(send_all(server, "still"));
    EXPECT_EQ(receive(client, 5), "still");
}

// It leaves while it is being dialled: the client is to get another, not the one that left.
TEST(Drain, AnEndpointThatLeavesWhileItIsDialledGetsNothing) {
    auto silent = silent_port();
    const NamedServer staying('s');
    Options options;
    options.timeouts.dial[0] = kLongest;
    auto rig = testing::rig({.endpoints = {silent.listener.address}}, options);
    const Fd client = connect_to(rig.address);
    ASSERT_TRUE(eventually([&] { return rig.metrics().connections_open == 1; }));
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {staying.address()}}));
    // Room in its backlog: the kernel asks again after a second, and is let in.
    for (int i = 0; i < 3; ++i) (void)accept_one(silent.listener.socket);
    EXPECT_EQ(receive(client, 1), "s");
}

// Its service is removed while it is being dialled: the client is to get nobody, and those it could try next neither.
TEST(Drain, ARemovedServiceGetsNothingThatIsBeingDialled) {
    const NamedServer other('o');
    for (const bool another : {false, true}) {
        SCOPED_TRACE(another);
        auto silent = silent_port();
        Options options;
        options.timeouts.dial[0] = kLongest;
        auto rig = testing::rig({.endpoints = {silent.listener.address}}, options);
        const Fd client = connect_to(rig.address);
        ASSERT_TRUE(eventually([&] { return rig.metrics().connections_open == 1; }));
        rig.relay->close(ListenerId{});  // no listener, but it waits until each thread has done what it was at
        if (another) {
            ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {silent.listener.address, other.address()}}));
        }
        rig.relay->remove_service(rig.service);
        for (int i = 0; i < 3; ++i) (void)accept_one(silent.listener.socket);
        EXPECT_EQ(ending(client), Ending::kReset);
        EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
    }
    EXPECT_EQ(other.served(), 0);
}

}  // namespace
}  // namespace ghostip::relay::testing
