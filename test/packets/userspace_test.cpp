// Userspace mode with the real program: what is its own beside the packet cases, which run on it as on every mode.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <sstream>
#include <thread>
#include <tuple>

#include <fmt/format.h>

#include "packets/half_open.h"
#include "packets/userspace_node.h"
#include "support/wire.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testnet::Place;
using testnet::Seen;

INSTANTIATE_TEST_SUITE_P(Families, Userspace, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

// No capability, no rule: node ports and what was asked for by name.
TEST_P(Userspace, AnOrdinaryUserServesNodePortsAndListeners) {
    const auto other = live_->run_as_ordinary_user();
    ASSERT_TRUE(other) << other.error().message;
    put(kWeb);
    const auto at = net::host_port(live_->address("192.168.1.2"), 8800);
    start({"--listen", "test/web:80=" + at});
    EXPECT_THAT(live_->log(), HasSubstr("nothing is redirected to the relay"));
    EXPECT_THAT(live_->log(), HasSubstr("what other modes left is not looked for"));
    for (const auto* level : {"WARNING", "ERROR"})
        EXPECT_THAT(live_->log(), ::testing::Not(HasSubstr(level))) << "it is as it was meant";
    for (const auto& [place, source] : {std::pair{Place::kOutside, "203.0.113.2"}, {Place::kPods, "10.0.0.2"}})
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            const auto node_port = dial(place, source, kOwnAddress, 30080, protocol);
            EXPECT_EQ(node_port.seen, Seen::kAnswered) << node_port.text() << live_->log();
            EXPECT_EQ(node_port.endpoint_port, kProbeTarget);
        }
    const auto listener = dial(Place::kOutside, "203.0.113.2", "192.168.1.2", 8800);
    EXPECT_EQ(listener.seen, Seen::kAnswered) << listener.text();
    EXPECT_NE(dial(Place::kPods, "10.0.0.2", "172.30.0.41", 80).endpoint_port, kProbeTarget)
        << "a cluster IP needs rules";
    const auto rules = live_->nft({"list", "ruleset"});
    ASSERT_TRUE(rules) << rules.error().message;
    EXPECT_EQ(rules->find("ghostip"), std::string::npos);
    const auto explained = explain(kOwnAddress, 30080);
    EXPECT_EQ(explained.status, 0) << explained.out << explained.err;
    EXPECT_THAT(explained.out, HasSubstr("there are no rules"));
    EXPECT_THAT(explained.out, HasSubstr(":30080/TCP: process"));
    const auto cluster_ip = explain(kWeb.cluster_ip, 80);
    EXPECT_EQ(cluster_ip.status, 1) << cluster_ip.out;
    EXPECT_THAT(cluster_ip.out, HasSubstr("DIFFERS    there is no rule for"));
    // The Service goes, and so does its port.
    live_->write("web.yaml", "");
    EXPECT_TRUE(soon([&] { return !dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080).arrived; }));
}

// The same policy without rules: the process asks the plan itself, and counts whom it turns away.
TEST_P(Userspace, PolicyHoldsWhereNothingIsRedirected) {
    constexpr std::string_view kManifest = R"(apiVersion: v1
kind: Service
metadata: {name: near, namespace: test}
spec:
  type: NodePort
  clusterIP: 172.30.0.45
  externalTrafficPolicy: Local
  ports:
  - {name: p, port: 80, targetPort: 8080, nodePort: 30082}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: near-1, namespace: test, labels: {kubernetes.io/service-name: near}}
addressType: IPv4
ports:
- {name: p, port: 8080}
endpoints:
- {addresses: ["10.181.2.1"], nodeName: other-node}
)";
    live_->write("near.yaml", std::string(kManifest));
    live_->write("empty.yaml", manifest({{.name = "empty",
                                          .cluster_ip = "172.30.0.42",
                                          .external_ip = {},
                                          .node_port = 30081,
                                          .sticky = false,
                                          .endpoints = {}}}));
    start({"--relay-redirect=false"});
    const auto nobody = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30081);
    EXPECT_EQ(nobody.seen, Seen::kReset) << "refused, as far as a process can: " << nobody.text();
    const auto outside = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30082);
    EXPECT_EQ(outside.seen, Seen::kDropped) << "all endpoints are elsewhere: " << outside.text();
    EXPECT_FALSE(outside.arrived);
    EXPECT_GE(counted("ghostip_relay_service_refused_total"), 1);
    const auto pod = dial(Place::kPods, "10.0.0.2", kOwnAddress, 30082);
    EXPECT_EQ(pod.seen, Seen::kAnswered) << "pods reach them: " << pod.text();
}

