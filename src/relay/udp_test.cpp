// What a UDP client and an endpoint experience through the relay.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

Rig udp_rig(Pool pool, Options options = {}, net::Family family = net::Family::kIpv4) {
    ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.address = loopback(family);
    return testing::rig(std::move(pool), options, spec);
}

std::string answer_to(const Fd& client, std::string_view question) {
    if (::send(client.get(), question.data(), question.size(), 0) < 0) return "not sent";
    std::string answer(65536, '\0');
    const auto got = ::recv(client.get(), answer.data(), answer.size(), 0);
    if (got < 0) return "none";
    answer.resize(static_cast<std::size_t>(got));
    return answer;
}

std::uint64_t lost(const ServiceMetrics& metrics, DatagramLoss why) {
    return metrics.datagrams_lost[static_cast<std::size_t>(why)];
}

class UdpFamilies : public ::testing::TestWithParam<net::Family> {};

TEST_P(UdpFamilies, DatagramsKeepTheirBoundsWhateverTheirSize) {
    const NamedUdpServer server('s', GetParam());
    const auto rig = udp_rig({.endpoints = {server.address()}}, {}, GetParam());
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    for (const std::size_t size : {0U, 1U, 1400U, 4096U, 4097U, 32'768U, 65'506U}) {
        const auto question = pattern(size, static_cast<unsigned>(size));
        EXPECT_TRUE(answer_to(client, question) == "s" + question) << size;
    }
    const auto largest = pattern(65'507, 1);  // no room for the name
    EXPECT_TRUE(answer_to(client, largest) == "s" + largest.substr(0, 65'506));
    // Counted after it was sent.
    EXPECT_TRUE(eventually([&] { return rig.metrics().datagrams_to_clients == 8; }));
    const auto metrics = rig.metrics();
    EXPECT_EQ(metrics.sessions_opened, 1U);
    EXPECT_EQ(metrics.datagrams_to_endpoints, 8U);
    EXPECT_EQ(metrics.bytes_to_endpoints + 7, metrics.bytes_to_clients);
}

INSTANTIATE_TEST_SUITE_P(Udp, UdpFamilies, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& row) { return std::string(net::family_name(row.param)); });

TEST(Udp, ManyAtOnceComeInOrder) {
    const auto endpoint = bind_free(SOCK_DGRAM);
    const auto rig = udp_rig({.endpoints = {endpoint.address}});
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    for (int round = 0; round < 20; ++round) {
        for (int i = 0; i < 50; ++i) ASSERT_TRUE(send_all(client, std::to_string(round * 50 + i)));
        for (int i = 0; i < 50; ++i) {
            std::array<char, 100> buffer{};
            const auto got = ::recv(endpoint.socket.get(), buffer.data(), buffer.size(), 0);
            ASSERT_GT(got, 0);
            EXPECT_EQ(std::string(buffer.data(), static_cast<std::size_t>(got)), std::to_string(round * 50 + i));
        }
    }
    EXPECT_EQ(rig.metrics().sessions_open, 1U);
}

TEST(Udp, EachClientHasASessionThatStaysWhereItIs) {
    const NamedUdpServer a('a');
    const NamedUdpServer b('b');
    const auto rig = udp_rig({.endpoints = {a.address(), b.address()}});
    std::map<std::string, int> answers;
    for (int i = 0; i < 10; ++i) {
        const Fd client = connect_to(rig.address, SOCK_DGRAM);
        const auto first = answer_to(client, "");
        ++answers[first];
        for (int k = 0; k < 5; ++k) EXPECT_EQ(answer_to(client, ""), first);
    }
    EXPECT_EQ(answers, (std::map<std::string, int>{{"a", 5}, {"b", 5}}));
    EXPECT_EQ(rig.metrics().sessions_open, 10U);
}

TEST(Udp, SessionsEndWhenIdle) {
    const NamedUdpServer a('a');
    const NamedUdpServer b('b');
    Options options;
    options.timeouts.udp_idle = milliseconds(600);  // a busy machine may take a while to answer
    const auto rig = udp_rig({.endpoints = {a.address(), b.address()}}, options);
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    const auto first = answer_to(client, "");
    const auto end = std::chrono::steady_clock::now() + milliseconds(1500);
    while (std::chrono::steady_clock::now() < end) ASSERT_EQ(answer_to(client, ""), first) << "it is not idle";
    EXPECT_EQ(rig.metrics().sessions_opened, 1U);
    EXPECT_TRUE(eventually([&] { return rig.metrics().sessions_open == 0; }));
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
    EXPECT_NE(answer_to(client, ""), first) << "the next in turn";
}

TEST(Udp, AnEndpointThatLeavesLosesItsSessions) {
    const NamedUdpServer a('a');
    const NamedUdpServer b('b');
    const auto rig = udp_rig({.endpoints = {a.address()}});
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    EXPECT_EQ(answer_to(client, ""), "a");
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {b.address()}}));
    EXPECT_EQ(rig.metrics().sessions_open, 0U);
    EXPECT_EQ(answer_to(client, ""), "b");
}

