#include "net/special_range.h"

#include <gtest/gtest.h>

namespace ghostip::net {
namespace {

TEST(SpecialRange, WhatTheApiServerRefusesAsAnEndpoint) {
    struct Case {
        const char* address;
        SpecialRange range;
    };
    using enum SpecialRange;
    const Case cases[] = {
        {"0.0.0.0", kUnspecified},
        {"0.0.0.1", kNone},
        {"127.0.0.1", kLoopback},
        {"127.255.255.255", kLoopback},
        {"126.255.255.255", kNone},
        {"128.0.0.0", kNone},
        {"169.254.0.0", kLinkLocal},
        {"169.254.169.254", kLinkLocal},
        {"169.253.255.255", kNone},
        {"169.255.0.0", kNone},
        {"224.0.0.0", kLinkLocalMulticast},
        {"224.0.0.255", kLinkLocalMulticast},
        {"224.0.1.0", kNone},
        {"10.0.0.1", kNone},
        {"::", kUnspecified},
        {"::1", kLoopback},
        {"::2", kNone},
        {"1::1", kNone},
        {"fe80::1", kLinkLocal},
        {"febf:ffff::1", kLinkLocal},
        {"fe7f::1", kNone},
        {"fec0::1", kNone},
        {"ff02::1", kLinkLocalMulticast},
        {"ff32::8000:1", kLinkLocalMulticast},
        {"ff01::1", kNone},
        {"ff05::2", kNone},
        {"fd00::1", kNone},
        {"::ffff:127.0.0.1", kLoopback},
        {"::ffff:0.0.0.0", kUnspecified},
        {"::ffff:169.254.1.1", kLinkLocal},
        {"::ffff:224.0.0.1", kLinkLocalMulticast},
        {"::ffff:10.0.0.1", kNone},
        {"1::ffff:127.0.0.1", kNone},
    };
    // parse(), since parse_lenient() would make IPv4 of the mapped ones.
    for (const auto& c : cases) {
        const auto address = IpAddress::parse(c.address);
        ASSERT_TRUE(address) << c.address;
        EXPECT_EQ(special_range(*address), c.range) << c.address;
        EXPECT_EQ(special_range_text(special_range(*address)).empty(), c.range == kNone) << c.address;
    }
}

}  // namespace
}  // namespace ghostip::net
