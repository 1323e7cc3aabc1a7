// What /metrics says of a Service's packets and bytes is what clients sent and got back: each packet once, whichever
// way it takes through the node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "agent/metrics_text_testing.h"
#include "packets/echo.h"
#include "packets/live_node.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using testnet::Place;

constexpr milliseconds kAnswerWithin(5000);
constexpr std::chrono::seconds kSeenWithin(10);
constexpr std::uint16_t kMetricsPort = 10249;
constexpr std::uint64_t kQuestion = 8;  // bytes that EchoClient sends, and gets
constexpr std::uint64_t kAnswer = 24;
constexpr int kNodePort = 30001;
constexpr std::string_view kExternal = "1.2.3.1";

struct Count {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;

    friend bool operator==(const Count&, const Count&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Count& count) {
        return out << count.packets << " packets, " << count.bytes << " bytes";
    }
};
// By `service/port name`; of those that counted anything.
using Counts = std::map<std::string, Count>;

class ServiceCounters : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(GetParam()));
        for (const auto place : {Place::kNode, Place::kPods, Place::kRemote}) {
            ASSIGN_OR_RETURN(auto server, EchoServer::start(live_->topology().at(place), GetParam(), kEchoTarget));
            servers_.push_back(std::move(server));
        }
        put({"far", "172.30.0.1", std::string(kExternal), kNodePort, false, {"10.181.0.2"}});
        put({"near", "172.30.0.2", "", 0, false, {"10.180.0.5", "10.180.0.6"}});
        put({"host", "172.30.0.3", "", 0, false, {std::string(kOwnAddress)}});
        return {};
    }
    void put(const ServiceSpec& service) const { live_->write(service.name + ".yaml", manifest({service})); }
    void start(std::vector<std::string> flags) {
        live_->stop(SIGTERM);
        live_->follow("", std::move(flags));
        const auto took = live_->start_and_wait();
        ASSERT_TRUE(took) << took.error().message;
    }

    // The series of both metrics; empty if there are none. `series`: how many there are.
    [[nodiscard]] Counts counts(std::size_t* series = nullptr) const {
        const auto page = live_->page(kMetricsPort, "/metrics");
        const auto body = page.find("\r\n\r\n");
        const auto read = agent::testing::parse_metrics(body == std::string::npos ? "" : page.substr(body + 4));
        EXPECT_THAT(read.complaints, ::testing::IsEmpty());
        Counts result;
        const auto each = [&](const std::string& name, std::uint64_t Count::*number) {
            const auto found = read.metrics.find(name);
            if (found == read.metrics.end()) return;
            if (series != nullptr) *series += found->second.samples.size();
            for (const auto& sample : found->second.samples) {
                EXPECT_EQ(sample.labels.at("namespace"), "test");
                EXPECT_EQ(sample.labels.at("protocol") == "UDP", sample.labels.at("port_name").ends_with("-udp"));
                // The other family has no objects here.
                EXPECT_EQ(sample.labels.at("ip_family"), net::family_name(GetParam()));
                if (sample.value != 0)
                    result[sample.labels.at("service") + "/" + sample.labels.at("port_name")].*number =
                        static_cast<std::uint64_t>(sample.value);
            }
        };
        each("ghostip_service_packets_total", &Count::packets);
        each("ghostip_service_bytes_total", &Count::bytes);
        return result;
    }
    // Readings are at most a second old.
    void expect_counts(const char* when) const {
        Counts last;
        const bool same = wait_until(kSeenWithin, [&] {
            last = counts();
            return last == expected_;
        });
        EXPECT_TRUE(same) << when << "\nsaid: " << ::testing::PrintToString(last)
                          << "\nsent: " << ::testing::PrintToString(expected_);
    }

    [[nodiscard]] EchoClient client(Place from, std::string_view to, int port, net::Protocol protocol) {
        constexpr int kHosts = 250;
        const auto number = 1 + ++sources_ % kHosts;
        std::string source = fmt::format("203.0.113.{}", number);
        if (from == Place::kPods) source = fmt::format("10.0.1.{}", number);
        if (from == Place::kNode) source = kOwnAddress;
        auto made = EchoClient::open(live_->topology().at(from), protocol, live_->address(source), live_->address(to),
                                     static_cast<std::uint16_t>(port));
        if (!made) throw std::runtime_error(made.error().message);
        return std::move(*made);
    }
    // So many datagrams there and back; by how much that is to raise a counter.
    Count ask(Place from, std::string_view to, int port, std::uint64_t times) {
        auto one = client(from, to, port, net::Protocol::kUdp);
        for (std::uint64_t i = 0; i < times; ++i) {
            const auto answered = one.ask(kAnswerWithin);
            if (!answered) ADD_FAILURE() << answered.error().message;
        }
        const std::uint64_t headers = GetParam() == net::Family::kIpv4 ? 28 : 48;  // IP and UDP
        return {times * 2, times * (kQuestion + kAnswer + 2 * headers)};
    }
    void expect_more(const std::string& series, const Count& more) {
        expected_[series].packets += more.packets;
        expected_[series].bytes += more.bytes;
    }

    // Somebody else's rules, that count forwarded TCP of one original port.
    Result<void> count_tcp_elsewhere() const {
        const auto done = live_->nft(
            {"-f", "-"}, fmt::format("table {} other {{\nchain forwarded {{ type filter hook forward priority "
                                     "0; tcp sport != 0 ct original proto-dst {} counter; }}\n}}\n",
                                     ip(), kEchoPort));
        if (!done) return done.error();
        return {};
    }
    [[nodiscard]] Result<Count> counted_elsewhere() const {
        ASSIGN_OR_RETURN(const auto text, live_->nft({"list", "table", ip(), "other"}));
        const auto found = text.find("counter packets ");
        if (found == std::string::npos) return fail("no counter in {}", text);
        Count count;
        std::string word;
        std::istringstream words(text.substr(found));
        words >> word >> word >> count.packets >> word >> count.bytes;
        return count;
    }
    [[nodiscard]] std::string ip() const { return GetParam() == net::Family::kIpv4 ? "ip" : "ip6"; }

    std::unique_ptr<LiveNode> live_;
    std::vector<std::unique_ptr<EchoServer>> servers_;
    Counts expected_;
    int sources_ = 0;
};

