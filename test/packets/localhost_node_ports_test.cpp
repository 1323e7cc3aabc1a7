// Node ports at localhost, by a relay, in the modes whose rules cannot serve them there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <csignal>

#include <fmt/format.h>

#include "packets/userspace_node.h"
#include "support/wire.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;
using testnet::Outcome;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;

// KEP-6032, in nftables mode too.
class LocalhostNodePorts : public Userspace {
  protected:
    void start(const std::string& mode, const std::string& addresses) {
        live_->set_mode(mode);
        live_->set_flags({"--nodeport-addresses", addresses});
        Userspace::start();
    }
    [[nodiscard]] Outcome dial_localhost(std::uint16_t port, net::Protocol protocol = net::Protocol::kTcp) const {
        const auto loopback = *net::IpAddress::parse(GetParam() == net::Family::kIpv4 ? "127.0.0.1" : "::1");
        const auto outcomes =
            engine_->run({Probe{Place::kNode, loopback, loopback, protocol, port}}, milliseconds(500));
        return outcomes ? outcomes->front() : Outcome();
    }
    [[nodiscard]] std::string family_label() const {
        return fmt::format("ip_family=\"{}\"", net::family_name(GetParam()));
    }
};

INSTANTIATE_TEST_SUITE_P(Families, LocalhostNodePorts, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

TEST_P(LocalhostNodePorts, AreServedByARelayWhereTheyAreAskedFor) {
    put(kWeb);
    live_->add_flags({"--nodeport-addresses", "primary,localhost"});
    for (const std::string mode : {"nftables", "userspace"}) {
        SCOPED_TRACE(mode);
        live_->set_mode(mode);
        Userspace::start();
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            const auto seen = dial_localhost(30080, protocol);
            EXPECT_EQ(seen.seen, Seen::kAnswered) << seen.text() << live_->log();
            EXPECT_EQ(seen.endpoint_port, kProbeTarget);
            const auto beside = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080, protocol);
            EXPECT_EQ(beside.seen, Seen::kAnswered) << "the others go the usual way: " << beside.text();
        }
        const auto at = GetParam() == net::Family::kIpv4 ? "127.0.0.1:30080" : "[::1]:30080";
        const auto explained = live_->explain({"--live", "--nodeport-addresses", "primary,localhost", "node", at});
        ASSERT_TRUE(explained) << explained.error().message;
        EXPECT_EQ(explained->status, 0) << explained->out << explained->err;
        EXPECT_THAT(explained->out, HasSubstr(fmt::format("{}/TCP: process", at)));
        // Ports 80 and 7, TCP and UDP of each.
        EXPECT_EQ(counted("kubeproxy_nftables_localhost_nodeport_listeners"), 4);
        live_->stop(SIGTERM);
    }
}

// SCTP: refused and counted, with endpoints or without; what else comes to those ports is nobody's business. A start
// that adds `localhost`, or takes it away, leaves nothing behind (kubernetes/kubernetes#142183).
TEST_P(LocalhostNodePorts, ThatNoRelayCarriesAreRefusedAndCounted) {
    constexpr std::string_view kManifest = R"(apiVersion: v1
kind: Service
metadata: {name: signals, namespace: test}
spec:
  type: NodePort
  clusterIP: 172.30.0.46
  ports:
  - {name: s, protocol: SCTP, port: 80, targetPort: 8080, nodePort: 30083}
  - {name: empty, protocol: SCTP, port: 81, targetPort: none, nodePort: 30084}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: signals-1, namespace: test, labels: {kubernetes.io/service-name: signals}}