TEST(Udp, TheNextEndpointAnswersForAClosedPort) {
    const NamedUdpServer server('s');
    const auto dead = dead_port(SOCK_DGRAM);
    const auto rig = udp_rig({.endpoints = {dead.address, server.address()}, .affinity = std::chrono::seconds(100)});
    for (int i = 0; i < 4; ++i) {
        const Fd client = connect_to(rig.address, SOCK_DGRAM);
        // What met the closed port is lost, as ever with UDP; a client asks again.
        std::string answer;
        EXPECT_TRUE(eventually([&] {
            (void)send_all(client, "x");
            std::array<char, 10> buffer{};
            const auto got = ::recv(client.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            answer.assign(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
            return got > 0;
        }));
        EXPECT_EQ(answer, "sx");
    }
    EXPECT_LE(rig.metrics().dial_failures, 1U) << "affinity remembers the one that answered";
}

TEST(Udp, ARelayDoesNotAskItself) {
    const auto rig = udp_rig({});
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {rig.address}}));
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    ASSERT_TRUE(send_all(client, "x"));
    EXPECT_TRUE(eventually([&] { return rig.metrics().dial_failures == 4; }));
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
    EXPECT_EQ(rig.metrics().dial_failures, 4U) << "the circle has gone round";
}

TEST(Udp, NobodyToAsk) {
    const auto rig = udp_rig({});
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    ASSERT_TRUE(send_all(client, "x"));
    EXPECT_TRUE(eventually([&] { return lost(rig.metrics(), DatagramLoss::kNoEndpoint) == 1; }));
    EXPECT_EQ(rig.metrics().sessions_open, 0U);
}

TEST(Udp, SessionsAreLimited) {
    struct Case {
        const char* name;
        std::uint32_t all;
        std::uint32_t per_client;
    };
    for (const auto& [name, all, per_client] : {Case{"all", 5, 100}, Case{"of an address", 100, 5}}) {
        SCOPED_TRACE(name);
        const NamedUdpServer server('s');
        Options options;
        options.threads = 1;
        options.limits.udp_sessions = all;
        options.limits.udp_sessions_per_client = per_client;
        const auto rig = udp_rig({.endpoints = {server.address()}}, options);
        std::vector<Fd> clients;
        for (int i = 0; i < 5; ++i) {
            clients.push_back(connect_to(rig.address, SOCK_DGRAM));
            EXPECT_EQ(answer_to(clients.back(), ""), "s");
        }
        const Fd another = connect_to(rig.address, SOCK_DGRAM);
        ASSERT_TRUE(send_all(another, "x"));
        EXPECT_TRUE(eventually([&] { return lost(rig.metrics(), DatagramLoss::kSessionLimit) == 1; }));
        EXPECT_EQ(answer_to(clients[0], ""), "s") << "who has one keeps it";
        EXPECT_EQ(rig.relay->metrics().sessions_open, 5U);
    }
}

