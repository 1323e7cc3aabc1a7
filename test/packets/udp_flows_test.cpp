// A UDP client that holds on to one socket reaches who serves now: its flow is forgotten when the endpoint leaves, when
// the Service comes back from having none, and when a node port or an external address becomes another's. What is
// still right stays, and so does what is not ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "packets/echo.h"
#include "packets/live_node.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using testnet::Place;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kAnswerWithin(5000);  // where an answer must come
constexpr milliseconds kTry(100);            // where one may not come yet
constexpr std::chrono::seconds kChangedWithin(20);

class UdpFlows : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(GetParam()));
        for (const auto place : {Place::kPods, Place::kRemote}) {
            ASSIGN_OR_RETURN(auto server, EchoServer::start(live_->topology().at(place), GetParam(), kEchoTarget));
            servers_.push_back(std::move(server));
        }
        // What is not translated arrives outside.
        ASSIGN_OR_RETURN(auto server, EchoServer::start(live_->topology().at(Place::kOutside), GetParam(), kEchoPort));
        servers_.push_back(std::move(server));
        put(a_);
        put(b_);
        ASSIGN_OR_RETURN(const auto took, live_->start_and_wait());
        static_cast<void>(took);
        return {};
    }
    void put(const ServiceSpec& service) const { live_->write(service.name + ".yaml", manifest({service})); }
    // Both at once, so that an address goes from one to the other in one step.
    void put_together(const ServiceSpec& one, const ServiceSpec& other) const {
        live_->write(other.name + ".yaml", "");
        live_->write(one.name + ".yaml", manifest({one, other}));
    }

    [[nodiscard]] EchoClient client(Place from, std::string_view to, int port = kEchoPort) {
        constexpr int kHosts = 250;
        const auto source = live_->address(
            fmt::format("{}.{}", from == Place::kPods ? "10.0.1" : "203.0.113", 1 + ++sources_ % kHosts));
        auto made = EchoClient::open(live_->topology().at(from), net::Protocol::kUdp, source, live_->address(to),
                                     static_cast<std::uint16_t>(port));
        if (!made) throw std::runtime_error(made.error().message);
        return std::move(*made);
    }
    // Clients that have a flow, and to whom.
    struct Flow {
        EchoClient client;
        net::IpAddress endpoint;
    };
    [[nodiscard]] std::vector<Flow> flows(Place from, std::string_view to, int port = kEchoPort, int count = 6) {
        std::vector<Flow> made;
        for (int i = 0; i < count; ++i) {
            auto one = client(from, to, port);
            const auto answered = one.ask(kAnswerWithin);
            if (!answered) ADD_FAILURE() << answered.error().message;
            made.push_back({std::move(one), answered.value_or({})});
        }
        return made;
    }
    [[nodiscard]] std::set<net::IpAddress> all(const std::vector<std::string>& endpoints) const {
        std::set<net::IpAddress> addresses;
        for (const auto& endpoint : endpoints) addresses.insert(live_->address(endpoint));
        return addresses;
    }

    // Each of them meets one of these endpoints soon; who had one of them already keeps it.
    void expect_moved(std::string_view what, std::vector<Flow>& flows, const std::vector<std::string>& endpoints) {
        SCOPED_TRACE(what);
        const auto begin = Clock::now();
        const auto right = all(endpoints);
        std::size_t moved = 0;
        for (auto& flow : flows) {
            const bool stays = right.contains(flow.endpoint);
            std::string last;
            const bool met = wait_until(kChangedWithin, [&] {
                const auto answered = flow.client.ask(kTry);
                last = answered ? answered->text() : answered.error().message;
                if (!answered || !right.contains(*answered)) return false;
                EXPECT_TRUE(!stays || *answered == flow.endpoint) << "was sent elsewhere without need";
                flow.endpoint = *answered;
                return true;
            });
            EXPECT_TRUE(met) << "last: " << last << "\n" << live_->log();
            moved += stays ? 0 : 1;
        }
        fmt::print("  {}: {} of {} flows moved, all done after {} ms\n", what, moved, flows.size(),
                   std::chrono::duration_cast<milliseconds>(Clock::now() - begin).count());
    }
    void expect_stay(std::string_view what, std::vector<Flow>& flows) {
        SCOPED_TRACE(what);
        for (auto& flow : flows) {
            const auto answered = flow.client.ask(kAnswerWithin);
            ASSERT_TRUE(answered) << answered.error().message;
            EXPECT_EQ(*answered, flow.endpoint);
        }
    }
    // The change is in the kernel: new clients get there.
    void wait_served(std::string_view to, std::string_view endpoint) {
        EXPECT_TRUE(wait_until(kChangedWithin, [&] {
            const auto answered = client(Place::kPods, to).ask(kTry);
            return answered && *answered == live_->address(endpoint);
        })) << live_->log();
    }
    // Nobody answers any more.
    void expect_ended(std::string_view what, std::vector<Flow>& flows) {
        SCOPED_TRACE(what);
        for (auto& flow : flows)
            EXPECT_TRUE(wait_until(kChangedWithin, [&] { return !flow.client.ask(kTry).has_value(); })) << live_->log();
    }

    // Another program's translation of 9.9.9.9, the same port, to one of our endpoints.
    [[nodiscard]] Result<void> translate_elsewhere(std::string_view endpoint) const {
        const bool ipv4 = GetParam() == net::Family::kIpv4;
        const auto done = live_->nft(
            {"-f", "-"},
            fmt::format("table {0} other {{}}\ndelete table {0} other\ntable {0} other {{\n"
                        "chain arriving {{ type nat hook prerouting priority -100; {0} daddr {1} udp dport {2} "
                        "dnat to {3}; }}\n}}\n",
                        ipv4 ? "ip" : "ip6", live_->address("9.9.9.9").text(), kEchoPort,
                        net::host_port(live_->address(endpoint), kEchoTarget)));
        if (!done) return done.error();
        return {};
    }

    std::unique_ptr<LiveNode> live_;
    std::vector<std::unique_ptr<EchoServer>> servers_;
    ServiceSpec a_{"a", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.181.0.2"}};
    ServiceSpec b_{"b", "172.30.0.2", "1.2.3.2", 30002, false, {"10.180.0.5", "10.181.0.6"}};
    int sources_ = 0;
};

