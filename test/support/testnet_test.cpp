// The test network tested on rules written by hand: what it reports is what the rules say.
#include <gtest/gtest.h>

#include "support/conntrack.h"
#include "support/probe.h"
#include "support/twin.h"

namespace ghostip::testnet {
namespace {

constexpr std::array kProtocols{net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp};

class TestNetwork : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        auto made = Topology::create();
        ASSERT_TRUE(made) << made.error().message;
        topology_ = std::move(made).value();
        auto engine = ProbeEngine::create(*topology_);
        ASSERT_TRUE(engine) << engine.error().message;
        engine_ = std::move(engine).value();
        ASSERT_TRUE(engine_->listen({80, 81, 8080}));
    }
    static void TearDownTestSuite() {
        engine_.reset();
        topology_.reset();
    }
    void SetUp() override {
        rules("flush ruleset\n");
        ASSERT_TRUE(flush_conntrack(topology_->node()));
    }

    static void rules(const std::string& text) {
        const auto ran = topology_->node().must_run({"nft", "-f", "-"}, text);
        ASSERT_TRUE(ran) << ran.error().message;
    }
    static Probe probe(Place from, std::string_view source, std::string_view destination, net::Protocol protocol,
                       net::Family family, std::uint16_t port = 80) {
        return {from, in_family(family, source), in_family(family, destination), protocol, port};
    }
    static std::vector<Outcome> run(const std::vector<Probe>& probes) {
        auto outcomes = engine_->run(probes);
        EXPECT_TRUE(outcomes) << outcomes.error().message;
        return outcomes.value_or({});
    }

    static std::unique_ptr<Topology> topology_;
    static std::unique_ptr<ProbeEngine> engine_;
};
std::unique_ptr<Topology> TestNetwork::topology_;
std::unique_ptr<ProbeEngine> TestNetwork::engine_;

TEST_F(TestNetwork, WithoutRulesEveryPacketArrivesAsItLeft) {
    struct Case {
        Place from;
        const char* source;
        const char* destination;
        Place arrives;
    };
    const std::vector<Case> cases{{Place::kPods, "10.0.0.2", "172.30.0.41", Place::kOutside},
                                  {Place::kPods, "10.0.0.2", "10.180.0.1", Place::kPods},
                                  {Place::kPods, "10.180.0.1", "10.180.0.1", Place::kPods},
                                  {Place::kPods, "10.0.0.2", "10.181.0.1", Place::kRemote},
                                  {Place::kPods, "10.0.0.2", "192.168.1.2", Place::kNode},
                                  {Place::kOutside, "203.0.113.2", "192.168.0.2", Place::kNode},
                                  {Place::kOutside, "203.0.113.2", "1.2.3.4", Place::kOutside},
                                  {Place::kOutside, "203.0.113.130", "10.181.0.1", Place::kRemote},
                                  {Place::kRemote, "10.181.0.1", "10.181.0.1", Place::kRemote},
                                  {Place::kNode, "192.168.0.2", "10.180.0.1", Place::kPods},
                                  {Place::kNode, "192.168.0.2", "192.168.99.11", Place::kNode},
                                  {Place::kNode, "192.168.1.2", "1.2.3.4", Place::kOutside}};
    std::vector<Probe> probes;
    std::vector<Place> arrives;
    for (const auto& c : cases)
        for (const auto protocol : kProtocols)
            for (const auto family : net::kFamilies) {
                probes.push_back(probe(c.from, c.source, c.destination, protocol, family));
                arrives.push_back(c.arrives);
            }
    const auto outcomes = run(probes);
    ASSERT_EQ(outcomes.size(), probes.size());
    for (std::size_t i = 0; i < probes.size(); ++i) {
        EXPECT_TRUE(outcomes[i].untranslated(probes[i])) << probes[i].text() << ": " << outcomes[i].text();
        EXPECT_EQ(outcomes[i].source, probes[i].source) << probes[i].text() << ": " << outcomes[i].text();
        EXPECT_EQ(place_name(outcomes[i].place), place_name(arrives[i])) << probes[i].text();
    }
}

