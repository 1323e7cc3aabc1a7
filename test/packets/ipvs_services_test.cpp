// What only the mode ipvs has to answer for, with the real `ghostip proxy`: virtual servers of somebody else, excluded
// ranges, source ports of what is masqueraded, connections of a Service whose endpoint leaves. Runs inside user-mode
// Linux. More of it, without the program: test/kernel/ipvs_dataplane_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "packets/echo.h"
#include "packets/live_node.h"
#include "support/probe.h"

namespace ghostip::packets {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;

constexpr std::chrono::seconds kPatience(10);
constexpr std::uint16_t kFirstMasqueradePort = 32768;  // node ports end before

class IpvsServices : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(GetParam()));
        live_->set_mode("ipvs-legacy");
        ASSIGN_OR_RETURN(engine_, testnet::ProbeEngine::create(live_->topology()));
        return engine_->listen({kProbePort, kProbeTarget});
    }
    void write(const ServiceSpec& one) { live_->write("service.yaml", manifest({one})); }
    void start() {
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
    }
    [[nodiscard]] std::string host_port(std::string_view address, int port) const {
        return net::host_port(live_->address(address), static_cast<std::uint16_t>(port));
    }
    // Of the whole node, as ipvsadm would have them back.
    [[nodiscard]] std::string servers() const {
        const auto saved = live_->node().must_run({"ipvsadm", "-Sn"});
        return saved ? *saved : saved.error().message;
    }
    [[nodiscard]] std::vector<testnet::Outcome> ask(Place from, std::string_view source, std::string_view to,
                                                    std::uint16_t port, int times) {
        const std::vector<Probe> probes(static_cast<std::size_t>(times),
                                        {from, live_->address(source), live_->address(to), net::Protocol::kTcp, port});
        auto outcomes = engine_->run(probes);
        EXPECT_TRUE(outcomes) << outcomes.error().message;
        return outcomes ? *outcomes : std::vector<testnet::Outcome>();
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
};

TEST_P(IpvsServices, ServersOfSomebodyElseAreNeverTouched) {
    const auto foreign = host_port("9.9.9.9", 80);
    const auto taken = host_port("1.2.3.4", kProbePort);
    ASSERT_TRUE(live_->node().must_run({"ipvsadm", "-A", "-t", foreign, "-s", "wlc"}));
    ASSERT_TRUE(live_->node().must_run(
        {"ipvsadm", "-a", "-t", foreign, "-r", host_port("10.180.0.9", kProbeTarget), "-m", "-w", "9"}));
    ASSERT_TRUE(live_->node().must_run({"ipvsadm", "-A", "-t", taken, "-s", "lc"}));
    const auto before = servers();
    // One of the destinations is somebody else's; all others are served.
    write({"s", "172.30.0.1", "1.2.3.4", 30001, false, {"10.180.0.1"}, false});
    start();
    EXPECT_THAT(live_->log(), HasSubstr(fmt::format("the virtual server TCP {} is there already and not ours", taken)));
    for (const auto& outcome : ask(Place::kPods, "10.0.0.2", "172.30.0.1", kProbePort, 3))
        EXPECT_EQ(outcome.seen, Seen::kAnswered) << outcome.text();
    live_->stop(SIGTERM);
    live_->write("service.yaml", "");
    start();
    EXPECT_EQ(servers(), before) << "whatever comes and goes";
    live_->stop(SIGTERM);
    ASSERT_TRUE(live_->run_ghostip("cleanup", false));
    EXPECT_EQ(servers(), before);
}

// An external IP that is one of the node's addresses, and a node port of that number; and a virtual server of somebody
// else's at another one. All other addresses serve the node port.
TEST_P(IpvsServices, ANodePortDoesWithoutAnAddressThatIsTaken) {
    const auto foreign = host_port("192.168.99.11", kProbePort);
    ASSERT_TRUE(live_->node().must_run({"ipvsadm", "-A", "-t", foreign, "-s", "wlc"}));
    const ServiceSpec port{"port", "172.30.0.1", "", kProbePort, false, {"10.180.0.1"}, false};
    const ServiceSpec other{"other", "172.30.0.2", "192.168.1.2", 0, false, {"10.180.0.2"}, false};
    const auto answers = [&](std::string_view to, std::string_view endpoint) {
        for (const auto& outcome : ask(Place::kOutside, "203.0.113.2", to, kProbePort, 3)) {
            EXPECT_EQ(outcome.seen, Seen::kAnswered) << to << ": " << outcome.text();
            EXPECT_EQ(outcome.endpoint, live_->address(endpoint)) << to;
        }
    };
    live_->write("service.yaml", manifest({port, other}));
    start();
    answers("192.168.0.2", "10.180.0.1");
    answers("192.168.1.2", "10.180.0.2");
    EXPECT_THAT(servers(), HasSubstr(fmt::format("-A -t {} -s wlc\n", foreign)));
    EXPECT_THAT(live_->log(),
                HasSubstr("another Service has the virtual server TCP " + host_port("192.168.1.2", kProbePort)));
    live_->write("service.yaml", manifest({port}));
    EXPECT_TRUE(wait_until(kPatience, [&] {
        const auto outcomes = ask(Place::kOutside, "203.0.113.2", "192.168.1.2", kProbePort, 1);
        return outcomes.size() == 1 && outcomes[0].seen == Seen::kAnswered &&
               outcomes[0].endpoint == live_->address("10.180.0.1");
    })) << "it is there again";
    live_->write("service.yaml", manifest({port, other}));
    EXPECT_TRUE(wait_until(kPatience, [&] {
        const auto outcomes = ask(Place::kOutside, "203.0.113.2", "192.168.1.2", kProbePort, 1);
        return outcomes.size() == 1 && outcomes[0].seen == Seen::kAnswered &&
               outcomes[0].endpoint == live_->address("10.180.0.2");
    }));
    answers("192.168.0.2", "10.180.0.1");
    live_->stop(SIGTERM);
    ASSERT_TRUE(live_->run_ghostip("cleanup", false));
    EXPECT_EQ(servers(), fmt::format("-A -t {} -s wlc\n", foreign));
}

