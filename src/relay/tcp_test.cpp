// What a TCP client and an endpoint experience through the relay.
#include <sys/socket.h>

#include <algorithm>
#include <latch>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

// A client, and the endpoint's end of its connection.
struct Pair {
    Fd client;
    Fd server;
};

Pair connect_through(const Rig& rig, const Bound& endpoint) {
    Pair pair;
    pair.client = connect_to(rig.address);
    pair.server = accept_one(endpoint.socket);
    EXPECT_TRUE(pair.client && pair.server);
    return pair;
}

bool send_in_odd_chunks(const Fd& socket, std::string_view bytes, unsigned seed) {
    std::minstd_rand random(seed);
    while (!bytes.empty()) {
        const auto size = std::min<std::size_t>(bytes.size(), 1 + random() % (random() % 5 == 0 ? 200'000 : 3'000));
        if (!send_all(socket, bytes.substr(0, size))) return false;
        bytes.remove_prefix(size);
    }
    return ::shutdown(socket.get(), SHUT_WR) == 0;
}

class Families : public ::testing::TestWithParam<net::Family> {};

TEST_P(Families, LargeTransfersBothWaysArriveWhole) {
    const auto endpoint = bind_free(SOCK_STREAM, GetParam());
    const auto rig = testing::rig({.endpoints = {endpoint.address}}, {}, {.address = loopback(GetParam())});
    const auto pair = connect_through(rig, endpoint);
    const auto up = pattern(24'000'001, 1);
    const auto down = pattern(31'000'003, 2);
    std::string up_got;
    std::string down_got;
    std::vector<std::thread> threads;
    threads.emplace_back([&] { EXPECT_TRUE(send_in_odd_chunks(pair.client, up, 3)); });
    threads.emplace_back([&] { EXPECT_TRUE(send_in_odd_chunks(pair.server, down, 4)); });
    threads.emplace_back([&] { up_got = receive(pair.server, up.size() + 1); });
    threads.emplace_back([&] { down_got = receive(pair.client, down.size() + 1); });
    for (auto& thread : threads) thread.join();
    EXPECT_TRUE(up_got == up);  // EXPECT_EQ would print them
    EXPECT_TRUE(down_got == down);
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
    const auto metrics = rig.metrics();
    EXPECT_EQ(metrics.bytes_to_endpoints, up.size());
    EXPECT_EQ(metrics.bytes_to_clients, down.size());
    EXPECT_EQ(metrics.connections_opened, 1U);
    EXPECT_EQ(metrics.connections_open, 0U);
    EXPECT_EQ(std::accumulate(metrics.durations.begin(), metrics.durations.end(), std::uint64_t{0}), 1U);
}

INSTANTIATE_TEST_SUITE_P(Tcp, Families, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& row) { return std::string(net::family_name(row.param)); });

TEST(Tcp, ALittleBufferIsEnough) {
    const auto endpoint = bind_free(SOCK_STREAM);
    Options options;
    options.limits.buffer_bytes = 100;
    const auto rig = testing::rig({.endpoints = {endpoint.address}}, options);
    const auto pair = connect_through(rig, endpoint);
    const auto up = pattern(300'001, 1);
    std::thread sender([&] { EXPECT_TRUE(send_in_odd_chunks(pair.client, up, 3)); });
    EXPECT_TRUE(receive(pair.server, up.size() + 1) == up);
    sender.join();
}

TEST(Tcp, EachSideMayEndFirst) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    for (const bool client_first : {true, false}) {
        const auto pair = connect_through(rig, endpoint);
        const auto& first = client_first ? pair.client : pair.server;
        const auto& second = client_first ? pair.server : pair.client;
        ASSERT_TRUE(send_all(first, "question"));
        ::shutdown(first.get(), SHUT_WR);
        EXPECT_EQ(receive(second, 100), "question") << "and its end";
        const auto answer = pattern(1'000'000, 5);
        ASSERT_TRUE(send_all(second, answer)) << "long after the other side has ended";
        ::shutdown(second.get(), SHUT_WR);
        EXPECT_TRUE(receive(first, answer.size() + 1) == answer);
    }
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
}

// Each byte at a multiple of `distance` is sent as urgent data.
bool send_with_urgent_bytes(const Fd& socket, std::string_view bytes, std::size_t distance) {
    while (!bytes.empty()) {
        if (::send(socket.get(), bytes.data(), 1, MSG_OOB | MSG_NOSIGNAL) != 1) return false;
        if (!send_all(socket, bytes.substr(1, distance - 1))) return false;
        bytes.remove_prefix(std::min(bytes.size(), distance));
    }
    return true;
}

// All of it is there before the relay first looks: so each call that reads ends at a mark with more behind it.
TEST(Tcp, UrgentDataArrivesInItsPlace) {
    const auto endpoint = bind_free(SOCK_STREAM);
    for (const bool ends : {false, true}) {
        SCOPED_TRACE(ends);
        std::latch said(1);
        ListenerSpec spec;
        spec.ask = [&](const Arrival& /*client*/) {
            said.wait();
            return Answer();
        };
        const auto rig = testing::rig({.endpoints = {endpoint.address}}, {}, spec);
        const Fd client = connect_to(rig.address);
        const auto text = pattern(1000, 1);
        EXPECT_TRUE(send_with_urgent_bytes(client, text, 400));
        if (ends) ::shutdown(client.get(), SHUT_WR);
        said.count_down();
        const Fd server = accept_one(endpoint.socket);
        EXPECT_TRUE(receive(server, text.size() + (ends ? 1 : 0)) == text);
    }
}

