// What devices do, as one story: the twin has to do the same as the kernel, so both are held to it (memory_test.cpp,
// and test/kernel/link_kernel_test.cpp). For tests.
#pragma once

#include <algorithm>
#include <cerrno>

#include <gtest/gtest.h>

#include "kernel/link/link.h"

namespace ghostip::kernel::link {

inline std::vector<net::IpAddress> addresses_of(Links& links, const std::string& device) {
    const auto all = links.addresses();
    EXPECT_TRUE(all) << (all ? "" : all.error().message);
    std::vector<net::IpAddress> found;
    if (!all) return found;
    for (const auto& each : *all) {
        if (each.device != device) continue;
        EXPECT_EQ(each.prefix_length, net::address_bits(each.address.family())) << each.address.text();
        found.push_back(each.address);
    }
    std::sort(found.begin(), found.end());
    return found;
}

// With a device "other" that is no dummy.
inline void hold_to_contract(Links& links) {
    const auto ip = [](std::string_view text) { return net::IpAddress::parse(text).value(); };
    const std::vector<net::IpAddress> three{ip("10.96.0.1"), ip("10.96.0.10"), ip("fd00:96::1")};
    EXPECT_FALSE(links.find("d0")->has_value());
    EXPECT_EQ(links.delete_dummy("d0").value_or(true), false);
    EXPECT_EQ(links.add_addresses("d0", three).error().code, ENODEV);
    EXPECT_EQ(links.create_dummy("").error().code, EINVAL);
    EXPECT_EQ(links.create_dummy("a-name-of-16-byt").error().code, EINVAL);

    const auto made = links.ensure_dummy("d0");
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_TRUE(links.ensure_dummy("d0"));
    EXPECT_EQ(links.create_dummy("d0").error().code, EEXIST);
    EXPECT_EQ(*links.find("d0"), (Device{"d0", "dummy", false}));
    EXPECT_TRUE(addresses_of(links, "d0").empty());

    const auto added = links.add_addresses("d0", three);
    ASSERT_TRUE(added) << added.error().message;
    EXPECT_TRUE(added->empty());
    EXPECT_EQ(addresses_of(links, "d0"), three);
    EXPECT_TRUE(links.add_addresses("d0", three)->empty()) << "what is there is refused";
    EXPECT_EQ(addresses_of(links, "d0"), three);
    EXPECT_TRUE(
        links.remove_addresses("d0", std::vector{three[0], three[2], ip("10.96.0.99"), ip("fd00::99")})->empty())
        << "what is not there is refused";
    EXPECT_EQ(addresses_of(links, "d0"), std::vector{three[1]});

    EXPECT_EQ(links.ensure_dummy("other").error().code, EINVAL);
    EXPECT_EQ(links.add_addresses("other", three).error().code, EINVAL);
    EXPECT_EQ(links.remove_addresses("other", three).error().code, EINVAL);
    EXPECT_EQ(links.delete_dummy("other").error().code, EINVAL);
    EXPECT_TRUE(links.find("other")->has_value());

    EXPECT_EQ(links.delete_dummy("d0").value_or(false), true);
    EXPECT_FALSE(links.find("d0")->has_value());
    EXPECT_TRUE(addresses_of(links, "d0").empty());
}

}  // namespace ghostip::kernel::link
