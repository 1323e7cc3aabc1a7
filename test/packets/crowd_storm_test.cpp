// A storm over many Services: each one's endpoints are replaced, grow, shrink, go and come back, thousands of objects a
// second, with new connections to all of them. Every one arrives at an endpoint that was in its pool at that moment or
// just before, unless there was a moment without any.
//
// As storm_test.cpp, but wide: many Services change in one commit, and connections and changes keep apart what was
// right by a number for each Service.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/node_under_test.h"
#include "packets/objects.h"
#include "packets/raw_udp.h"
#include "support/conntrack.h"
#include "support/twin.h"
#include "support/wire.h"

namespace ghostip::packets {
namespace {

using testnet::in_family;
using testnet::Place;
using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::size_t kServices = 300;
constexpr std::size_t kAddresses = 8;  // that the endpoints of one Service can have
constexpr std::size_t kChangedAtOnce = 16;
constexpr std::uint64_t kAfresh = 60'000;  // connections, then the source ports are used again
constexpr std::uint16_t kFirstSourcePort = 1024;
constexpr std::chrono::seconds kDuration(4);
// After that long nothing arrives any more: where there may have been nobody, and where somebody was.
constexpr std::chrono::milliseconds kRefused(5);
constexpr std::chrono::milliseconds kLost(500);

constexpr std::uint64_t kEmptyOneIn = 20;

// Which endpoints a Service has in a generation: any number from none to all, of any of its addresses.
class Pool {
  public:
    Pool(std::size_t service, std::uint64_t generation) {
        std::mt19937_64 random(service << 32 ^ generation);
        static_cast<void>(random());
        const auto size = random() % kEmptyOneIn == 0 && generation > 0 ? 0 : 1 + random() % kAddresses;
        std::array<std::size_t, kAddresses> all{};
        for (std::size_t i = 0; i < kAddresses; ++i) all[i] = i;
        std::shuffle(all.begin(), all.end(), random);
        members_.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
    }
    [[nodiscard]] const std::vector<std::size_t>& members() const { return members_; }
    [[nodiscard]] bool contains(std::size_t index) const {
        return std::find(members_.begin(), members_.end(), index) != members_.end();
    }

  private:
    std::vector<std::size_t> members_;
};

class CrowdStorm : public ::testing::TestWithParam<net::Family> {
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
        ASSIGN_OR_RETURN(receiver_, open_receiver(topology_->at(Place::kPods), GetParam(), kProbeTarget));
        std::vector<api::Change> changes;
        for (std::size_t i = 0; i < kServices; ++i) {
            auto service =
                make_service(fmt::format("s{}", i), cluster_ip(i), {{"u", net::Protocol::kUdp, kProbePort, 0}});
            services_.push_back(service);
            changes.push_back(put(std::shared_ptr<const api::Service>(service)));
            changes.push_back(slice_of(i, 0));
            for (std::size_t index = 0; index < kAddresses; ++index) owners_[address(i, index)] = {i, index};
        }
        return node_->change(changes, NodeUnderTest::By::kReconcile);
    }

    [[nodiscard]] static net::IpAddress cluster_ip(std::size_t service) {
        return in_family(GetParam(), fmt::format("172.30.{}.{}", service / 200, 1 + service % 200));
    }
    [[nodiscard]] static net::IpAddress address(std::size_t service, std::size_t index) {
        return in_family(GetParam(), fmt::format("10.{}.{}.{}", 182 + index, service / 200, 1 + service % 200));
    }
    [[nodiscard]] api::Change slice_of(std::size_t service, std::uint64_t generation) const {
        auto slice = make_slice(*services_[service], kProbeTarget);
        const Pool pool(service, generation);
        for (const auto index : pool.members()) add_endpoint(*slice, address(service, index), true);
        return put(std::shared_ptr<const api::EndpointSlice>(slice));
    }

    // Changes some Services after another, over and over, as fast as the kernel takes it.
    void change_all() {
        std::size_t next = 0;
        while (!stop_) {
            std::vector<api::Change> changes;
            const auto first = next;
            for (std::size_t i = 0; i < kChangedAtOnce; ++i, next = (next + 1) % kServices)
                changes.push_back(slice_of(next, begun_[next] = committed_[next] + 1));
            const auto done = node_->change(changes, NodeUnderTest::By::kDelta);
            if (!done) {
                trouble_ = done.error().message;
                return;
            }
            for (std::size_t i = 0; i < kChangedAtOnce; ++i) {
                const auto service = (first + i) % kServices;
                committed_[service] = begun_[service].load();
            }
            changed_ += kChangedAtOnce;
        }
    }

    // There was a moment without any endpoint between two generations.
    [[nodiscard]] static bool had_none(std::size_t service, std::uint64_t from, std::uint64_t until) {
        for (auto generation = from; generation <= until; ++generation)
            if (Pool(service, generation).members().empty()) return true;
        return false;
    }

