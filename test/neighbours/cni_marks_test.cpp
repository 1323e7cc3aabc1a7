// Beside a container network that marks packets and routes by the mark: its bits decide the route of translated packets
// too, ours never leaves the node, and neither sees the other's.
#include <gtest/gtest.h>

#include <string>

#include <fmt/format.h>

#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

// Packets of one client get mark 0x80 and are routed by a table of their own, in which other nodes' pods are behind
// `outside`. Connections remember the whole mark and get it back, as some networks do it; so our bit, too, if it was
// set when they looked. Counted is what leaves with our bit, or without theirs.
constexpr std::string_view kNetwork = R"(table FAMILY cni {
    chain arriving {
        type filter hook prerouting priority mangle;
        ct mark != 0 meta mark set ct mark
        FAMILY saddr { CLIENT } meta mark set meta mark or 0x80
    }
    chain sending {
        type route hook output priority mangle;
        FAMILY daddr { TARGETS } meta mark set meta mark or 0x80
    }
    chain forwarding {
        type filter hook forward priority mangle;
        ct state new ct mark set meta mark
    }
    chain leaving {
        type filter hook postrouting priority 300;
        ct state new meta mark and 0x4000 != 0 counter name ours
        ct state new ct original FAMILY saddr CLIENT meta mark and 0x80 == 0 counter name lost
        ct state new ct original FAMILY saddr CLIENT meta mark and 0x80 == 0x80 counter name kept
    }
    counter ours {}
    counter lost {}
    counter kept {}
}
)";

std::string filled(std::string text, std::string_view word, std::string_view by) {
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size()))
        text.replace(at, word.size(), by);
    return text;
}

class MarkingNetwork : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(host_, Host::create(GetParam()));
        const bool ipv4 = GetParam() == net::Family::kIpv4;
        auto text = filled(std::string(kNetwork), "FAMILY", ipv4 ? "ip" : "ip6");
        text = filled(std::move(text), "CLIENT", marked().text());
        text = filled(std::move(text), "TARGETS", host_->address("172.30.0.20").text());
        RETURN_IF_ERROR(host_->load("nft", text));
        const auto via = host_->address("192.168.254.10").text();
        const auto others = ipv4 ? std::string("10.181.0.0/16") : "fd00:10::ab5:0/112";
        RETURN_IF_ERROR(testnet::ip_batch(
            host_->node(), GetParam(),
            fmt::format(
                "route add {} via {} dev outside table 200 onlink\nrule add pref 100 fwmark 0x80/0x80 lookup 200\n",
                others, via)));
        return host_->start_proxy({{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.181.0.1"}},
                                   {"marked-on-node", "172.30.0.20", "", 0, {"10.181.0.2"}}});
    }
    [[nodiscard]] net::IpAddress marked() const { return host_->address("10.0.1.99"); }
    [[nodiscard]] int counted(const std::string& counter) const {
        const auto text = host_->node().must_run(
            {"nft", "list", "counter", GetParam() == net::Family::kIpv4 ? "ip" : "ip6", "cni", counter});
        if (!text) return -1;
        const auto at = text->find("packets ");
        return at == std::string::npos ? -1 : std::atoi(text->c_str() + at + 8);
    }
    // Where a translated packet was delivered, and what the endpoint saw.
    void expect(testnet::Probe probe, Place arrives, std::string_view endpoint, std::string_view source) {
        const auto outcome = host_->ask(probe);
        EXPECT_EQ(testnet::place_name(outcome.place), testnet::place_name(arrives)) << probe.text() << outcome.text();
        EXPECT_EQ(told(*host_, probe, outcome),
                  fmt::format("{} {}", net::host_port(host_->address(endpoint), 8080), source))
            << probe.text();
    }

    std::unique_ptr<Host> host_;
};

TEST_P(MarkingNetwork, RoutesTranslatedPacketsByItsMark) {
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
        auto plain = host_->probe(Place::kPods, "172.30.0.10", 80, protocol);
        auto by_mark = plain;
        by_mark.source = marked();
        expect(plain, Place::kRemote, "10.181.0.1", "kept");
        expect(by_mark, Place::kOutside, "10.181.0.1", "kept");

        // Masqueraded: both marks at once.
        by_mark.destination = plain.destination = host_->address("1.2.3.10");
        expect(plain, Place::kRemote, "10.181.0.1", "masqueraded");
        expect(by_mark, Place::kOutside, "10.181.0.1", "masqueraded");
        by_mark.destination = plain.destination = host_->address("192.168.0.2");
        by_mark.port = plain.port = 30010;
        expect(plain, Place::kRemote, "10.181.0.1", "masqueraded");
        expect(by_mark, Place::kOutside, "10.181.0.1", "masqueraded");

        // The node's own packets, marked before translation.
        expect(host_->probe(Place::kNode, "172.30.0.10", 80, protocol), Place::kRemote, "10.181.0.1", "masqueraded");
        expect(host_->probe(Place::kNode, "172.30.0.20", 80, protocol), Place::kOutside, "10.181.0.2", "masqueraded");
    }
    EXPECT_EQ(counted("ours"), 0);
    EXPECT_EQ(counted("lost"), 0);
    EXPECT_GT(counted("kept"), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, MarkingNetwork, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::neighbours