TEST_P(Userspace, EndpointsThatLeaveKeepWhatTheyHaveAndGetNothingNew) {
    serve_echoes();
    put(kWeb);
    start();
    auto lasting = client(kWeb.cluster_ip);
    ASSERT_TRUE(lasting) << lasting.error().message;
    const auto before = lasting->ask(kAnswerWithin);
    ASSERT_TRUE(before) << before.error().message;
    auto less = kWeb;
    std::erase_if(less.endpoints, [&](const auto& one) { return live_->address(one) == *before; });
    ASSERT_EQ(less.endpoints.size(), 1U);
    put(less);
    const auto other = live_->address(less.endpoints.front());
    // Twice the number of endpoints in a row at the other one: with turns, the first one is out.
    EXPECT_TRUE(soon([&] {
        for (int i = 0; i < 4; ++i) {
            auto fresh = client(kWeb.cluster_ip);
            const auto answered = fresh ? fresh->ask(kAnswerWithin) : fresh.error();
            if (!answered || *answered != other) return false;
        }
        return true;
    })) << live_->log();
    const auto still = lasting->ask(kAnswerWithin);
    ASSERT_TRUE(still) << still.error().message;
    EXPECT_EQ(*still, *before);
}

TEST_P(Userspace, EndpointsThatLeaveAreCutAfterTheDrainTimeout) {
    serve_echoes();
    put(kWeb);
    start({"--drain-timeout", "1s"});
    auto lasting = client(kWeb.cluster_ip);
    ASSERT_TRUE(lasting) << lasting.error().message;
    ASSERT_TRUE(lasting->ask(kAnswerWithin));
    auto none = kWeb;
    none.endpoints = {};
    put(none);
    EXPECT_TRUE(soon([&] { return !lasting->ask(milliseconds(100)).has_value(); }));
    EXPECT_TRUE(soon([&] { return counted("ghostip_relay_service_connections_drained_total") == 1; }));
}

TEST_P(Userspace, TheProcessEndsWhenItsConnectionsHave) {
    serve_echoes();
    put(kWeb);
    start({"--drain-timeout", "30s"});
    auto lasting = client(kWeb.cluster_ip);
    ASSERT_TRUE(lasting) << lasting.error().message;
    ASSERT_TRUE(lasting->ask(kAnswerWithin));
    const auto begin = std::chrono::steady_clock::now();
    std::thread ending([&] { live_->stop(SIGTERM); });
    ASSERT_TRUE(soon([&] { return live_->log().find("they have 30 s to end") != std::string::npos; }));
    const auto still = lasting->ask(kAnswerWithin);
    EXPECT_TRUE(still) << still.error().message;
    {
        auto fresh = client(kWeb.cluster_ip);
        ASSERT_TRUE(fresh) << "nobody else serves: " << fresh.error().message;
        EXPECT_TRUE(fresh->ask(kAnswerWithin));
    }
    EXPECT_TRUE(soon([&] { return moves_to(kWeb.endpoints[1]); })) << "changes are followed: " << live_->log();
    { const auto ended = std::move(*lasting); }
    ending.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(25));
}

// The kernel's rules and sockets, read by another process, and the plan agree; and where they do not, it is told.
TEST_P(Userspace, ExplainsWhereClientsAreLed) {
    put(kWeb);
    start();
    struct Led {
        std::string_view to;
        std::uint16_t port;
        std::string_view protocol;
        std::string_view listener;
    };
    for (const auto& [to, port, protocol, listener] :
         {Led{kWeb.cluster_ip, 80, "TCP", "TCP cluster"}, Led{kOwnAddress, 30080, "TCP", "TCP cluster"},
          Led{kWeb.cluster_ip, 80, "UDP", "UDP test/web:"}, Led{kOwnAddress, 30080, "UDP", "UDP test/web:"}}) {
        const auto explained = explain(to, port, protocol);
        EXPECT_EQ(explained.status, 0) << explained.out << explained.err;
        EXPECT_THAT(explained.out,
                    HasSubstr(fmt::format("\"redirected {} {}", net::family_name(GetParam()), listener)));
        EXPECT_THAT(explained.out, HasSubstr("(ghostip) listens"));
    }
    live_->stop(SIGKILL);
    const auto left = explain(kWeb.cluster_ip, 80);
    EXPECT_EQ(left.status, 1) << left.out << left.err;
    EXPECT_THAT(left.out, HasSubstr("where nobody listens"));
    EXPECT_EQ(explain(kWeb.cluster_ip, 99).status, 0) << "refused by rules, which stay";
}

