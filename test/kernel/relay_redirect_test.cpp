// The relay behind rules that lead traffic to it: it learns what clients have dialled, and answers from there.
#include <sys/socket.h>

#include <mutex>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"
#include "support/namespace.h"

namespace ghostip::relay::testing {
namespace {

using testnet::Namespace;

SocketAddress at(std::string_view address, std::uint16_t port) { return {*net::IpAddress::parse(address), port}; }

// A namespace whose own clients dial addresses that nobody has.
class Redirected : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Namespace::create();
        ASSERT_TRUE(made) << made.error().message;
        host_.emplace(std::move(made).value());
        ASSERT_TRUE(run({"ip", "address", "add", "192.0.2.1/24", "dev", "lo"}));
        ASSERT_TRUE(run({"ip", "address", "add", "2001:db8::1/64", "dev", "lo", "nodad"}));
        ASSERT_TRUE(run({"ip", "route", "add", "10.96.0.0/16", "dev", "lo", "src", "192.0.2.1"}));
        ASSERT_TRUE(run({"ip", "-6", "route", "add", "fd00:96::/64", "dev", "lo", "src", "2001:db8::1"}));
        inside_.emplace(host_->fd());
    }
    [[nodiscard]] bool run(const std::vector<std::string>& argv, std::string_view input = {}) {
        const auto result = host_->must_run(argv, input);
        EXPECT_TRUE(result) << result.error().message;
        return result.has_value();
    }
    [[nodiscard]] bool rules(const std::string& text) { return run({"nft", "-f", "-"}, text); }
    [[nodiscard]] bool route_marked_here() {
        return run({"ip", "rule", "add", "fwmark", "1", "lookup", "100"}) &&
               run({"ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100"});
    }

    [[nodiscard]] Ask noting() {
        return [this](const Arrival& arrival) {
            const std::lock_guard lock(mutex_);
            arrivals_.push_back(arrival);
            return Answer::serve({});
        };
    }
    [[nodiscard]] std::vector<Arrival> arrivals() {
        const std::lock_guard lock(mutex_);
        return arrivals_;
    }

    std::optional<Namespace> host_;
    std::optional<Namespace::Entered> inside_;

  private:
    std::mutex mutex_;
    std::vector<Arrival> arrivals_;  // guarded by mutex_
};

TEST_F(Redirected, TcpTellsWhatWasDialled) {
    struct Case {
        net::Family family;
        const char* table_family;
        SocketAddress dialled;
    };
    for (const auto& [family, table_family, dialled] :
         {Case{net::Family::kIpv4, "ip", at("10.96.0.1", 80)}, Case{net::Family::kIpv6, "ip6", at("fd00:96::1", 80)}}) {
        const NamedServer server('s', family);
        ListenerSpec spec;
        spec.address = loopback(family);
        spec.ask = noting();
        const auto rig = testing::rig({.endpoints = {server.address()}}, {}, spec);
        ASSERT_TRUE(
            rules(fmt::format("table {} led_here {{ chain out {{ type nat hook output priority -100;"
                              " {} daddr {} tcp dport 80 redirect to :{}; }}\n }}",
                              table_family, table_family, dialled.address.text(), rig.address.port)));
        const Fd client = connect_to(dialled);
        ASSERT_TRUE(client);
        EXPECT_EQ(receive(client, 1), "s");
        const auto all = arrivals();
        ASSERT_FALSE(all.empty());
        EXPECT_EQ(all.back().destination, dialled);
        EXPECT_EQ(all.back().local.port, rig.address.port);
        EXPECT_NE(all.back().local, all.back().destination);
        EXPECT_EQ(all.back().client, own_address(client.get()));
        // Who dials the listener itself is told apart by that.
        const Fd direct = connect_to(loopback(family, rig.address.port));
        EXPECT_EQ(receive(direct, 1), "s");
        EXPECT_EQ(arrivals().back().local, arrivals().back().destination);
    }
}