// The kernel spreads the ports of one address over the threads.
TEST(Udp, TheLimitOfAnAddressIsOneForAllThreads) {
    constexpr std::uint32_t kMost = 6;
    constexpr std::size_t kClients = 64;
    const NamedUdpServer server('s');
    Options options;
    options.threads = 4;
    options.limits.udp_sessions_per_client = kMost;
    const auto rig = udp_rig({.endpoints = {server.address()}}, options);
    for (int round = 0; round < 2; ++round) {
        std::vector<Fd> clients;
        for (std::size_t i = 0; i < kClients; ++i) {
            clients.push_back(connect_to(rig.address, SOCK_DGRAM));
            ASSERT_TRUE(send_all(clients.back(), "x"));
        }
        const auto lost_so_far = (kClients - kMost) * static_cast<std::size_t>(round + 1);
        EXPECT_TRUE(eventually([&] { return lost(rig.metrics(), DatagramLoss::kSessionLimit) >= lost_so_far; }));
        EXPECT_EQ(rig.relay->metrics().sessions_open, kMost);
        const Fd elsewhere(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        const KernelAddress own({*net::IpAddress::parse("127.0.0.2"), 0});
        const KernelAddress to(rig.address);
        ASSERT_EQ(::bind(elsewhere.get(), own.get(), own.size), 0);
        ASSERT_EQ(::connect(elsewhere.get(), to.get(), to.size), 0);
        EXPECT_EQ(answer_to(elsewhere, ""), "s") << "another address has room of its own";
        // All sessions end, and the room is there again.
        ASSERT_TRUE(rig.relay->set_pool(rig.service, {}));
        EXPECT_EQ(rig.relay->metrics().sessions_open, 0U);
        ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {server.address()}}));
    }
}

// Of several addresses, a wildcard listener answers from the one that was asked.
TEST(Udp, AnswersComeFromTheAddressThatWasAsked) {
    const NamedUdpServer server('s');
    ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.address = {net::IpAddress(net::Family::kIpv4), 0};
    const Pool pool{.endpoints = {server.address()}};
    const auto relay = Relay::start({.threads = 2}).value();
    spec.service = relay->add_service(pool);
    const auto port = relay->address(relay->listen(spec).value()).value().port;
    for (const auto* text : {"127.0.0.1", "127.0.0.2", "127.1.2.3"}) {
        const Fd client = connect_to({*net::IpAddress::parse(text), port}, SOCK_DGRAM);
        EXPECT_EQ(answer_to(client, "x"), "sx") << text;  // connected: from elsewhere nothing would come
    }
}

TEST(Udp, AHandOverLosesNoAnswerThatIsOnItsWay) {
    const auto endpoint = bind_free(SOCK_DGRAM);
    const Pool pool{.endpoints = {endpoint.address}};
    const auto rig = udp_rig(pool);
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    ASSERT_TRUE(send_all(client, "x"));
    KernelAddress from;
    char byte = 0;
    ASSERT_EQ(::recvfrom(endpoint.socket.get(), &byte, 1, 0, from.get(), &from.size), 1);
    auto sockets = rig.relay->duplicate(rig.listener).value();
    const auto next = Relay::start({.threads = 2}).value();
    const auto service = next->add_service(pool);
    ASSERT_TRUE(next->adopt({.protocol = net::Protocol::kUdp, .service = service}, std::move(sockets)));
    rig.relay->close(rig.listener);
    ASSERT_EQ(::sendto(endpoint.socket.get(), "y", 1, 0, from.get(), from.size), 1);
    EXPECT_EQ(receive(client, 1), "y");
    ASSERT_TRUE(send_all(client, "z"));
    EXPECT_TRUE(eventually([&] { return next->metrics(service).value().sessions_open == 1; }));
}

}  // namespace
}  // namespace ghostip::relay::testing
