// Listeners that go from one relay to another while clients come.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

TEST(Handover, NobodyIsRefusedUnderAStreamOfConnections) {
    const NamedServer server('s');
    const Pool pool{.endpoints = {server.address()}};
    auto rig = testing::rig(pool);
    Stream stream(rig.address);
    for (const unsigned threads : {1U, 3U, 2U, 4U}) {
        ASSERT_TRUE(stream.more(50));
        auto next = Relay::start({.threads = threads}).value();
        const auto service = next->add_service(pool);
        auto sockets = rig.relay->duplicate(rig.listener).value();
        const auto listener = next->adopt({.service = service}, std::move(sockets));
        ASSERT_TRUE(listener) << listener.error().message;
        EXPECT_EQ(next->address(*listener).value(), rig.address);
        rig.relay->close(rig.listener);
        EXPECT_TRUE(rig.relay->wait_until_idle(kLongest)) << "what it had accepted ends by itself";
        rig.relay = std::move(next);
        rig.service = service;
        rig.listener = *listener;
        ASSERT_TRUE(stream.more(50));
        EXPECT_GE(rig.metrics().connections_opened, 50U);
    }
    stream.stop();
    EXPECT_EQ(stream.lost(), 0);
    rig.relay.reset();
    EXPECT_FALSE(connect_to(rig.address));
}

TEST(Handover, WhoWaitsInTheBacklogIsServed) {
    const NamedServer server('s');
    const auto listener = bind_free(SOCK_STREAM);
    const auto waiting = connect_many(listener.address, 20);
    const auto relay = Relay::start({.threads = 2}).value();
    const auto service = relay->add_service({.endpoints = {server.address()}});
    std::vector<Fd> sockets;
    sockets.emplace_back(::dup(listener.socket.get()));
    ASSERT_TRUE(relay->adopt({.service = service}, std::move(sockets)));
    for (const auto& client : waiting) EXPECT_EQ(receive(client, 1), "s");
}

TEST(Handover, AListenerThatIsClosedLeavesItsConnectionsAlone) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    const Fd client = connect_to(rig.address);
    const Fd server = accept_one(endpoint.socket);
    rig.relay->close_all_listeners();
    EXPECT_FALSE(connect_to(rig.address));
    EXPECT_FALSE(rig.relay->wait_until_idle(std::chrono::milliseconds(50)));
    ASSERT_TRUE(send_all(client, "still"));
    EXPECT_EQ(receive(server, 5), "still");
    EXPECT_FALSE(rig.relay->duplicate(rig.listener));
}

TEST(Handover, OneSocketServesAllThreads) {
    const NamedServer server('s');
    Options options;
    options.threads = 4;
    ListenerSpec spec;
    spec.sockets = 1;
    const auto rig = testing::rig({.endpoints = {server.address()}}, options, spec);
    EXPECT_EQ(rig.relay->duplicate(rig.listener).value().size(), 1U);
    Stream stream(rig.address);
    EXPECT_TRUE(stream.more(100));
    stream.stop();
    EXPECT_EQ(stream.lost(), 0);
}

// What the kernel lets wait at a listening socket.
std::uint32_t backlog_of(const Fd& socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    EXPECT_EQ(::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_sacked;  // of a listening socket (tcp_get_info() in Linux' net/ipv4/tcp.c)
}

TEST(Handover, AdoptedSocketsGetTheBacklogToo) {
    Options options;
    options.threads = 1;
    options.limits.backlog = 77;
    const auto relay = Relay::start(options).value();
    const auto service = relay->add_service({});
    const auto opened = relay->listen({.address = loopback(), .service = service}).value();
    EXPECT_EQ(backlog_of(relay->duplicate(opened).value().front()), 77U);
    const auto listener = bind_free(SOCK_STREAM, net::Family::kIpv4, 5);
    std::vector<Fd> sockets;
    sockets.emplace_back(::dup(listener.socket.get()));
    ASSERT_TRUE(relay->adopt({.service = service}, std::move(sockets)));
    EXPECT_EQ(backlog_of(listener.socket), 77U);
}

TEST(Handover, TellsWhatDoesNotFit) {
    const auto relay = Relay::start({.threads = 1}).value();
    const auto service = relay->add_service({});
    const auto adopt = [&](net::Protocol protocol, std::vector<Fd> sockets) {
        const auto result = relay->adopt({.protocol = protocol, .service = service}, std::move(sockets));
        return result ? std::string() : result.error().message;
    };
    const auto one = [](Fd socket) {
        std::vector<Fd> sockets;
        sockets.push_back(std::move(socket));
        return sockets;
    };
    EXPECT_NE(adopt(net::Protocol::kTcp, {}), "");
    EXPECT_NE(adopt(net::Protocol::kTcp, one(bind_free(SOCK_DGRAM).socket)).find("not TCP"), std::string::npos);
    EXPECT_NE(adopt(net::Protocol::kUdp, one(bind_free(SOCK_STREAM).socket)).find("not UDP"), std::string::npos);
    EXPECT_NE(adopt(net::Protocol::kTcp, one(dead_port().socket)).find("does not listen"), std::string::npos);
    auto two = one(bind_free(SOCK_STREAM).socket);
    two.push_back(bind_free(SOCK_STREAM).socket);
    EXPECT_NE(adopt(net::Protocol::kTcp, std::move(two)).find("others at"), std::string::npos);
    const auto nowhere = relay->listen({.address = {*net::IpAddress::parse("192.0.2.1"), 1}, .service = service});
    ASSERT_FALSE(nowhere);
    EXPECT_NE(nowhere.error().message.find("bind TCP 192.0.2.1:1"), std::string::npos) << nowhere.error().message;
    const auto sctp = relay->listen({.protocol = net::Protocol::kSctp, .address = loopback(), .service = service});
    EXPECT_FALSE(sctp);
}

}  // namespace
}  // namespace ghostip::relay::testing
