// Hosts of one family: the proxy starts, serves the family that is there, and says of the other one that it is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <string_view>

#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

class OneFamily : public ::testing::TestWithParam<net::Family> {};

// Takes the other family from the node, as an administrator would who never had it.
Result<void> leave_only(const Host& host) {
    if (host.family() == net::Family::kIpv4) return host.node().sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    // IPv4 cannot be switched off. Such a host has no address but loopback's.
    for (const auto* device : {"pods", "remote", "outside"})
        if (const auto ran = host.node().must_run({"ip", "-4", "addr", "flush", "dev", device}); !ran)
            return ran.error();
    for (const auto* own : {"192.168.0.2/32", "192.168.1.2/32", "192.168.99.11/32"})
        if (const auto ran = host.node().must_run({"ip", "-4", "addr", "del", own, "dev", "lo"}); !ran)
            return ran.error();
    return {};
}

TEST_P(OneFamily, IsServed) {
    auto made = Host::create(GetParam());
    ASSERT_TRUE(made) << made.error().message;
    auto& host = **made;
    const auto left = leave_only(host);
    ASSERT_TRUE(left) << left.error().message;
    const auto started = host.start_proxy({{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1"}}});
    ASSERT_TRUE(started) << started.error().message;
    const auto endpoint = net::host_port(host.address("10.180.0.1"), 8080);
    EXPECT_EQ(experience(host, Place::kPods, "172.30.0.10", 80), endpoint + " kept");
    EXPECT_EQ(experience(host, Place::kOutside, "1.2.3.10", 80), endpoint + " masqueraded");
    EXPECT_EQ(experience(host, Place::kOutside, "192.168.0.2", 30010), endpoint + " masqueraded");

    const std::string other(
        net::family_name(GetParam() == net::Family::kIpv4 ? net::Family::kIpv6 : net::Family::kIpv4));
    std::istringstream log(host.proxy_log());
    int said = 0;
    bool trouble = false;
    for (std::string line; std::getline(log, line);) {
        const auto holds = [&](std::string_view word) { return line.find(word) != std::string::npos; };
        if (holds(other) && (holds("not proxied") || holds("no address"))) ++said;
        if (holds(" warning ") || holds(" error ")) trouble = true;
    }
    EXPECT_EQ(said, 1) << host.proxy_log();
    EXPECT_FALSE(trouble) << host.proxy_log();
}

INSTANTIATE_TEST_SUITE_P(Families, OneFamily, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)) + "Only"; });

}  // namespace
}  // namespace ghostip::neighbours