TEST_F(Redirected, TheProxyHeaderNamesWhatWasDialled) {
    const auto endpoint = bind_free(SOCK_STREAM);
    const auto rig = testing::rig({.endpoints = {endpoint.address}, .proxy_protocol = ProxyProtocol::kV1}, {},
                                  {.address = {net::IpAddress(net::Family::kIpv4), 0}});
    ASSERT_TRUE(
        rules(fmt::format("table ip led_here {{ chain out {{ type nat hook output priority -100;"
                          " ip daddr 10.96.0.1 tcp dport 80 redirect to :{}; }}\n }}",
                          rig.address.port)));
    const Fd client = connect_to(at("10.96.0.1", 80));
    const Fd server = accept_one(endpoint.socket);
    const auto port = own_address(client.get()).value().port;
    const auto header = fmt::format("PROXY TCP4 192.0.2.1 10.96.0.1 {} 80\r\n", port);
    EXPECT_EQ(receive(server, header.size()), header);
}

TEST_F(Redirected, UdpAnswersComeFromWhatWasAsked) {
    const NamedUdpServer server('s');
    ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.address = loopback();
    const auto rig = testing::rig({.endpoints = {server.address()}}, {}, spec);
    ASSERT_TRUE(
        rules(fmt::format("table ip led_here {{ chain out {{ type nat hook output priority -100;"
                          " ip daddr 10.96.0.1 udp dport 53 redirect to :{}; }}\n }}",
                          rig.address.port)));
    const Fd client = connect_to(at("10.96.0.1", 53), SOCK_DGRAM);
    ASSERT_TRUE(send_all(client, "x"));
    EXPECT_EQ(receive(client, 2), "sx");
}

// With TPROXY nothing is translated: the packet keeps the address that the client has asked, and so must the answer.
TEST_F(Redirected, TransparentUdp) {
    ASSERT_TRUE(route_marked_here());
    const NamedUdpServer server('s');
    ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.address = loopback();
    spec.destinations = Destinations::kTransparent;
    spec.ask = noting();
    const auto rig = testing::rig({.endpoints = {server.address()}}, {}, spec);
    ASSERT_TRUE(rules(
        fmt::format("table ip divert {{"
                    " chain out {{ type route hook output priority mangle; ip daddr 10.96.0.0/16 meta mark set 1; }}\n"
                    " chain in {{ type filter hook prerouting priority mangle;"
                    " ip daddr 10.96.0.0/16 udp dport {{ 53, 54 }} tproxy to :{} accept; }}\n }}",
                    rig.address.port)));
    for (const auto& asked : {at("10.96.0.1", 53), at("10.96.0.2", 53), at("10.96.0.1", 54)}) {
        const Fd client = connect_to(asked, SOCK_DGRAM);
        for (int i = 0; i < 3; ++i) {
            ASSERT_TRUE(send_all(client, "x"));
            EXPECT_EQ(receive(client, 2), "sx") << asked.text();
        }
        EXPECT_EQ(arrivals().back().destination, asked);
    }
    EXPECT_EQ(arrivals().size(), 3U) << "what follows goes by the session, past no answering socket";
}

TEST_F(Redirected, TransparentTcp) {
    ASSERT_TRUE(route_marked_here());
    const NamedServer server('s');
    ListenerSpec spec;
    spec.address = loopback();
    spec.destinations = Destinations::kTransparent;
    spec.ask = noting();
    const auto rig = testing::rig({.endpoints = {server.address()}}, {}, spec);
    ASSERT_TRUE(rules(
        fmt::format("table ip divert {{"
                    " chain out {{ type route hook output priority mangle; ip daddr 10.96.0.0/16 meta mark set 1; }}\n"
                    " chain in {{ type filter hook prerouting priority mangle;"
                    " ip daddr 10.96.0.0/16 meta l4proto tcp tproxy to :{} accept; }}\n }}",
                    rig.address.port)));
    const Fd client = connect_to(at("10.96.0.3", 8080));
    ASSERT_TRUE(client);
    EXPECT_EQ(receive(client, 1), "s");
    EXPECT_EQ(arrivals().back().destination, at("10.96.0.3", 8080));
}

}  // namespace
}  // namespace ghostip::relay::testing