// Clients who were not led there are nobody's.
TEST_P(Userspace, ADirectDialOfTheRelayIsRefused) {
    put(kWeb);
    start();
    const auto sockets = live_->node().must_run({"ss", "-Hltnp"});
    ASSERT_TRUE(sockets) << sockets.error().message;
    int dialled = 0;
    std::istringstream lines(*sockets);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream columns(line);
        std::string state;
        std::string received;
        std::string sent;
        std::string local;
        columns >> state >> received >> sent >> local;
        const bool of_family = local.starts_with(GetParam() == net::Family::kIpv4 ? "0.0.0.0:" : "[::]:");
        const auto port = of_family ? std::stoul(local.substr(local.rfind(':') + 1)) : 0;
        if (port < 32768) continue;  // not chosen by the kernel
        ++dialled;
        const auto seen = dial(Place::kOutside, "203.0.113.2", kOwnAddress, static_cast<std::uint16_t>(port));
        EXPECT_NE(seen.seen, Seen::kAnswered) << port << ": " << seen.text();
        EXPECT_FALSE(seen.arrived);
    }
    EXPECT_GE(dialled, 2) << *sockets;
}

// For UDP, where the process cannot know what was dialled, by a rule.
TEST_P(Userspace, ADirectDialOfTheRelayIsRefusedForUdpToo) {
    put(kWeb);
    start();
    ASSERT_EQ(dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080, net::Protocol::kUdp).seen, Seen::kAnswered);
    const auto sockets = live_->node().must_run({"ss", "-Hlunp"});
    ASSERT_TRUE(sockets) << sockets.error().message;
    int dialled = 0;
    std::istringstream lines(*sockets);
    for (std::string line; std::getline(lines, line);) {
        if (line.find("ghostip") == std::string::npos) continue;
        std::istringstream columns(line);
        std::string local;
        for (int column = 0; column < 4; ++column) columns >> local;
        const auto port = static_cast<std::uint16_t>(std::stoul(local.substr(local.rfind(':') + 1)));
        ++dialled;
        using Way = std::tuple<Place, std::string_view, std::string_view>;
        for (const auto& [place, source, to] :
             {Way{Place::kOutside, "203.0.113.2", kOwnAddress}, Way{Place::kPods, "10.0.0.2", "192.168.1.2"},
              Way{Place::kNode, kOwnAddress, kOwnAddress}}) {
            const auto seen = dial(place, source, to, port, net::Protocol::kUdp);
            EXPECT_EQ(seen.seen, Seen::kRejected) << port << " from " << source << ": " << seen.text();
            EXPECT_FALSE(seen.arrived);
        }
    }
    EXPECT_GE(dialled, 1) << *sockets;
    EXPECT_EQ(dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30080, net::Protocol::kUdp).seen, Seen::kAnswered);
    EXPECT_EQ(dial(Place::kNode, kOwnAddress, kWeb.cluster_ip, 80, net::Protocol::kUdp).seen, Seen::kAnswered);
}

// The kernel keeps them, by its cookies where they are too many; the process does not even hear of them.
TEST_P(Userspace, AFloodOfHalfOpenConnectionsKeepsNobodyOut) {
    constexpr int kRounds = 20;
    constexpr int kSyns = 1000;  // in all five times the backlog of a listener
    put(kWeb);
    for (const bool redirected : {true, false}) {
        SCOPED_TRACE(redirected);
        live_->set_flags({fmt::format("--relay-redirect={}", redirected)});
        start();
        EXPECT_TRUE(soon([&] {
            const auto rules = live_->nft({"list", "ruleset"});
            return rules && (rules->find("ghostip") != std::string::npos) == redirected;
        })) << "rules of the start before lead nowhere: "
            << live_->log();
        auto flood = HalfOpen::create(live_->topology().at(Place::kOutside), live_->address("203.0.113.77"));
        ASSERT_TRUE(flood) << flood.error().message;
        // It keeps the pipes of its first client for the next.
        ASSERT_EQ(dial(Place::kPods, "10.0.0.2", kOwnAddress, 30080).seen, Seen::kAnswered);
        ASSERT_TRUE(soon([&] { return counted("ghostip_relay_connections") == 0; }));
        const double before = counted("process_open_fds");
        ASSERT_GT(before, 0);
        for (int round = 0; round < kRounds; ++round) {
            const auto sent = flood->send(live_->address(kOwnAddress), 30080,
                                          static_cast<std::uint16_t>(1024 + round * kSyns), kSyns);
            ASSERT_TRUE(sent) << sent.error().message;
            const auto seen = dial(Place::kPods, "10.0.0.2", kOwnAddress, 30080);
            EXPECT_EQ(seen.seen, Seen::kAnswered) << round << ": " << seen.text();
        }
        const auto waiting = live_->node().must_run({"ss", "-Htn", "state", "syn-recv"});
        ASSERT_TRUE(waiting) << waiting.error().message;
        EXPECT_GE(std::count(waiting->begin(), waiting->end(), '\n'), kSyns) << "they are half open";
        EXPECT_TRUE(soon([&] { return counted("ghostip_relay_service_connections_total") == kRounds + 1; }));
        // Each thread of the relay has pipes of its own.
        EXPECT_TRUE(soon([&] { return counted("process_open_fds") <= before + kRounds; })) << "none for any of them";
        live_->stop(SIGTERM);
    }
}