TEST_P(ServiceCounters, EachPacketOnceWhicheverWayItTakes) {
    start({"--service-counters"});
    expect_counts("nothing was sent");
    struct Case {
        const char* name;
        Place from;
        std::string_view to;
        int port;
        const char* series;  // null: not a Service's
        std::uint64_t times;
    };
    const Case cases[] = {
        {"forwarded, and masqueraded nowhere", Place::kPods, "172.30.0.1", kEchoPort, "far/echo-udp", 7},
        {"to a pod here", Place::kPods, "172.30.0.2", kEchoPort, "near/echo-udp", 5},
        {"from a pod to the node itself", Place::kPods, "172.30.0.3", kEchoPort, "host/echo-udp", 3},
        {"from the node to elsewhere", Place::kNode, "172.30.0.1", kEchoPort, "far/echo-udp", 4},
        {"from the node to a pod here", Place::kNode, "172.30.0.2", kEchoPort, "near/echo-udp", 6},
        {"from the node to itself", Place::kNode, "172.30.0.3", kEchoPort, "host/echo-udp", 11},
        {"an external IP from outside", Place::kOutside, kExternal, kEchoPort, "far/echo-udp", 2},
        {"a node port from outside", Place::kOutside, kOwnAddress, kNodePort + kEchoNodePort, "far/echo-udp", 9},
        {"a node port from a pod", Place::kPods, kOwnAddress, kNodePort + kEchoNodePort, "far/echo-udp", 8},
        {"a node port from the node", Place::kNode, kOwnAddress, kNodePort + kEchoNodePort, "far/echo-udp", 1},
        {"an endpoint by its own address", Place::kPods, "10.181.0.2", kEchoTarget, nullptr, 3},
        {"the node by its own address", Place::kOutside, kOwnAddress, kEchoTarget, nullptr, 3},
    };
    for (const auto& c : cases) {
        const auto sent = ask(c.from, c.to, c.port, c.times);
        if (c.series != nullptr) expect_more(c.series, sent);
        expect_counts(c.name);
        if (HasFailure()) return;
    }
    std::size_t series = 0;
    static_cast<void>(counts(&series));
    EXPECT_EQ(series, 3U * 4 * 2) << "Services, their ports, packets and bytes";
}

