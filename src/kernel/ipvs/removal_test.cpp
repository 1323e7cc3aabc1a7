#include "kernel/ipvs/removal.h"

#include <gtest/gtest.h>

#include "kernel/ipvs/memory.h"

namespace ghostip::kernel::ipvs {
namespace {

TEST(IpvsRemoval, CountsConnectionsThatWouldBeCutOff) {
    MemoryIpvs ipvs;
    const auto address = *net::IpAddress::parse("10.96.0.1");
    const DestinationKey behind{*net::IpAddress::parse("10.0.0.1"), 8080};
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
        Service service;
        service.key = {address, protocol, 80, 0};
        Destination destination;
        destination.key = behind;
        ipvs.add_foreign({service, {destination}});
        ASSERT_TRUE(ipvs.set_connections(service.key, behind, {1, 20, 300}));
    }
    const auto services = ipvs.services().value();
    const auto servers = count(ipvs, services);
    ASSERT_TRUE(servers);
    EXPECT_EQ(servers->virtual_servers, 3U);
    EXPECT_EQ(servers->connections, 1U + 21U + 1U);
}

}  // namespace
}  // namespace ghostip::kernel::ipvs
