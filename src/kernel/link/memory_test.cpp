#include "kernel/link/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/link/contract_testing.h"

namespace ghostip::kernel::link {
namespace {

using ::testing::ElementsAre;

TEST(MemoryLinks, DoAsTheKernelDoes) {
    MemoryLinks links;
    links.add_device({"other", "veth", true});
    hold_to_contract(links);
    EXPECT_EQ(links.counters().added, 3U);
    EXPECT_EQ(links.counters().removed, 2U);
}

TEST(MemoryLinks, WhatIsToFail) {
    MemoryLinks links;
    links.add_device({"eth0", "", true});
    links.add_address({"eth0", net::IpAddress::parse("192.0.2.1").value(), 24});
    links.fail_call(1, ENOMEM);
    EXPECT_EQ(links.create_dummy("d0").error().code, ENOMEM);
    ASSERT_TRUE(links.create_dummy("d0"));
    links.set_refused(net::Family::kIpv6);
    const std::vector both{net::IpAddress::parse("10.0.0.1").value(), net::IpAddress::parse("fd00::1").value()};
    const auto refusals = links.add_addresses("d0", both);
    ASSERT_EQ(refusals->size(), 1U);
    EXPECT_EQ(refusals->front().address, 1U);
    EXPECT_EQ(refusals->front().error.message, "add addresses to device d0: fd00::1: Permission denied");
    EXPECT_THAT(*links.addresses(), ElementsAre(DeviceAddress{"d0", both[0], 32},
                                                DeviceAddress{"eth0", net::IpAddress::parse("192.0.2.1").value(), 24}));
}

}  // namespace
}  // namespace ghostip::kernel::link