TEST_P(IpvsServices, ExcludedRangesAreNeverTouched) {
    live_->add_flags({"--ipvs-exclude-cidrs", GetParam() == net::Family::kIpv4
                                                  ? "1.2.3.0/24"
                                                  : net::Prefix{live_->address("1.2.3.0").masked(120), 120}.text()});
    write({"s", "172.30.0.1", "1.2.3.4", 0, false, {"10.180.0.1"}, false});
    start();
    EXPECT_THAT(servers(), HasSubstr(host_port("172.30.0.1", kProbePort)));
    EXPECT_THAT(servers(), Not(HasSubstr(host_port("1.2.3.4", kProbePort))));
}

// A source port that is a node port would make the answer a packet to that node port (kubernetes/kubernetes#139276).
TEST_P(IpvsServices, MasqueradedSourcesHaveNoNodePorts) {
    write({"s", "172.30.0.1", "1.2.3.4", 30001, false, {"10.180.0.1", "10.181.0.1"}, false});
    start();
    std::size_t masqueraded = 0;
    for (const auto& [to, port] : {std::pair{"1.2.3.4", kProbePort}, std::pair{"192.168.0.2", std::uint16_t{30001}}})
        for (const auto& outcome : ask(Place::kOutside, "203.0.113.2", to, port, 100)) {
            ASSERT_EQ(outcome.seen, Seen::kAnswered) << outcome.text();
            EXPECT_NE(outcome.source, live_->address("203.0.113.2"));
            EXPECT_GE(outcome.source_port, kFirstMasqueradePort);
            ++masqueraded;
        }
    EXPECT_EQ(masqueraded, 200U);
}

// TCP stays with an endpoint that leaves until it ends; UDP goes to another one at once.
TEST_P(IpvsServices, AnEndpointLeavesUnderConnections) {
    const auto& pods = live_->topology().at(Place::kPods);
    const auto server = EchoServer::start(pods, GetParam(), kEchoTarget);
    ASSERT_TRUE(server) << server.error().message;
    write({"s", "172.30.0.1", "", 0, false, {"10.180.0.1"}});
    start();
    const auto to = live_->address("172.30.0.1");
    auto stream = EchoClient::open(pods, net::Protocol::kTcp, live_->address("10.0.0.2"), to, kEchoPort);
    auto datagrams = EchoClient::open(pods, net::Protocol::kUdp, live_->address("10.0.0.3"), to, kEchoPort);
    ASSERT_TRUE(stream && datagrams);
    for (auto* client : {&*stream, &*datagrams}) EXPECT_EQ(*client->ask(kPatience), live_->address("10.180.0.1"));

    write({"s", "172.30.0.1", "", 0, false, {"10.180.0.2"}});
    EXPECT_TRUE(wait_until(kPatience, [&] {
        auto fresh = EchoClient::open(pods, net::Protocol::kTcp, live_->address("10.0.0.4"), to, kEchoPort);
        const auto answer = fresh ? fresh->ask(kPatience) : Result<net::IpAddress>(fresh.error());
        return answer && *answer == live_->address("10.180.0.2");
    }));
    const auto still = stream->ask(kPatience);
    ASSERT_TRUE(still) << still.error().message;
    EXPECT_EQ(*still, live_->address("10.180.0.1")) << "what is connected stays";
    EXPECT_TRUE(wait_until(kPatience, [&] {
        const auto answer = datagrams->ask(std::chrono::milliseconds(300));
        return answer && *answer == live_->address("10.180.0.2");
    })) << "a UDP flow moves";

    // Also over a restart.
    live_->stop(SIGKILL);
    start();
    const auto after = stream->ask(kPatience);
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_EQ(*after, live_->address("10.180.0.1"));
}

// What is written of sysctls is what this kernel needs; the node has them when the proxy serves.
TEST_P(IpvsServices, SettingsOfTheStart) {
    live_->add_flags({"--ipvs-strict-arp", "--ipvs-tcp-timeout=1h", "--ipvs-udp-timeout=90s"});
    write({"s", "172.30.0.1", "", 0, false, {"10.180.0.1"}, false});
    start();
    for (const auto& [name, value] :
         {std::pair{"vs/conntrack", "1"}, std::pair{"vs/conn_reuse_mode", "1"}, std::pair{"vs/expire_nodest_conn", "1"},
          std::pair{"vs/expire_quiescent_template", "1"}, std::pair{"ip_forward", "1"},
          std::pair{"conf/all/arp_ignore", "1"}, std::pair{"conf/all/arp_announce", "2"}}) {
        const auto read = live_->node().must_run({"cat", std::string("/proc/sys/net/ipv4/") + name});
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_EQ(*read, std::string(value) + "\n") << name;
    }
    const auto timeouts = live_->node().must_run({"ipvsadm", "-L", "--timeout"});
    ASSERT_TRUE(timeouts) << timeouts.error().message;
    EXPECT_THAT(*timeouts, HasSubstr("3600 120 90")) << "the one that nobody named is the kernel's";
}

INSTANTIATE_TEST_SUITE_P(Families, IpvsServices, ::testing::ValuesIn(net::kFamilies),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