TEST(Tcp, UrgentDataInBulkArrivesInItsPlace) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    for (const bool by_client : {true, false})
        for (const std::size_t distance : {200'003U, 1'500'001U, 7'999'999U}) {
            SCOPED_TRACE(distance);
            const auto pair = connect_through(rig, endpoint);
            const auto& from = by_client ? pair.client : pair.server;
            const auto& to = by_client ? pair.server : pair.client;
            const auto bytes = pattern(8'000'000, 6);
            std::thread sender([&] {
                EXPECT_TRUE(send_with_urgent_bytes(from, bytes, distance));
                ::shutdown(from.get(), SHUT_WR);
            });
            EXPECT_TRUE(receive(to, bytes.size() + 1) == bytes);
            sender.join();
        }
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
}

TEST(Tcp, OneByteThenSilence) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    const auto pair = connect_through(rig, endpoint);
    ASSERT_TRUE(send_all(pair.client, "a"));
    EXPECT_EQ(receive(pair.server, 1), "a") << "nothing is held back for more";
    EXPECT_EQ(ending(pair.server, std::chrono::milliseconds(300)), Ending::kNone) << "and nothing is cut";
    ASSERT_TRUE(send_all(pair.client, "b"));
    EXPECT_EQ(receive(pair.server, 1), "b");
    ASSERT_TRUE(send_all(pair.server, "c"));
    EXPECT_EQ(receive(pair.client, 1), "c");
}

TEST(Tcp, TheServerMaySpeakFirst) {
    const NamedServer server('s');
    const auto rig = testing::rig({.endpoints = {server.address()}});
    EXPECT_EQ(rig.ask_name(), "s");
}

TEST(Tcp, ResetsArePassedOn) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    for (const bool by_client : {true, false}) {
        auto pair = connect_through(rig, endpoint);
        ASSERT_TRUE(send_all(pair.client, "x"));
        EXPECT_EQ(receive(pair.server, 1), "x");
        close_with_reset(by_client ? pair.client : pair.server);
        EXPECT_EQ(ending(by_client ? pair.server : pair.client), Ending::kReset);
    }
}

// The relay does not read from the side that resets, since the other takes nothing.
TEST(Tcp, AResetIsPassedOnPastWhatIsStuck) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    auto pair = connect_through(rig, endpoint);
    const auto much = pattern(64'000, 1);
    while (::send(pair.client.get(), much.data(), much.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    ASSERT_TRUE(eventually([&] {  // until nothing moves any more
        const auto before = rig.metrics().bytes_to_endpoints;
        while (::send(pair.client.get(), much.data(), much.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return rig.metrics().bytes_to_endpoints == before;
    }));
    close_with_reset(pair.client);
    EXPECT_EQ(ending(pair.server), Ending::kReset);
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
}

TEST(Tcp, NothingIsLeftOfTransfersThatAreBrokenOff) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    const auto much = pattern(1'000'000, 1);
    for (int round = 0; round < 20; ++round) {
        std::vector<Pair> pairs;
        pairs.reserve(4);
        for (int i = 0; i < 4; ++i) pairs.push_back(connect_through(rig, endpoint));
        std::vector<std::thread> senders;
        senders.reserve(pairs.size());
        for (auto& pair : pairs)
            senders.emplace_back([&] {
                while (send_all(pair.server, much)) {
                }
            });
        for (auto& pair : pairs) EXPECT_EQ(receive(pair.client, 3'000'000).size(), 3'000'000U);
        for (auto& pair : pairs) pair.client.reset();  // with much unread
        for (auto& sender : senders) sender.join();
        EXPECT_TRUE(rig.relay->wait_until_idle(kLongest)) << "while the endpoint has not closed its side";
    }
}

TEST(Tcp, StoppingTheRelayCutsConnections) {
    const auto endpoint = bind_free(SOCK_STREAM);
    auto rig = testing::rig({.endpoints = {endpoint.address}});
    const auto pair = connect_through(rig, endpoint);
    rig.relay.reset();
    EXPECT_EQ(ending(pair.client), Ending::kReset);
    EXPECT_EQ(ending(pair.server), Ending::kReset);
    EXPECT_FALSE(connect_to(rig.address));
}

struct Version {
    const char* name;
    ProxyProtocol version;
};
class ProxyHeader : public ::testing::TestWithParam<std::tuple<Version, net::Family>> {};

TEST_P(ProxyHeader, ComesBeforeWhatTheClientSays) {
    const auto& [version, family] = GetParam();
    const auto endpoint = bind_free(SOCK_STREAM, family);
    const auto rig = testing::rig({.endpoints = {endpoint.address}, .proxy_protocol = version.version}, {},
                                  {.address = loopback(family)});
    const auto pair = connect_through(rig, endpoint);
    ASSERT_TRUE(send_all(pair.client, "hello"));
    ::shutdown(pair.client.get(), SHUT_WR);
    const auto header = proxy_header(version.version, own_address(pair.client.get()).value(), rig.address);
    EXPECT_EQ(receive(pair.server, 1000), header + "hello");
}

INSTANTIATE_TEST_SUITE_P(Tcp, ProxyHeader,
                         ::testing::Combine(::testing::Values(Version{"v1", ProxyProtocol::kV1},
                                                              Version{"v2", ProxyProtocol::kV2}),
                                            ::testing::Values(net::Family::kIpv4, net::Family::kIpv6)),
                         [](const auto& row) {
                             return std::get<0>(row.param).name + std::string(net::family_name(std::get<1>(row.param)));
                         });

}  // namespace
}  // namespace ghostip::relay::testing
