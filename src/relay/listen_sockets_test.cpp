// Which ports a listener gets, and who else may have them.
#include "relay/listen_sockets.h"

#include <sys/socket.h>

#include <map>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

// An address where no other test is, with a port that is taken elsewhere: so nobody gets it for a client.
class Ports : public ::testing::TestWithParam<net::Protocol> {
  protected:
    [[nodiscard]] static int type() { return GetParam() == net::Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM; }
    [[nodiscard]] Result<std::vector<Fd>> open(unsigned count, PortUse port = PortUse::kOwn) const {
        ListenerSpec spec{.protocol = GetParam(), .address = at_, .port = port};
        return open_sockets(spec, count, {}, {});
    }
    // As another program would.
    [[nodiscard]] Fd held(bool reuse_address, bool reuse_port) const {
        Fd socket(::socket(AF_INET, type() | SOCK_CLOEXEC, 0));
        const int yes = 1;
        if (reuse_address) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (reuse_port) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
        const KernelAddress address(at_);
        EXPECT_EQ(::bind(socket.get(), address.get(), address.size), 0);
        if (GetParam() == net::Protocol::kTcp) {
            EXPECT_EQ(::listen(socket.get(), 1), 0);
        }
        return socket;
    }
    const Bound elsewhere_ = bind_free(type());
    const SocketAddress at_{*net::IpAddress::parse("127.77.0.1"), elsewhere_.address.port};
};

INSTANTIATE_TEST_SUITE_P(ListenSockets, Ports, ::testing::Values(net::Protocol::kTcp, net::Protocol::kUdp),
                         [](const auto& row) { return std::string(net::protocol_name(row.param)); });

TEST_P(Ports, OfAnotherProgramAreRefusedAlsoWhereThatWouldShareThem) {
    for (const bool reuse_address : {false, true})
        for (const bool reuse_port : {false, true})
            for (const unsigned count : {1U, 3U}) {
                const Fd theirs = held(reuse_address, reuse_port);
                const auto ours = open(count);
                ASSERT_FALSE(ours) << reuse_address << reuse_port << count;
                EXPECT_EQ(ours.error().code, EADDRINUSE);
                EXPECT_NE(
                    ours.error().message.find("bind " + std::string(net::protocol_name(GetParam())) + " " + at_.text()),
                    std::string::npos)
                    << ours.error().message;
            }
}

TEST_P(Ports, OfAnotherListenerAreRefused) {
    const auto first = open(2);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_FALSE(open(1));
    EXPECT_FALSE(open(2));
}

TEST_P(Ports, MayBeSharedWithAPredecessor) {
    const auto first = open(1);
    ASSERT_TRUE(first) << first.error().message;
    const auto next = open(2, PortUse::kShared);
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(next->size(), 2U);
}

// Whom the kernel leads to which of the sockets: each has a part, though the first was bound as the only one.
TEST_P(Ports, SpreadClientsOverTheirSockets) {
    for (const std::uint16_t port : {at_.port, std::uint16_t{0}}) {
        ListenerSpec spec{.protocol = GetParam(), .address = {at_.address, port}};
        const auto sockets = open_sockets(spec, 3, {}, {});
        ASSERT_TRUE(sockets) << sockets.error().message;
        std::map<int, int> led;
        int sum = 0;
        const auto look = [&] {
            for (const auto& socket : *sockets) {
                char byte = 0;
                while (GetParam() == net::Protocol::kTcp ? static_cast<bool>(accept_one(socket))
                                                         : ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 1) {
                    ++led[socket.get()];
                    ++sum;
                }
            }
            return sum;
        };
        for (int i = 1; i <= 90; ++i) {
            const Fd client = connect_to(spec.address, type());
            ASSERT_TRUE(client && send_all(client, "x"));
            ASSERT_TRUE(eventually([&] { return look() == i; })) << port;
        }
        EXPECT_EQ(led.size(), 3U) << port;
    }
}

}  // namespace
}  // namespace ghostip::relay::testing
