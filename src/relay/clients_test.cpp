// Clients that go from one relay to the next with their listeners.
#include <sys/socket.h>

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

ListenerSpec udp_at(net::Family family = net::Family::kIpv4) {
    return {.protocol = net::Protocol::kUdp, .address = loopback(family)};
}

struct Datagram {
    std::string text;
    SocketAddress from;
};
Datagram heard(const Fd& socket) {
    std::array<char, 100> bytes{};
    KernelAddress from;
    const auto got = ::recvfrom(socket.get(), bytes.data(), bytes.size(), 0, from.get(), &from.size);
    if (got < 0) return {"nothing", {}};
    return {std::string(bytes.data(), static_cast<std::size_t>(got)), from.value().value_or(SocketAddress())};
}
bool answer(const Fd& socket, const SocketAddress& to, std::string_view text) {
    const KernelAddress address(to);
    return ::sendto(socket.get(), text.data(), text.size(), 0, address.get(), address.size) ==
           static_cast<ssize_t>(text.size());
}

// Serves from now on where `rig` has, which is held, with its clients; how many of them go on.
std::size_t succeed(Rig& rig, Pool pool, Options options, std::vector<UdpClient> clients) {
    auto next = Relay::start(options).value();
    const auto service = next->add_service(std::move(pool));
    auto sockets = rig.relay->duplicate(rig.listener).value();
    const auto listener =
        next->adopt({.protocol = net::Protocol::kUdp, .service = service, .begin = Begin::kHeld}, std::move(sockets));
    EXPECT_TRUE(listener) << listener.error().message;
    for (auto& client : clients) client.listener = *listener;
    const std::array listeners{*listener};
    const auto resumed = next->resume(listeners, std::move(clients));
    EXPECT_TRUE(resumed) << resumed.error().message;
    rig.relay = std::move(next);
    rig.service = service;
    rig.listener = *listener;
    return resumed ? *resumed : 0;
}

std::vector<UdpClient> hold(const Rig& rig) {
    const std::array listeners{rig.listener};
    return rig.relay->hold(listeners);
}

class UdpClients : public ::testing::TestWithParam<net::Family> {};