TEST_P(UdpFlows, FollowTheEndpoints) {
    auto to_cluster_ip = flows(Place::kPods, "172.30.0.1");
    auto to_node_port = flows(Place::kOutside, kOwnAddress, 30001 + kEchoNodePort);
    auto to_external_ip = flows(Place::kOutside, "1.2.3.1");
    const auto expect_all = [&](std::string_view what) {
        expect_moved(fmt::format("{}, cluster IP", what), to_cluster_ip, a_.endpoints);
        expect_moved(fmt::format("{}, node port", what), to_node_port, a_.endpoints);
        expect_moved(fmt::format("{}, external IP", what), to_external_ip, a_.endpoints);
    };
    a_.endpoints = {"10.181.0.2"};
    put(a_);
    expect_all("an endpoint leaves");
    a_.endpoints = {"10.180.0.3", "10.181.0.2", "10.180.0.4"};
    put(a_);
    wait_served("172.30.0.1", "10.180.0.4");
    expect_all("endpoints come");
    a_.endpoints = {"10.180.0.7", "10.180.0.8"};
    put(a_);
    expect_all("all are replaced");
    a_.endpoints = {};
    put(a_);
    for (auto* some : {&to_cluster_ip, &to_node_port, &to_external_ip}) expect_ended("none are left", *some);
    a_.endpoints = {"10.180.0.9"};
    put(a_);
    expect_all("one comes back");
}

TEST_P(UdpFlows, FollowNodePortsAndExternalAddresses) {
    auto to_node_port = flows(Place::kOutside, kOwnAddress, 30001 + kEchoNodePort);
    auto to_external_ip = flows(Place::kOutside, "1.2.3.1");
    auto to_cluster_ip = flows(Place::kPods, "172.30.0.1");
    std::swap(a_.node_port, b_.node_port);
    std::swap(a_.external_ip, b_.external_ip);
    put_together(a_, b_);
    expect_moved("the node port is another Service's", to_node_port, b_.endpoints);
    expect_moved("the external IP is another Service's", to_external_ip, b_.endpoints);
    expect_stay("the cluster IP is as it was", to_cluster_ip);

    auto before = flows(Place::kOutside, "1.2.3.9");
    EXPECT_EQ(before.front().endpoint, live_->address("1.2.3.9")) << "nobody's";
    a_.external_ip = "1.2.3.9";
    put_together(a_, b_);
    expect_moved("an external IP is new", before, a_.endpoints);
}

TEST_P(UdpFlows, ThatAreRightOrNotOursStay) {
    ASSERT_TRUE(translate_elsewhere("10.180.0.1"));
    auto others = flows(Place::kOutside, "9.9.9.9");
    EXPECT_EQ(others.front().endpoint, live_->address("10.180.0.1"));
    // From now on only flows that are remembered go there.
    ASSERT_TRUE(translate_elsewhere("10.180.0.99"));
    auto ours = flows(Place::kPods, "172.30.0.2", kEchoPort, 12);
    auto through_node_port = flows(Place::kOutside, kOwnAddress, 30002 + kEchoNodePort, 12);
    auto leaving = flows(Place::kPods, "172.30.0.1");
    const auto expect_all_stay = [&](std::string_view what) {
        expect_stay(fmt::format("{}: other program's", what), others);
        expect_stay(fmt::format("{}: cluster IP", what), ours);
        expect_stay(fmt::format("{}: node port", what), through_node_port);
    };

    a_.endpoints = {"10.181.0.2"};  // the other program's endpoint leaves our Service
    put(a_);
    expect_moved("one Service changes", leaving, a_.endpoints);
    expect_all_stay("another Service changed");
    b_.endpoints.emplace_back("10.180.0.10");
    b_.external_ip = "1.2.3.7";
    put(b_);
    wait_served("172.30.0.2", "10.180.0.10");
    expect_all_stay("endpoints came, the external IP changed");
    for (const int signal : {SIGTERM, SIGKILL}) {
        live_->stop(signal);
        expect_all_stay("no proxy runs");
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
        // The first sync hands its flows in; a flow that must go tells when that was done.
        a_.endpoints = {a_.endpoints.front() == "10.181.0.2" ? "10.181.0.3" : "10.181.0.2"};
        put(a_);
        expect_moved("after a restart", leaving, a_.endpoints);
        expect_all_stay("the proxy started again");
    }
}

// What changed while no proxy ran is found by the next start.
TEST_P(UdpFlows, AreFoundByTheNextStart) {
    auto some = flows(Place::kPods, "172.30.0.1");
    live_->stop(SIGKILL);
    a_.endpoints = {"10.180.0.21"};
    put(a_);
    expect_stay("no proxy runs", some);
    const auto started = live_->start_and_wait();
    ASSERT_TRUE(started) << started.error().message;
    expect_moved("changed while no proxy ran", some, a_.endpoints);
}

INSTANTIATE_TEST_SUITE_P(Families, UdpFlows, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
