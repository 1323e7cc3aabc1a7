// A storm of changes with a stream of new connections through it: every packet arrives, and at an endpoint that was in
// its pool at that moment or just before.
//
// One thread replaces the endpoints of a Service as fast as the kernel takes it, so that pools grow and shrink across
// classes all the time. Another sends connections, one packet each from a source port of its own, and looks where each
// arrives. A pool is made from the number of its generation alone, so both threads know what was right.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

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
constexpr std::size_t kAddresses = 40;  // that endpoints can have
constexpr std::uint16_t kFirstSourcePort = 1024;
constexpr std::uint16_t kSourcePorts = 60'000;

std::chrono::seconds duration() {
    const char* scale = std::getenv("GHOSTIP_STORM_SECONDS");
    return std::chrono::seconds(scale == nullptr ? 5 : std::atoi(scale));
}

class Storm : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }

    Result<void> set_up() {
        ASSIGN_OR_RETURN(topology_, testnet::Topology::create());
        plan::NodeSettings settings;
        settings.node_name = "test-node";
        const int length = GetParam() == net::Family::kIpv4 ? 8 : 64;
        settings.cluster_cidrs = {{in_family(GetParam(), "10.0.0.0").masked(length), length}};
        ASSIGN_OR_RETURN(node_, NodeUnderTest::open(*topology_, "nftables", GetParam(), settings));
        ASSIGN_OR_RETURN(sender_, open_raw_sender(topology_->at(Place::kPods), GetParam()));
        ASSIGN_OR_RETURN(receiver_, open_receiver(topology_->at(Place::kPods), GetParam(), kTargetPort));
        service_ = make_service("svc1", in_family(GetParam(), "172.30.0.1"), {{"u", net::Protocol::kUdp, 80, 0}});
        RETURN_IF_ERROR(node_->change({put(std::shared_ptr<const api::Service>(service_)), slice_of(0)},
                                      NodeUnderTest::By::kReconcile));
        return {};
    }

    // Which addresses are in the pool of a generation: 1 to 40 of them, any.
    static std::vector<std::size_t> members(std::uint64_t generation) {
        std::mt19937_64 random(generation);
        std::vector<std::size_t> all(kAddresses);
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
        std::shuffle(all.begin(), all.end(), random);
        all.resize(1 + random() % (random() % 2 == 0 ? 5 : kAddresses));
        return all;
    }

    [[nodiscard]] net::IpAddress address(std::size_t index) const {
        return in_family(GetParam(), fmt::format("10.180.0.{}", 1 + index));
    }

    [[nodiscard]] api::Change slice_of(std::uint64_t generation) const {
        auto slice = make_slice(*service_, kTargetPort);
        for (const auto index : members(generation)) add_endpoint(*slice, address(index), true);
        return put(std::shared_ptr<const api::EndpointSlice>(slice));
    }

    [[nodiscard]] bool was_right(const net::IpAddress& arrived, std::uint64_t from, std::uint64_t until) const {
        for (auto generation = from; generation <= until; ++generation) {
            const auto pool = members(generation);
            if (std::any_of(pool.begin(), pool.end(), [&](auto index) { return address(index) == arrived; }))
                return true;
        }
        return false;
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<NodeUnderTest> node_;
    std::shared_ptr<api::Service> service_;
    Fd sender_;
    Fd receiver_;
};

TEST_P(Storm, LosesNothingAndSendsNothingWrong) {
    std::atomic<std::uint64_t> committed = 0;  // the generation that the kernel holds for sure
    std::atomic<bool> stop = false;
    std::string trouble;
    std::thread changes([&] {
        for (std::uint64_t generation = 1; !stop; ++generation) {
            const auto done = node_->change({slice_of(generation)}, NodeUnderTest::By::kDelta);
            if (!done) {
                trouble = done.error().message;
                return;
            }
            committed = generation;
        }
    });

    const auto destination = in_family(GetParam(), "172.30.0.1");
    const testnet::SocketAddress target(destination, 0);
    std::array<std::uint8_t, kRawUdpBytes> packet{};
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
    std::uint64_t wrong = 0;
    const auto end = std::chrono::steady_clock::now() + duration();
    while (std::chrono::steady_clock::now() < end) {
        if (sent % kSourcePorts == 0) {
            ASSERT_TRUE(testnet::flush_conntrack(topology_->node()));
        }
        const auto source = in_family(GetParam(), fmt::format("10.0.0.{}", 2 + sent / kSourcePorts % 200));
        const auto size = write_packet(
            packet.data(), source, static_cast<std::uint16_t>(kFirstSourcePort + sent % kSourcePorts), destination, 80);
        const std::uint64_t before = committed;
        ASSERT_EQ(::sendto(sender_.get(), packet.data(), size, 0, target.raw(), target.length),
                  static_cast<ssize_t>(size));
        ++sent;
        // The kernel delivers within the call, but for what it leaves to another thread under load.
        auto arrived = receive(receiver_, GetParam());
        for (int wait = 0; !arrived && wait < 10'000; ++wait) {
            std::this_thread::sleep_for(std::chrono::microseconds(10));
            arrived = receive(receiver_, GetParam());
        }
        if (!arrived)
            ++lost;
        else if (!was_right(*arrived, before, committed + 1))  // one more may be in the kernel and not counted yet
            ++wrong;
    }
    stop = true;
    changes.join();
    EXPECT_EQ(trouble, "");
    EXPECT_EQ(lost, 0U);
    EXPECT_EQ(wrong, 0U);
    EXPECT_GT(committed, 100U);
    EXPECT_GT(sent, 1000U);
    fmt::print("  {} connections during {} changes: {} lost, {} wrong\n", sent, committed.load(), lost, wrong);
}

INSTANTIATE_TEST_SUITE_P(Families, Storm, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