// A Service with a node port, and this as its only endpoint.
std::string circle(std::string_view address, std::uint16_t port) {
    return fmt::format(R"(apiVersion: v1
kind: Service
metadata: {{name: circle, namespace: test}}
spec:
  type: NodePort
  clusterIP: 172.30.0.44
  ports:
  - {{name: p, port: 80, nodePort: 30084}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: circle-1, namespace: test, labels: {{kubernetes.io/service-name: circle}}}}
addressType: IPv4
ports:
- {{name: p, port: {}}}
endpoints:
- {{addresses: ["{}"], nodeName: other-node}}
)",
                       port, address);
}

// An endpoint that is the Service's own address and port: it is dialled as it stands, and the dial goes round nowhere.
TEST_P(Userspace, AServiceThatIsItsOwnEndpointMakesNoCircle) {
    live_->write("circle.yaml", circle("172.30.0.44", 80));
    const auto listening = engine_->listen({80});  // outside, where the dial arrives
    ASSERT_TRUE(listening) << listening.error().message;
    start();
    const auto seen = dial(Place::kPods, "10.0.0.2", "172.30.0.44", 80);
    EXPECT_EQ(seen.seen, Seen::kAnswered) << seen.text();
    EXPECT_EQ(seen.place, Place::kOutside);
    EXPECT_EQ(counted("ghostip_relay_service_connections_total"), 1);
}

// The same where no rule stands in between: the node port itself is the endpoint.
TEST_P(Userspace, ANodePortThatIsItsOwnEndpointMakesNoCircle) {
    live_->write("circle.yaml", circle(kOwnAddress, 30084));
    start({"--relay-redirect=false"});
    const auto seen = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30084);
    EXPECT_EQ(seen.seen, Seen::kReset) << seen.text();
    EXPECT_TRUE(soon([&] { return counted("ghostip_relay_service_refused_total") == 1; }));
    EXPECT_EQ(counted("ghostip_relay_service_connections_total"), 0);
}