TEST_F(TestNetwork, TellsTranslatedMasqueradedRejectedDroppedAndResetApart) {
    for (const auto* family : {"ip", "ip6"}) {
        const auto f = std::string_view(family) == "ip" ? net::Family::kIpv4 : net::Family::kIpv6;
        const auto a = [&](std::string_view text) { return in_family(f, text).text(); };
        rules(fmt::format(R"(
            table {0} t {{
                chain pre {{
                    type nat hook prerouting priority -100;
                    {0} daddr {1} dnat to {2}
                    {0} daddr {3} dnat to {4}
                }}
                chain out {{
                    type nat hook output priority -100;
                    {0} daddr {1} dnat to {2}
                }}
                chain post {{
                    type nat hook postrouting priority 100;
                    {0} daddr {4} masquerade fully-random
                }}
                chain forwarded {{
                    type filter hook forward priority 0;
                    {0} daddr {5} reject
                    {0} daddr {6} drop
                }}
                chain sent {{
                    type filter hook output priority 0;
                    {0} daddr {5} reject
                    {0} daddr {6} drop
                }}
            }}
            )",
                          family, a("172.30.0.1"), a("10.180.0.1"), a("172.30.0.2"), a("10.181.0.1"), a("172.30.0.3"),
                          a("172.30.0.4")));
    }
    for (const auto family : net::kFamilies)
        for (const auto protocol : kProtocols) {
            const std::vector<Probe> probes{probe(Place::kPods, "10.0.0.2", "172.30.0.1", protocol, family),
                                            probe(Place::kOutside, "203.0.113.2", "172.30.0.2", protocol, family),
                                            probe(Place::kPods, "10.0.0.2", "172.30.0.3", protocol, family),
                                            probe(Place::kPods, "10.0.0.2", "172.30.0.4", protocol, family),
                                            probe(Place::kNode, "192.168.0.2", "172.30.0.1", protocol, family),
                                            probe(Place::kNode, "192.168.0.2", "172.30.0.3", protocol, family),
                                            probe(Place::kNode, "192.168.0.2", "172.30.0.4", protocol, family),
                                            probe(Place::kPods, "10.180.0.1", "172.30.0.1", protocol, family)};
            const auto seen = run(probes);
            ASSERT_EQ(seen.size(), probes.size());
            const auto text = [&](std::size_t i) { return probes[i].text() + ": " + seen[i].text(); };
            EXPECT_EQ(seen[0].seen, Seen::kAnswered) << text(0);
            EXPECT_EQ(seen[0].endpoint, in_family(family, "10.180.0.1")) << text(0);
            EXPECT_EQ(seen[0].source, probes[0].source) << text(0);
            EXPECT_EQ(seen[1].endpoint, in_family(family, "10.181.0.1")) << text(1);
            EXPECT_EQ(seen[1].seen, Seen::kAnswered) << text(1);
            EXPECT_EQ(seen[1].source, topology_->link_address(Place::kRemote, family)) << text(1);
            EXPECT_EQ(seen[2].seen, Seen::kRejected) << text(2);
            EXPECT_EQ(seen[3].seen, Seen::kDropped) << text(3);
            EXPECT_FALSE(seen[3].arrived) << text(3);
            EXPECT_EQ(seen[4].endpoint, in_family(family, "10.180.0.1")) << text(4);
            EXPECT_EQ(seen[4].seen, Seen::kAnswered) << text(4);
            EXPECT_EQ(seen[5].seen, Seen::kRejected) << text(5);
            EXPECT_EQ(seen[6].seen, Seen::kDropped) << text(6);
            // From itself, through an address of its own Service, its source kept: the way back goes by the node.
            EXPECT_EQ(seen[7].seen, Seen::kAnswered) << text(7);
        }
}

TEST_F(TestNetwork, AResetIsNoRejection) {
    const auto seen =
        run({probe(Place::kPods, "10.0.0.2", "10.180.0.1", net::Protocol::kTcp, net::Family::kIpv4, 4242)});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].seen, Seen::kReset) << seen[0].text();
}

TEST_F(TestNetwork, SaysWhenOnlyTheAnswerIsLost) {
    rules(
        "table ip t {\n chain forwarded {\n type filter hook forward priority 0;\n ip saddr 10.180.0.1 drop\n }\n}\n");
    const auto seen = run({probe(Place::kPods, "10.0.0.2", "10.180.0.1", net::Protocol::kUdp, net::Family::kIpv4)});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].seen, Seen::kDropped);
    EXPECT_TRUE(seen[0].arrived);
}

TEST_F(TestNetwork, AddressesCanBeMovedElsewhere) {
    const auto address = in_family(net::Family::kIpv4, "10.180.0.9");
    ASSERT_TRUE(topology_->move({{address, Place::kRemote}}));
    const std::vector<Probe> probes{
        probe(Place::kPods, "10.0.0.2", "10.180.0.9", net::Protocol::kTcp, net::Family::kIpv4)};
    EXPECT_EQ(place_name(run(probes).front().place), "remote");
    EXPECT_EQ(topology_->place_of(address), Place::kRemote);
    ASSERT_TRUE(topology_->move({}));
    EXPECT_EQ(place_name(run(probes).front().place), "pods");
}

TEST(Twin, MapsTextAsTheHeaderSays) {
    EXPECT_EQ(twin_text("ip: 192.168.0.2"), "ip: 2001:db8::1");
    EXPECT_EQ(twin_text("192.168.1.2, 192.168.0.0/24"), "2001:db8:1::2, 2001:db8::/64");
    EXPECT_EQ(twin_text("\"10.180.0.1\""), "\"fd00:10::ab4:1\"");
    EXPECT_EQ(twin_text("203.0.113.0/25 203.0.113.130"), "2001:db8:203::cb00:7100/121 2001:db8:203::cb00:7182");
    EXPECT_EQ(twin_text("0.0.0.0/0 addressType: IPv4"), "::/0 addressType: IPv6");
    EXPECT_EQ(twin_text("10.0.0.0/8 1.2.3.004"), "fd00:10::/64 2001:db8:ffff::102:304");
}

}  // namespace
}  // namespace ghostip::testnet
