// Beside software that puts flows into conntrack zones: each zone is a table of connections of its own, and connections
// are translated right in all of them, also when two zones hold the same addresses and ports.
#include <gtest/gtest.h>

#include <string>

#include <fmt/format.h>

#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

struct Case {
    net::Family family;
    const char* name;
    const char* rules;  // of a prerouting chain before connection tracking
};

class Zones : public ::testing::TestWithParam<Case> {};

TEST_P(Zones, TranslatesInAllOfThem) {
    auto made = Host::create(GetParam().family);
    ASSERT_TRUE(made) << made.error().message;
    auto& host = **made;
    const auto rules =
        fmt::format("table inet zones {{\n chain pre {{ type filter hook prerouting priority raw;\n {}\n }}\n}}\n",
                    GetParam().rules);
    const auto loaded = host.load("nft", rules);
    ASSERT_TRUE(loaded) << loaded.error().message;
    const auto started = host.start_proxy(
        {{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1"}}, {"none", "172.30.0.40", "1.2.3.40", 30040, {}}});
    ASSERT_TRUE(started) << started.error().message;
    const auto endpoint = net::host_port(host.address("10.180.0.1"), 8080);
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
        SCOPED_TRACE(net::protocol_name(protocol));
        EXPECT_EQ(experience(host, Place::kPods, "172.30.0.10", 80, protocol), endpoint + " kept");
        EXPECT_EQ(experience(host, Place::kNode, "172.30.0.10", 80, protocol), endpoint + " masqueraded");
        EXPECT_EQ(experience(host, Place::kOutside, "1.2.3.10", 80, protocol), endpoint + " masqueraded");
        EXPECT_EQ(experience(host, Place::kOutside, "192.168.0.2", 30010, protocol), endpoint + " masqueraded");
        EXPECT_EQ(experience(host, Place::kPods, "172.30.0.40", 80, protocol), "rejected");
        EXPECT_EQ(experience(host, Place::kOutside, "192.168.0.2", 30040, protocol), "rejected");
    }
}

// `original`: replies are looked for in the common zone, as they come in by another interface.
constexpr const char* kOutside = R"(iifname "outside" ct original zone set 9)";
constexpr const char* kPodsAndOutside = R"(iifname "outside" ct original zone set 9
iifname "pods" ct original zone set 7)";

INSTANTIATE_TEST_SUITE_P(Rules, Zones,
                         ::testing::Values(Case{net::Family::kIpv4, "OneInterface", kOutside},
                                           Case{net::Family::kIpv6, "OneInterface", kOutside},
                                           Case{net::Family::kIpv4, "TwoInterfaces", kPodsAndOutside},
                                           Case{net::Family::kIpv6, "TwoInterfaces", kPodsAndOutside}),
                         [](const auto& one) {
                             return one.param.name + std::string(net::family_name(one.param.family));
                         });

}  // namespace
}  // namespace ghostip::neighbours
