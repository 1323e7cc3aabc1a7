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
#include <numeric>
#include <optional>
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
constexpr std::uint64_t kLeastRounds = 20;  // of one change each, however slow the machine is

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
        ASSIGN_OR_RETURN(sender_, open_raw_sender(topology_->at(Place::kPods), GetParam()));
        ASSIGN_OR_RETURN(receiver_, open_receiver(topology_->at(Place::kPods), GetParam(), kTargetPort));
        service_ = make_service("svc1", cluster_ip(), {{"u", net::Protocol::kUdp, 80, 0}});
        return open_node(3);
    }

    // A node that serves the first so many addresses.
    Result<void> open_node(std::size_t endpoints) {
        plan::NodeSettings settings;
        settings.node_name = "test-node";
        const int length = GetParam() == net::Family::kIpv4 ? 8 : 64;
        settings.cluster_cidrs = {{in_family(GetParam(), "10.0.0.0").masked(length), length}};
        ASSIGN_OR_RETURN(node_, NodeUnderTest::open(*topology_, "nftables", GetParam(), settings));
        return node_->change({put(std::shared_ptr<const api::Service>(service_)), slice_of(first(endpoints))},
                             NodeUnderTest::By::kReconcile);
    }

    [[nodiscard]] static net::IpAddress cluster_ip() { return in_family(GetParam(), "172.30.0.1"); }

    static std::vector<std::size_t> first(std::size_t count) {
        std::vector<std::size_t> indices(count);
        std::iota(indices.begin(), indices.end(), std::size_t{0});
        return indices;
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

    [[nodiscard]] api::Change slice_of(const std::vector<std::size_t>& pool) const {
        auto slice = make_slice(*service_, kTargetPort);
        for (const auto index : pool) add_endpoint(*slice, address(index), true);
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

    // A connection of one packet, from a source port of its own: where it arrived, or nothing if it is lost.
    std::optional<net::IpAddress> send_one(const net::IpAddress& destination) {
        if (sent_ % kSourcePorts == 0) {
            EXPECT_TRUE(testnet::flush_conntrack(topology_->node()));
        }
        const auto source = in_family(GetParam(), fmt::format("10.0.0.{}", 2 + sent_ / kSourcePorts % 200));
        std::array<std::uint8_t, kRawUdpBytes> packet{};
        const auto size =
            write_packet(packet.data(), source, static_cast<std::uint16_t>(kFirstSourcePort + sent_ % kSourcePorts),
                         destination, 80);
        ++sent_;
        const testnet::SocketAddress target(destination, 0);
        EXPECT_EQ(::sendto(sender_.get(), packet.data(), size, 0, target.raw(), target.length),
                  static_cast<ssize_t>(size));
        // The kernel delivers within the call, but for what it leaves to another thread under load.
        auto arrived = receive(receiver_, GetParam());
        for (int wait = 0; !arrived && wait < 10'000; ++wait) {
            std::this_thread::sleep_for(std::chrono::microseconds(10));
            arrived = receive(receiver_, GetParam());
        }
        return arrived;
    }

    // How many connections are lost while the change is made: some before it, all during it, some after it.
    template <typename Change>
    std::uint64_t lost_during(const Change& change, const net::IpAddress& destination) {
        std::atomic<bool> go = false;
        std::atomic<bool> done = false;
        Result<void> result;
        std::thread changer([&] {
            while (!go) std::this_thread::yield();
            result = change();
            done = true;
        });
        std::uint64_t lost = 0;
        for (int i = 0; i < 20; ++i) lost += send_one(destination) ? 0U : 1U;
        go = true;
        while (!done) lost += send_one(destination) ? 0U : 1U;
        for (int i = 0; i < 20; ++i) lost += send_one(destination) ? 0U : 1U;
        changer.join();
        EXPECT_TRUE(result) << result.error().message;
        return lost;
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<NodeUnderTest> node_;
    std::shared_ptr<api::Service> service_;
    Fd sender_;
    Fd receiver_;
    std::uint64_t sent_ = 0;
};

TEST_P(Storm, LosesNothingAndSendsNothingWrong) {
    std::atomic<std::uint64_t> committed = 0;  // the generation that the kernel holds for sure
    std::atomic<bool> stop = false;
    std::string trouble;
    ASSERT_TRUE(node_->change({slice_of(members(0))}, NodeUnderTest::By::kDelta));
    std::thread changes([&] {
        for (std::uint64_t generation = 1; !stop; ++generation) {
            const auto done = node_->change({slice_of(members(generation))}, NodeUnderTest::By::kDelta);
            if (!done) {
                trouble = done.error().message;
                return;
            }
            committed = generation;
        }
    });

    std::uint64_t lost = 0;
    std::uint64_t wrong = 0;
    const auto end = std::chrono::steady_clock::now() + duration();
    while (std::chrono::steady_clock::now() < end) {
        const std::uint64_t before = committed;
        const auto arrived = send_one(cluster_ip());
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
    EXPECT_GT(sent_, 1000U);
    fmt::print("  {} connections during {} changes: {} lost, {} wrong\n", sent_, committed.load(), lost, wrong);
}

// What needs rules that were not there before: the first pool of its size, again and again.
TEST_P(Storm, LosesNothingWhenThePoolIsTheFirstOfItsSize) {
    std::uint64_t lost = 0;
    std::uint64_t rounds = 0;
    const auto end = std::chrono::steady_clock::now() + duration();
    for (; rounds < kLeastRounds || std::chrono::steady_clock::now() < end; ++rounds) {
        ASSERT_TRUE(NodeUnderTest::clean_up(*topology_, "nftables"));
        const auto ready = open_node(rounds % 2 == 0 ? 1 : 5);
        ASSERT_TRUE(ready) << ready.error().message;
        lost += lost_during(
            [&] { return node_->change({slice_of(first(rounds % 2 == 0 ? 5 : 1))}, NodeUnderTest::By::kDelta); },
            cluster_ip());
    }
    EXPECT_EQ(lost, 0U);
    fmt::print("  {} connections, {} first pools of their size: {} lost\n", sent_, rounds, lost);
}

// The external policy changes there and back; the client is a pod, which every policy serves.
TEST_P(Storm, LosesNothingWhileTheExternalPolicyChanges) {
    const auto vip = in_family(GetParam(), "5.6.7.8");
    const auto with = [&](api::TrafficPolicy policy) {
        auto service = std::make_shared<api::Service>(*service_);
        service->external_ips = {vip};
        service->external_traffic_policy = policy;
        return put(std::shared_ptr<const api::Service>(service));
    };
    ASSERT_TRUE(node_->change({with(api::TrafficPolicy::kCluster)}, NodeUnderTest::By::kDelta));
    std::uint64_t lost = 0;
    std::uint64_t rounds = 0;
    const auto end = std::chrono::steady_clock::now() + duration();
    for (; rounds < kLeastRounds || std::chrono::steady_clock::now() < end; ++rounds) {
        const auto policy = rounds % 2 == 0 ? api::TrafficPolicy::kLocal : api::TrafficPolicy::kCluster;
        lost += lost_during([&] { return node_->change({with(policy)}, NodeUnderTest::By::kDelta); }, vip);
    }
    EXPECT_EQ(lost, 0U);
    fmt::print("  {} connections, {} changes of the policy: {} lost\n", sent_, rounds, lost);
}

// A load balancer's source ranges change, always such that the client may: lengths that are new, and old ones again.
TEST_P(Storm, LosesNothingWhileSourceRangesChange) {
    const auto vip = in_family(GetParam(), "5.6.7.8");
    const auto allow = [&](int length) {
        auto service = std::make_shared<api::Service>(*service_);
        service->type = api::ServiceType::kLoadBalancer;
        service->load_balancer_vips = {vip};
        const auto client = in_family(GetParam(), "10.0.0.0");
        service->load_balancer_source_ranges = {{client.masked(length), length}};
        return put(std::shared_ptr<const api::Service>(service));
    };
    constexpr int kShortest = 4;
    const int longest = net::address_bits(GetParam()) - 8;
    std::uint64_t lost = 0;
    std::uint64_t rounds = 0;
    const auto end = std::chrono::steady_clock::now() + duration();
    while (rounds < kLeastRounds || std::chrono::steady_clock::now() < end) {
        ASSERT_TRUE(NodeUnderTest::clean_up(*topology_, "nftables"));
        ASSERT_TRUE(open_node(3));
        ASSERT_TRUE(node_->change({allow(kShortest)}, NodeUnderTest::By::kDelta));
        std::vector<int> lengths;
        for (int length = kShortest + 1; length <= longest; length += 2) lengths.push_back(length);
        for (int length = longest; length >= kShortest; length -= 2) lengths.push_back(length);
        for (const int length : lengths) {
            lost += lost_during([&] { return node_->change({allow(length)}, NodeUnderTest::By::kDelta); }, vip);
            ++rounds;
        }
    }
    EXPECT_EQ(lost, 0U);
    fmt::print("  {} connections, {} changes of source ranges: {} lost\n", sent_, rounds, lost);
}

INSTANTIATE_TEST_SUITE_P(Families, Storm, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
