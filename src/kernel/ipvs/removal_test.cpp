#include "kernel/ipvs/removal.h"

#include <gtest/gtest.h>

namespace ghostip::kernel::ipvs {
namespace {

TEST(IpvsRemoval, CountsWhatTheKernelLists) {
    const auto servers = parse_servers(R"(IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr persistent 10800 FFFFFFFF
  -> C0A80002:192B      Masq    1      2          7
  -> C0A80003:192B      Masq    0      40         0
UDP  0A60000A:0035 rr
TCP  [fd00:0010:0096:0000:0000:0000:0000:0001]:0050 rr
  -> [fd00:0001:0000:0000:0000:0000:0000:0005]:1F90      Masq    1      1          0
)");
    EXPECT_EQ(servers.virtual_servers, 3U);
    EXPECT_EQ(servers.active_connections, 43U);
}

TEST(IpvsRemoval, OddTextCountsForNothing) {
    for (const auto* text : {"", "\n", "  ->", "  -> a b c d e", "  -> a b c -1 0", " TCPX", "->\n->\n"}) {
        const auto servers = parse_servers(text);
        EXPECT_EQ(servers.virtual_servers, 0U) << text;
        EXPECT_EQ(servers.active_connections, 0U) << text;
    }
}

}  // namespace
}  // namespace ghostip::kernel::ipvs
