#include "kernel/sockets/listeners.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

namespace ghostip::kernel::sockets {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

net::IpAddress ip(std::string_view text) { return *net::IpAddress::parse(text); }

// As Linux 6.1 prints them on a machine with the least byte first, as all are that this is built for.
constexpr std::string_view kTcp =
    R"(  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0207A8C0:7580 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 13224450 1 000000 100 0 0 10 0
   1: 0100007F:2809 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13224451 1 000000 100 0 0 10 0
   2: 0207A8C0:7580 0307A8C0:9C40 01 00000000:00000000 00:00000000 00000000     0        0 13224452 1 000000 20 4 30 10 -1
   3: nonsense:zz
)";
constexpr std::string_view kUdp6 =
    R"(  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  77: 00000000000000000000000000000000:7565 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 000000 0
  78: B80D0120000000000000000001000000:0035 B80D0120000000000000000002000000:0035 01 00000000:00000000 00:00000000 00000000     0        0 78 2 000000 0
  79: B80D0120000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 79 2 000000 0
)";

TEST(Listeners, AreThoseThatTakeWhatComesFromAnybody) {
    EXPECT_THAT(listening_in(kTcp, net::Family::kIpv4, net::Protocol::kTcp),
                ElementsAre(Entry{ip("192.168.7.2"), 30080, 13224450}, Entry{ip("127.0.0.1"), 10249, 13224451}));
    EXPECT_THAT(listening_in(kUdp6, net::Family::kIpv6, net::Protocol::kUdp),
                ElementsAre(Entry{ip("::"), 30053, 77}, Entry{ip("2001:db8::1"), 53, 79}));
    EXPECT_THAT(listening_in("", net::Family::kIpv4, net::Protocol::kTcp), IsEmpty());
}

struct Open {
    Fd socket;
    std::uint16_t port = 0;
};
Open open_at_loopback(int type) {
    Open open{Fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0)), 0};
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(open.socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    if (type == SOCK_STREAM) {
        EXPECT_EQ(::listen(open.socket.get(), 1), 0);
    }
    socklen_t length = sizeof at;
    EXPECT_EQ(::getsockname(open.socket.get(), reinterpret_cast<sockaddr*>(&at), &length), 0);
    open.port = ntohs(at.sin_port);
    return open;
}

TEST(Listeners, AreFoundWithTheirProcess) {
    for (const auto& [type, protocol] :
         {std::pair{SOCK_STREAM, net::Protocol::kTcp}, std::pair{SOCK_DGRAM, net::Protocol::kUdp}}) {
        auto open = open_at_loopback(type);
        const auto found = listeners_at(ip("127.0.0.1"), protocol, open.port);
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(found->size(), 1U);
        EXPECT_EQ(found->front().address, ip("127.0.0.1"));
        EXPECT_THAT(found->front().processes, Contains(Field(&Process::id, ::getpid())));
        const auto elsewhere = listeners_at(ip("127.0.0.2"), protocol, open.port);
        ASSERT_TRUE(elsewhere) << elsewhere.error().message;
        EXPECT_THAT(*elsewhere, IsEmpty());
    }
}

}  // namespace
}  // namespace ghostip::kernel::sockets