// A connection's packets are whatever TCP makes of it: somebody else counts them, too.
TEST_P(ServiceCounters, Tcp) {
    start({"--service-counters"});
    const auto prepared = count_tcp_elsewhere();
    ASSERT_TRUE(prepared) << prepared.error().message;
    constexpr int kMessages = 10;
    {
        auto one = client(Place::kPods, "172.30.0.1", kEchoPort, net::Protocol::kTcp);
        for (int i = 0; i < kMessages; ++i) {
            const auto answered = one.ask(kAnswerWithin);
            ASSERT_TRUE(answered) << answered.error().message;
        }
    }
    Result<Count> elsewhere = Count{};
    Counts last;
    EXPECT_TRUE(wait_until(kSeenWithin,
                           [&] {
                               last = counts();
                               elsewhere = counted_elsewhere();
                               return elsewhere && last == Counts{{"far/echo-tcp", *elsewhere}};
                           }))
        << ::testing::PrintToString(last) << "\nelsewhere: " << ::testing::PrintToString(elsewhere.value_or(Count{}));
    EXPECT_GE(elsewhere->packets, 3U + 2 * kMessages + 3) << "opened, used and closed";
}

TEST_P(ServiceCounters, LastAsLongAsTheServicePort) {
    start({"--service-counters"});
    expect_more("far/echo-udp", ask(Place::kPods, "172.30.0.1", kEchoPort, 4));
    expect_more("far/echo-udp", ask(Place::kOutside, kExternal, kEchoPort, 3));
    expect_counts("in the beginning");

    put({"far", "172.30.0.1", "", kNodePort, false, {"10.181.0.3", "10.181.0.4"}});
    ASSERT_TRUE(wait_until(kSeenWithin, [&] {
        const auto listed = live_->nft({"list", "set", ip(), "ghostip", "counted"});
        return listed && listed->find(live_->address(kExternal).text()) == std::string::npos;
    }));
    expect_counts("other endpoints, and an address less");
    put({"far", "172.30.0.1", std::string(kExternal), kNodePort, false, {"10.181.0.3"}});
    ASSERT_TRUE(wait_until(kSeenWithin, [&] {
        const auto listed = live_->nft({"list", "set", ip(), "ghostip", "counted"});
        return listed && listed->find(live_->address(kExternal).text()) != std::string::npos;
    }));
    expect_more("far/echo-udp", ask(Place::kOutside, kExternal, kEchoPort, 2));
    expect_counts("the address is back");

    ASSERT_TRUE(live_->nft({"flush", "set", ip(), "ghostip", "counted"}));
    ASSERT_TRUE(wait_until(kSeenWithin, [&] {
        const auto listed = live_->nft({"list", "set", ip(), "ghostip", "counted"});
        return listed && listed->find(live_->address("172.30.0.1").text()) != std::string::npos;
    }));
    expect_more("far/echo-udp", ask(Place::kPods, "172.30.0.1", kEchoPort, 1));
    expect_counts("somebody emptied the set, which was repaired");

    live_->write("far.yaml", "");
    expected_.clear();
    expect_counts("the Service is gone");
    std::size_t series = 0;
    static_cast<void>(counts(&series));
    EXPECT_EQ(series, 2U * 4 * 2);
}

// With the option, without, and with it again: rules that count come and go, and flows do not notice.
TEST_P(ServiceCounters, ARestart) {
    start({});
    auto flow = client(Place::kPods, "172.30.0.1", kEchoPort, net::Protocol::kUdp);
    const auto expect_flows = [&](std::uint64_t times) {
        for (std::uint64_t i = 0; i < times; ++i) {
            const auto answered = flow.ask(kAnswerWithin);
            ASSERT_TRUE(answered) << answered.error().message;
        }
    };
    expect_flows(1);
    EXPECT_EQ(live_->page(kMetricsPort, "/metrics").find("ghostip_service_packets"), std::string::npos);
    const auto plain = live_->listing();
    ASSERT_TRUE(plain) << plain.error().message;
    EXPECT_EQ(plain->find("count"), std::string::npos) << *plain;

    start({"--service-counters"});
    expect_flows(3);
    const std::uint64_t headers = GetParam() == net::Family::kIpv4 ? 28 : 48;
    expect_more("far/echo-udp", {6, 3 * (kQuestion + kAnswer + 2 * headers)});
    expect_counts("a flow that is older than the counters");
    const auto generation = live_->generation();
    start({"--service-counters"});
    EXPECT_EQ(live_->generation().value_or(0), generation.value_or(1)) << "nothing was written";
    expect_counts("they go on where they stood");
    expect_flows(1);
    expect_more("far/echo-udp", {2, kQuestion + kAnswer + 2 * headers});
    expect_counts("and go on counting");

    start({"--service-counters=false"});
    expect_flows(1);
    EXPECT_EQ(live_->listing().value_or(""), *plain);
    EXPECT_EQ(live_->page(kMetricsPort, "/metrics").find("ghostip_service_packets"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Families, ServiceCounters, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