    // What arrived of the connection from this port; what is late from an earlier one is thrown away.
    [[nodiscard]] std::optional<net::IpAddress> arrival(std::uint16_t source_port) const {
        while (true) {
            testnet::SocketAddress from;
            from.length = sizeof from.storage;
            char nothing = 0;
            if (::recvfrom(receiver_.get(), &nothing, 1, MSG_PEEK, from.raw(), &from.length) < 0) return std::nullopt;
            const auto to = receive(receiver_, GetParam());
            if (from.port() == source_port) return to;
        }
    }

    // Sends one new connection and looks where it arrives; nothing if it does not. `from`: the generation before it.
    [[nodiscard]] std::optional<net::IpAddress> connect(std::size_t service, std::uint64_t from) {
        const auto source = in_family(GetParam(), fmt::format("10.0.0.{}", 2 + sent_ / kAfresh % 200));
        const auto port = static_cast<std::uint16_t>(kFirstSourcePort + sent_ % kAfresh);
        const auto destination = cluster_ip(service);
        std::array<std::uint8_t, kRawUdpBytes> packet{};
        const auto size = write_packet(packet.data(), source, port, destination, kProbePort);
        const testnet::SocketAddress target(destination, 0);
        ++sent_;
        if (::sendto(sender_.get(), packet.data(), size, 0, target.raw(), target.length) < 0) return std::nullopt;
        // The kernel delivers within the call, but for what it leaves to another thread under load.
        const auto begin = Clock::now();
        auto arrived = arrival(port);
        while (!arrived) {
            const auto waited = Clock::now() - begin;
            if (waited > kLost || (waited > kRefused && had_none(service, from, begun_[service]))) break;
            std::this_thread::sleep_for(microseconds(10));
            arrived = arrival(port);
        }
        return arrived;
    }

    struct Owner {
        std::size_t service = 0;
        std::size_t index = 0;
    };
    struct Counts {
        std::uint64_t right = 0, refused = 0, lost = 0, stale = 0, foreign = 0;
    };

    void judge(std::size_t service, const std::optional<net::IpAddress>& arrived, std::uint64_t from,
               std::uint64_t until, Counts& counts) const {
        if (!arrived) {
            ++(had_none(service, from, until) ? counts.refused : counts.lost);
            return;
        }
        const auto owner = owners_.find(*arrived);
        if (owner == owners_.end() || owner->second.service != service) {
            ++counts.foreign;
            return;
        }
        for (auto generation = from; generation <= until; ++generation)
            if (Pool(service, generation).contains(owner->second.index)) {
                ++counts.right;
                return;
            }
        ++counts.stale;
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<NodeUnderTest> node_;
    std::vector<std::shared_ptr<api::Service>> services_;
    std::unordered_map<net::IpAddress, Owner> owners_;
    Fd sender_;
    Fd receiver_;
    std::uint64_t sent_ = 0;
    std::array<std::atomic<std::uint64_t>, kServices> begun_{};      // generation that the kernel may hold
    std::array<std::atomic<std::uint64_t>, kServices> committed_{};  // generation that it holds for sure
    std::atomic<std::uint64_t> changed_ = 0;
    std::atomic<bool> stop_ = false;
    std::string trouble_;  // of the changing thread
};

TEST_P(CrowdStorm, SendsNobodyWrongAndLosesNobody) {
    std::thread changes([this] { change_all(); });
    std::mt19937 random(1);
    Counts counts;
    const auto begin = Clock::now();
    const auto end = begin + kDuration * long_scale();
    while (Clock::now() < end) {
        if (sent_ % kAfresh == 0) {
            EXPECT_TRUE(testnet::flush_conntrack(topology_->node()));
        }
        const auto service = random() % kServices;
        const std::uint64_t from = committed_[service];
        const auto arrived = connect(service, from);
        judge(service, arrived, from, begun_[service], counts);
    }
    stop_ = true;
    changes.join();
    const std::chrono::duration<double> took = Clock::now() - begin;
    EXPECT_EQ(trouble_, "");
    EXPECT_EQ(counts.lost, 0U);
    EXPECT_EQ(counts.stale, 0U) << "at an endpoint that had left before";
    EXPECT_EQ(counts.foreign, 0U) << "at an endpoint of another Service";
    EXPECT_GT(counts.right, 1000U);
    EXPECT_GT(counts.refused, 0U);
    EXPECT_GT(changed_, 1000U);
    fmt::print(
        "  {} connections to {} Services: {} right, {} refused while there was nobody, {} lost, {} stale, {} "
        "foreign; {} objects changed, {:.0f} a second\n",
        sent_, kServices, counts.right, counts.refused, counts.lost, counts.stale, counts.foreign, changed_.load(),
        static_cast<double>(changed_) / took.count());
}

INSTANTIATE_TEST_SUITE_P(Families, CrowdStorm, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
