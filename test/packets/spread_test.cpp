// New connections spread equally: each endpoint's share of 100,000 lies within five standard deviations of 1/n.
//
// A connection is one UDP packet written to a raw socket, each from an address and port of its own; what arrives is
// counted by the address that it was sent on to. Nothing answers, and nothing may be lost.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include <fmt/format.h>

#include "packets/node_under_test.h"
#include "packets/objects.h"
#include "packets/raw_udp.h"
#include "support/conntrack.h"
#include "support/probe.h"
#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::in_family;
using testnet::Place;

constexpr std::uint16_t kTargetPort = 8080;
constexpr std::size_t kAtOnce = 128;
constexpr std::uint16_t kFirstSourcePort = 1024;
constexpr std::uint16_t kSourcePorts = 50'000;

using Counts = std::unordered_map<net::IpAddress, std::size_t>;

class Spread : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }

    Result<void> set_up() {
        ASSIGN_OR_RETURN(topology_, testnet::Topology::create());
        plan::NodeSettings settings;
        settings.node_name = "test-node";
        const auto pods = in_family(family(), "10.0.0.0");
        const int length = family() == net::Family::kIpv4 ? 8 : 64;
        settings.cluster_cidrs = {{pods.masked(length), length}};
        settings.node_port_ranges = {{net::IpAddress(family()), 0}};
        ASSIGN_OR_RETURN(node_, NodeUnderTest::open(*topology_, "nftables", family(), settings));
        ASSIGN_OR_RETURN(receiver_, open_receiver(topology_->at(Place::kPods), family(), kTargetPort));
        return {};
    }

    [[nodiscard]] net::Family family() const { return GetParam(); }
    [[nodiscard]] net::IpAddress endpoint(std::size_t index) const {
        return in_family(family(), fmt::format("10.180.{}.{}", index / 200, 1 + index % 200));
    }

    // One service with n endpoints here, and as many elsewhere for its external policy to leave out.
    void program(std::size_t endpoints) {
        auto service = make_service("svc1", in_family(family(), "172.30.0.1"), {{"u", net::Protocol::kUdp, 80, 30001}});
        service->type = api::ServiceType::kLoadBalancer;
        auto local = make_service("svc2", in_family(family(), "172.30.0.2"), {{"u", net::Protocol::kUdp, 80, 30002}});
        local->type = api::ServiceType::kLoadBalancer;
        local->load_balancer_vips = {in_family(family(), "5.6.7.8")};
        local->external_traffic_policy = api::TrafficPolicy::kLocal;
        auto slice = make_slice(*service, kTargetPort);
        auto local_slice = make_slice(*local, kTargetPort);
        for (std::size_t i = 0; i < endpoints; ++i) {
            add_endpoint(*slice, endpoint(i), true);
            add_endpoint(*local_slice, endpoint(i), true);
            add_endpoint(*local_slice, in_family(family(), fmt::format("10.181.{}.{}", i / 200, 1 + i % 200)), false);
        }
        const auto done = node_->change(
            {put(std::shared_ptr<const api::Service>(service)), put(std::shared_ptr<const api::Service>(local)),
             put(std::shared_ptr<const api::EndpointSlice>(slice)),
             put(std::shared_ptr<const api::EndpointSlice>(local_slice))},
            NodeUnderTest::By::kReconcile);
        ASSERT_TRUE(done) << done.error().message;
    }

    void drain(Counts& counts) {
        std::array<std::array<char, 128>, kAtOnce> controls;
        std::array<mmsghdr, kAtOnce> messages{};
        while (true) {
            for (std::size_t i = 0; i < kAtOnce; ++i) {
                messages[i].msg_hdr.msg_control = controls[i].data();
                messages[i].msg_hdr.msg_controllen = controls[i].size();
            }
            const int got = ::recvmmsg(receiver_.get(), messages.data(), kAtOnce, 0, nullptr);
            if (got <= 0) return;
            for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
                const auto* c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
                // Both structures are found by their address field alone.
                const std::size_t offset = family() == net::Family::kIpv4 ? offsetof(in_pktinfo, ipi_addr) : 0;
                ++counts[net::IpAddress::from_bytes(family(), CMSG_DATA(c) + offset)];
            }
        }
    }

    // So many new connections from one place to one destination.
    Counts connect(Place from, std::string_view first_source, std::string_view to, std::uint16_t port,
                   std::size_t connections) {
        EXPECT_TRUE(testnet::flush_conntrack(topology_->node()));
        auto raw = open_raw_sender(topology_->at(from), family());
        EXPECT_TRUE(raw) << raw.error().message;
        if (!raw) return {};
        const auto destination = in_family(family(), to);
        testnet::SocketAddress target(destination, 0);
        std::array<std::array<std::uint8_t, kRawUdpBytes>, kAtOnce> packets;
        std::array<iovec, kAtOnce> vectors;
        std::array<mmsghdr, kAtOnce> messages{};
        Counts counts;
        const auto dot = first_source.rfind('.');
        for (std::size_t sent = 0; sent < connections;) {
            std::size_t filled = 0;
            for (; filled < kAtOnce && sent < connections; ++filled, ++sent) {
                const auto source = in_family(family(), fmt::format("{}.{}", first_source.substr(0, dot),
                                                                    std::atoi(first_source.data() + dot + 1) +
                                                                        static_cast<int>(sent / kSourcePorts)));
                const auto source_port = static_cast<std::uint16_t>(kFirstSourcePort + sent % kSourcePorts);
                vectors[filled] = {packets[filled].data(),
                                   write_packet(packets[filled].data(), source, source_port, destination, port)};
                messages[filled].msg_hdr.msg_name = target.raw();
                messages[filled].msg_hdr.msg_namelen = target.length;
                messages[filled].msg_hdr.msg_iov = &vectors[filled];
                messages[filled].msg_hdr.msg_iovlen = 1;
            }
            for (std::size_t done = 0; done < filled;) {
                const int wrote =
                    ::sendmmsg(raw->get(), messages.data() + done, static_cast<unsigned>(filled - done), 0);
                if (wrote <= 0) {
                    ADD_FAILURE() << "sendmmsg: " << errno_text(errno);
                    return counts;
                }
                done += static_cast<std::size_t>(wrote);
            }
            drain(counts);
        }
        // What a kernel thread still carries.
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (total(counts) < connections && std::chrono::steady_clock::now() < deadline) drain(counts);
        return counts;
    }

    static std::size_t total(const Counts& counts) {
        std::size_t sum = 0;
        for (const auto& [address, count] : counts) sum += count;
        return sum;
    }

    // The largest distance of an endpoint's count from its share, in standard deviations.
    double worst_deviation(const Counts& counts, std::size_t endpoints, std::size_t connections) {
        const double share = 1.0 / static_cast<double>(endpoints);
        const double expected = share * static_cast<double>(connections);
        const double deviation = std::sqrt(expected * (1 - share));
        double worst = 0;
        for (std::size_t i = 0; i < endpoints; ++i) {
            const auto found = counts.find(endpoint(i));
            const double count = found == counts.end() ? 0 : static_cast<double>(found->second);
            worst = std::max(worst, std::abs(count - expected) / deviation);
        }
        return worst;
    }

    void expect_equal(Place from, std::string_view source, std::string_view to, std::uint16_t port,
                      std::size_t endpoints, std::size_t connections) {
        // Among a thousand endpoints one lies outside five standard deviations in one of about 600 fair runs; twice in
        // a row is no chance any more.
        double worst = 0;
        for (int attempt = 0; attempt < 2; ++attempt) {
            const Counts counts = connect(from, source, to, port, connections);
            ASSERT_EQ(total(counts), connections) << "connections were lost";
            worst = worst_deviation(counts, endpoints, connections);
            ASSERT_LT(worst, 7) << endpoints << " endpoints of " << to << ":" << port;
            if (worst <= 5) break;
        }
        EXPECT_LE(worst, 5) << endpoints << " endpoints of " << to << ":" << port;
        fmt::print("  {} connections to {}:{} over {} endpoints: at most {:.2f} standard deviations off\n", connections,
                   to, port, endpoints, worst);
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<NodeUnderTest> node_;
    Fd receiver_;
};

TEST_P(Spread, IsEqual) {
    for (const std::size_t endpoints : {2U, 3U, 5U, 17U, 100U, 1000U}) {
        program(endpoints);
        if (HasFatalFailure()) return;
        expect_equal(Place::kPods, "10.0.0.2", "172.30.0.1", 80, endpoints, 100'000);
    }
}

TEST_P(Spread, OfNodePortsAndLocalPoolsIsEqual) {
    for (const std::size_t endpoints : {3U, 17U}) {
        program(endpoints);
        if (HasFatalFailure()) return;
        expect_equal(Place::kOutside, "203.0.113.2", "192.168.1.2", 30001, endpoints, 20'000);
        expect_equal(Place::kOutside, "203.0.113.2", "192.168.1.2", 30002, endpoints, 20'000);
        expect_equal(Place::kOutside, "203.0.113.2", "5.6.7.8", 80, endpoints, 20'000);
    }
}

INSTANTIATE_TEST_SUITE_P(Families, Spread, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