INSTANTIATE_TEST_SUITE_P(Families, UdpClients, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

TEST_P(UdpClients, KeepTheirEndpointAndTheirPortThere) {
    std::vector<Bound> endpoints;
    Pool pool;
    for (int i = 0; i < 5; ++i) {
        endpoints.push_back(bind_free(SOCK_DGRAM, GetParam()));
        pool.endpoints.push_back(endpoints.back().address);
    }
    Options options;
    options.threads = 2;
    auto rig = testing::rig(pool, options, udp_at(GetParam()));
    std::vector<Fd> clients;
    std::map<std::string, std::pair<std::size_t, SocketAddress>> met;
    for (int i = 0; i < 40; ++i) {
        clients.push_back(connect_to(rig.address, SOCK_DGRAM));
        ASSERT_TRUE(send_all(clients.back(), std::to_string(i)));
    }
    for (std::size_t i = 0; i < endpoints.size(); ++i)
        for (int k = 0; k < 8; ++k) {
            const auto [text, from] = heard(endpoints[i].socket);
            met[text] = {i, from};
        }
    ASSERT_EQ(met.size(), 40U);
    for (const unsigned threads : {3U, 1U, 2U}) {
        auto state = hold(rig);
        EXPECT_EQ(state.size(), 40U);
        EXPECT_EQ(rig.metrics().sessions_open, 0U);
        // Under way while nobody serves: both to the endpoint and back.
        for (std::size_t i = 0; i < clients.size(); ++i) {
            ASSERT_TRUE(send_all(clients[i], std::to_string(i)));
            const auto& [endpoint, port] = met.at(std::to_string(i));
            ASSERT_TRUE(answer(endpoints[endpoint].socket, port, "to " + std::to_string(i)));
        }
        options.threads = threads;
        EXPECT_EQ(succeed(rig, pool, options, std::move(state)), 40U);
        for (std::size_t i = 0; i < clients.size(); ++i) {
            const auto expected = "to " + std::to_string(i);
            EXPECT_EQ(receive(clients[i], expected.size()), expected);
        }
        for (std::size_t i = 0; i < endpoints.size(); ++i)
            for (int k = 0; k < 8; ++k) {
                const auto [text, from] = heard(endpoints[i].socket);
                EXPECT_EQ(met.at(text), std::make_pair(i, from)) << text;
            }
        EXPECT_EQ(rig.metrics().sessions_open, 40U);
        EXPECT_EQ(rig.metrics().sessions_opened, 40U);
    }
}

TEST_P(UdpClients, AreTakenBackWhereNobodyElseServes) {
    const auto endpoint = bind_free(SOCK_DGRAM, GetParam());
    const auto rig = testing::rig({.endpoints = {endpoint.address}}, {}, udp_at(GetParam()));
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    ASSERT_TRUE(send_all(client, "1"));
    const auto port = heard(endpoint.socket).from;
    auto state = hold(rig);
    EXPECT_EQ(state.size(), 1U);
    EXPECT_TRUE(hold(rig).empty()) << "it is held";
    ASSERT_TRUE(send_all(client, "2"));
    const std::array listeners{rig.listener};
    EXPECT_EQ(rig.relay->resume(listeners, std::move(state)).value(), 1U);
    const auto [text, from] = heard(endpoint.socket);
    EXPECT_EQ(text, "2");
    EXPECT_EQ(from, port);
    EXPECT_EQ(rig.relay->resume(listeners, {}).value(), 0U) << "nothing is held";
}

TEST(ClientsOfPolicy, GoOnWhereTheyMay) {
    const auto stays = bind_free(SOCK_DGRAM);
    const auto leaves = bind_free(SOCK_DGRAM);
    const Pool both{.endpoints = {stays.address, leaves.address}};
    auto rig = testing::rig(both, {.threads = 1}, udp_at());
    std::vector<Fd> clients;
    for (int i = 0; i < 6; ++i) {
        clients.push_back(connect_to(rig.address, SOCK_DGRAM));
        ASSERT_TRUE(send_all(clients.back(), std::to_string(i)));
    }
    for (int i = 0; i < 3; ++i) {
        EXPECT_NE(heard(stays.socket).text, "nothing");
        EXPECT_NE(heard(leaves.socket).text, "nothing");
    }
    auto state = hold(rig);
    ASSERT_EQ(state.size(), 6U);
    EXPECT_EQ(succeed(rig, {.endpoints = {stays.address}}, {.threads = 1}, std::move(state)), 3U);
    Options options;
    options.limits.udp_sessions = 2;
    EXPECT_EQ(succeed(rig, both, options, hold(rig)), 2U);
    EXPECT_EQ(rig.relay->metrics().sessions_open, 2U);
    state = hold(rig);
    ASSERT_EQ(state.size(), 2U);
    state.front().flow.socket = 9;  // the listener has no such socket
    EXPECT_EQ(succeed(rig, both, {.threads = 1}, std::move(state)), 1U);
    // Who is refused now is no client any more.
    state = hold(rig);
    ASSERT_EQ(state.size(), 1U);
    auto next = Relay::start({.threads = 1}).value();
    const auto service = next->add_service({.endpoints = {stays.address}});
    const auto listener = next->adopt({.protocol = net::Protocol::kUdp,
                                       .service = service,
                                       .ask = [](const auto&) { return Answer::refuse(); },
                                       .begin = Begin::kHeld},
                                      rig.relay->duplicate(rig.listener).value());
    ASSERT_TRUE(listener);
    for (auto& client : state) client.listener = *listener;
    EXPECT_EQ(next->resume(std::array{*listener}, std::move(state)).value(), 0U);
    EXPECT_EQ(next->metrics().sessions_open, 0U);
}

TEST(ClientsOfTcp, WaitWhereNobodyServes) {
    const NamedServer server('s');
    const Pool pool{.endpoints = {server.address()}};
    auto rig = testing::rig(pool, {.threads = 2});
    const Fd before = connect_to(rig.address);
    EXPECT_EQ(receive(before, 1), "s");
    EXPECT_TRUE(hold(rig).empty());
    const auto waiting = connect_many(rig.address, 20);
    auto next = Relay::start({.threads = 2}).value();
    const auto service = next->add_service(pool);
    const auto listener =
        next->adopt({.service = service, .begin = Begin::kHeld}, rig.relay->duplicate(rig.listener).value());
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_EQ(next->address(*listener).value(), rig.address);
    EXPECT_EQ(next->resume(std::array{*listener}, {}).value(), 0U);
    for (const auto& client : waiting) EXPECT_EQ(receive(client, 1), "s");
    EXPECT_EQ(rig.metrics().connections_opened, 1U);
    EXPECT_EQ(next->metrics(service).value().connections_opened, 20U);
    // One that is closed while it is held is no more than closed.
    EXPECT_TRUE(next->hold(std::array{*listener}).empty());
    rig.relay->close(rig.listener);
    next->close(*listener);
    EXPECT_FALSE(connect_to(rig.address));
    EXPECT_EQ(next->resume(std::array{*listener}, {}).value(), 0U);
}

TEST(ClientsThatStick, GoWhereTheyWent) {
    const NamedServer a('a');
    const NamedServer b('b');
    const NamedServer c('c');
    const Pool pool{.endpoints = {a.address(), b.address(), c.address()}, .affinity = std::chrono::hours(3)};
    const auto rig = testing::rig(pool, {.threads = 2});
    const auto first = rig.ask_name();
    const auto known = rig.relay->affinities(rig.service).value();
    ASSERT_EQ(known.size(), 1U);
    for (int i = 0; i < 4; ++i) {
        const auto next = testing::rig(pool, {.threads = 2});
        EXPECT_EQ(next.relay->remember(next.service, known).value(), 1U);
        EXPECT_EQ(next.ask_name(), first);
    }
    EXPECT_FALSE(rig.relay->affinities(ServiceId{99}));
    EXPECT_FALSE(rig.relay->remember(ServiceId{99}, known));
}

}  // namespace
}  // namespace ghostip::relay::testing