addressType: IPv4
ports:
- {name: s, protocol: SCTP, port: 8080}
endpoints:
- {addresses: ["10.180.0.1"], nodeName: test-node}
)";
    constexpr std::string_view kMetric = "kubeproxy_nftables_localhost_nodeport_rejected_packets_total";
    live_->write("signals.yaml", std::string(kManifest));
    put(kWeb);
    for (const std::string mode : {"nftables", "userspace"}) {
        SCOPED_TRACE(mode);
        start(mode, "primary,localhost");
        EXPECT_EQ(counted(kMetric), 0);
        for (const auto port : std::array<std::uint16_t, 2>{30083, 30084}) {
            const auto seen = dial_localhost(port, net::Protocol::kSctp);
            EXPECT_EQ(seen.seen, Seen::kRejected) << seen.text();
        }
        EXPECT_EQ(counted(kMetric), 2);
        EXPECT_THAT(live_->page(10249, "/metrics"),
                    HasSubstr(fmt::format("{}{{{},protocol=\"SCTP\"}} 2", kMetric, family_label())));
        EXPECT_NE(dial_localhost(30085, net::Protocol::kSctp).seen, Seen::kRejected) << "no node port";
        EXPECT_EQ(dial_localhost(30080).seen, Seen::kAnswered);
        EXPECT_EQ(counted(kMetric), 2);
        const auto beside = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30083, net::Protocol::kSctp);
        EXPECT_EQ(beside.seen, Seen::kAnswered) << beside.text();
        // Another start, with the same rules: what was counted stays.
        start(mode, "primary,localhost");
        EXPECT_EQ(counted(kMetric), 2);
        start(mode, "primary");
        EXPECT_NE(dial_localhost(30083, net::Protocol::kSctp).seen, Seen::kRejected);
        const auto rules = live_->nft({"list", "ruleset"});
        ASSERT_TRUE(rules) << rules.error().message;
        EXPECT_THAT(*rules, Not(HasSubstr("not-relayed")));
        EXPECT_THAT(*rules, Not(HasSubstr("localhost-nodeports")));
        live_->stop(SIGTERM);
    }
}

TEST_P(LocalhostNodePorts, AreClosedWhereNobodyAsks) {
    put(kWeb);
    start("nftables", "primary");
    EXPECT_FALSE(dial_localhost(30080).arrived);
    EXPECT_EQ(live_->page(10249, "/metrics").find("localhost_nodeport"), std::string::npos);
}

TEST_P(LocalhostNodePorts, AreClosedWhileNobodyAnswers) {
    put(kWeb);
    start("nftables", "localhost");
    ASSERT_EQ(dial_localhost(30080).seen, Seen::kAnswered) << live_->log();
    EXPECT_FALSE(dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080).arrived) << "localhost alone was named";
    auto none = kWeb;
    none.endpoints = {};
    put(none);
    EXPECT_TRUE(soon([&] { return dial_localhost(30080).seen == Seen::kReset; }));
    put(kWeb);
    EXPECT_TRUE(soon([&] { return dial_localhost(30080).seen == Seen::kAnswered; }));
}

TEST_P(LocalhostNodePorts, ThatAnotherHasAreToldAndComeWhenTheyAreFree) {
    const auto inside = std::make_unique<testnet::Namespace::Entered>(live_->node().fd());
    const bool v4 = GetParam() == net::Family::kIpv4;
    Fd taken(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const testnet::SocketAddress at(*net::IpAddress::parse(v4 ? "127.0.0.1" : "::1"), 30080);
    ASSERT_EQ(::bind(taken.get(), at.raw(), at.length), 0);
    ASSERT_EQ(::listen(taken.get(), 1), 0);
    put(kWeb);
    start("nftables", "primary,localhost");
    EXPECT_THAT(live_->log(), HasSubstr("test/web"));
    EXPECT_THAT(live_->log(), HasSubstr("Address already in use"));
    EXPECT_GE(counted("kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total"), 1);
    EXPECT_EQ(dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080).seen, Seen::kAnswered) << "all else goes on";
    taken.reset();
    put({.name = "other",
         .cluster_ip = "172.30.0.50",
         .external_ip = {},
         .node_port = 0,
         .sticky = false,
         .endpoints = {"10.180.0.1"}});  // any change is another try
    EXPECT_TRUE(soon([&] { return dial_localhost(30080).seen == Seen::kAnswered; })) << live_->log();
}

}  // namespace
}  // namespace ghostip::packets