// The endpoint reads who its client is.
class Named : public Userspace {
  protected:
    // A client dials a Service with this annotation; what its endpoint accepts.
    void dial_named(std::string_view version, Place from = Place::kPods, std::string_view source = "10.0.1.9") {
        client_ = live_->address(source);
        constexpr std::string_view kManifest = R"(apiVersion: v1
kind: Service
metadata: {name: named, namespace: default, annotations: {ghostip.io/proxy-protocol: VERSION}}
spec:
  clusterIP: 172.30.0.43
  ports:
  - {name: p, port: 80, targetPort: 8081}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: named-1, namespace: default, labels: {kubernetes.io/service-name: named}}
addressType: IPv4
ports:
- {name: p, port: 8081}
endpoints:
- {addresses: ["10.181.2.1"], nodeName: other-node}
)";
        Fd listener;
        {
            const auto inside = live_->topology().at(Place::kRemote).enter();
            listener = Fd(::socket(v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
            testnet::SocketAddress any(net::IpAddress(GetParam()), 8081);
            ASSERT_EQ(::bind(listener.get(), any.raw(), any.length), 0);
            ASSERT_EQ(::listen(listener.get(), 16), 0);
        }
        std::string manifest(kManifest);
        constexpr std::string_view kVersion = "VERSION";
        live_->write("named.yaml", manifest.replace(manifest.find(kVersion), kVersion.size(), version));
        start();
        auto one = EchoClient::open(live_->topology().at(from), net::Protocol::kTcp, client_,
                                    live_->address("172.30.0.43"), 80);
        ASSERT_TRUE(one) << one.error().message;
        client_socket_ = std::move(*one);
        const timeval patience{10, 0};
        ::setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        accepted_ = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ASSERT_TRUE(accepted_) << live_->log();
        ::setsockopt(accepted_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    [[nodiscard]] bool v4() const { return GetParam() == net::Family::kIpv4; }
    [[nodiscard]] std::string receive(std::size_t bytes) const {
        std::string text(bytes, '\0');
        const auto got = ::recv(accepted_.get(), text.data(), text.size(), MSG_WAITALL);
        text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        return text;
    }

    [[nodiscard]] std::string receive_line() const {
        std::string line;
        while (!line.ends_with("\r\n") && line.size() < 108) {
            const auto byte = receive(1);
            if (byte.empty()) break;
            line += byte;
        }
        return line;
    }

    std::optional<EchoClient> client_socket_;
    Fd accepted_;
    net::IpAddress client_;
};

INSTANTIATE_TEST_SUITE_P(Families, Named, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

TEST_P(Named, ByALineOfText) {
    ASSERT_NO_FATAL_FAILURE(dial_named("v1"));
    const auto header = receive_line();
    EXPECT_TRUE(header.starts_with(
        fmt::format("PROXY {} {} {} ", v4() ? "TCP4" : "TCP6", client_.text(), live_->address("172.30.0.43").text())))
        << header;
    EXPECT_TRUE(header.ends_with(" 80\r\n")) << header;
}

// The node itself too, by the address that it chose.
TEST_P(Named, WhereTheNodeIsTheClient) {
    ASSERT_NO_FATAL_FAILURE(dial_named("v1", Place::kNode, "192.168.99.11"));
    const auto header = receive_line();
    EXPECT_TRUE(header.starts_with(fmt::format("PROXY {} {} ", v4() ? "TCP4" : "TCP6", client_.text()))) << header;
}

// As the specification of PROXY protocol draws it, section 2.2.
TEST_P(Named, ByABinaryHeader) {
    ASSERT_NO_FATAL_FAILURE(dial_named("v2"));
    const auto head = receive(16);
    ASSERT_EQ(head.size(), 16U) << live_->log();
    EXPECT_EQ(head.substr(0, 12), std::string("\r\n\r\n\0\r\nQUIT\n", 12));
    EXPECT_EQ(head[12], '\x21') << "version 2, PROXY";
    EXPECT_EQ(head[13], v4() ? '\x11' : '\x21') << "TCP over the family";
    const auto number = [](std::string_view text) {
        return static_cast<std::uint16_t>(static_cast<std::uint8_t>(text[0]) << 8U |
                                          static_cast<std::uint8_t>(text[1]));
    };
    const std::size_t bytes = v4() ? 4 : 16;
    ASSERT_EQ(number(head.substr(14)), 2 * bytes + 4);
    const auto body = receive(2 * bytes + 4);
    ASSERT_EQ(body.size(), 2 * bytes + 4);
    const auto address = [&](std::size_t at) {
        std::array<std::uint8_t, 16> raw{};
        std::memcpy(raw.data(), &body[at], bytes);
        return net::IpAddress::from_bytes(GetParam(), raw.data()).text();
    };
    EXPECT_EQ(address(0), client_.text());
    EXPECT_EQ(address(bytes), live_->address("172.30.0.43").text());
    EXPECT_NE(number(body.substr(2 * bytes)), 0) << "the client's port";
    EXPECT_EQ(number(body.substr(2 * bytes + 2)), 80);
    // Nothing stands between it and what the client says.
    static_cast<void>(client_socket_->ask(milliseconds(1)));
    const std::uint64_t first = 1;
    std::string question(sizeof first, '\0');
    std::memcpy(question.data(), &first, sizeof first);
    EXPECT_EQ(receive(sizeof first), question) << live_->log();
}

TEST_P(Userspace, WhatIsCarriedIsCounted) {
    serve_echoes();
    put(kWeb);
    start();
    auto one = client(kWeb.cluster_ip);
    ASSERT_TRUE(one) << one.error().message;
    ASSERT_TRUE(one->ask(kAnswerWithin));
    EXPECT_TRUE(soon([&] { return counted("ghostip_relay_service_connections") == 1; }));
    EXPECT_EQ(counted("ghostip_relay_service_connections_total"), 1);
    EXPECT_GT(counted("ghostip_relay_service_bytes_total"), 0);
    { const auto ended = std::move(*one); }
    EXPECT_TRUE(soon([&] { return counted("ghostip_relay_service_connection_duration_seconds_count") == 1; }));
    EXPECT_EQ(counted("ghostip_relay_service_connections"), 0);
}

}  // namespace
}  // namespace ghostip::packets
