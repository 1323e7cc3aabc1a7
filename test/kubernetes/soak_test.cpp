// The real agent under a stream of changes from an API server: 10,000 Services of five endpoints, a hundred endpoints
// replaced a second, for two minutes (times GHOSTIP_LONG_SCALE; GHOSTIP_SOAK_SECONDS for a short look). Its memory
// stays as it is, it does not fall behind, and in the end the kernel holds the plan of what the server has.
//
// No time fails it: what counts is how many changes the kernel does not have yet, looked up in the kernel itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "bench/figures.h"
#include "bench/followed_cluster.h"
#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/render_elements.h"
#include "kernel/nft/linux.h"
#include "kernel/route/addresses.h"
#include "kernel/route/gateways.h"
#include "packets/live_node.h"
#include "plan/planner.h"

namespace ghostip::testkubernetes {
namespace {

using bench::Clock;
using bench::FollowedCluster;
using dataplane::nftables::KeyBytes;
using dataplane::nftables::Lane;
using dataplane::nftables::SetRef;
using dataplane::nftables::SetRole;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr bench::Size kSize{10'000, 5};
constexpr int kASecond = 100;
constexpr int kSeconds = 120;
constexpr int kWarmSeconds = 30;  // until the allocator has seen everything once
// A tenth and a little: what pages and the allocator's bins make of two equal states.
constexpr double kGrowth = 1.1;
constexpr double kGrowthMib = 4;
// Half a second's changes. Who does 99 of 100 changes a second is behind by twice as many after two minutes.
constexpr double kFallBehind = 50;
constexpr std::chrono::seconds kPatience(60);

int seconds_of_run() {
    const char* asked = std::getenv("GHOSTIP_SOAK_SECONDS");
    return asked != nullptr ? std::max(3, std::atoi(asked)) : kSeconds * packets::long_scale();
}

// Changes that the kernel may not have yet. No Service comes twice before all others came, so one that stands here for
// a second change has been missing for longer than anything that this test bears.
class Outstanding {
  public:
    explicit Outstanding(kernel::nft::Kernel& kernel) : kernel_(kernel) {}

    void add(const FollowedCluster::Change& change) { waiting_[change.service] = change.endpoint; }
    // Looks for all of them, forgets those that are there, and says how many are not.
    Result<std::size_t> look() {
        constexpr std::size_t kAtOnce = 1000;
        std::vector<int> found;
        auto next = waiting_.begin();
        while (next != waiting_.end()) {
            auto keys = none_;
            keys.data_bytes = 0;
            std::unordered_map<std::string, int> services;  // by their destination's bytes
            for (; next != waiting_.end() && keys.count() < kAtOnce; ++next) {
                const auto destination = bytes(KeyBytes().destination(key_of(next->first)));
                services[destination] = next->first;
                for (int slot = 0; slot < kSize.endpoints; ++slot) {
                    KeyBytes key;
                    key.destination(key_of(next->first)).number(static_cast<std::uint32_t>(slot));
                    keys.bytes.insert(keys.bytes.end(), key.bytes().begin(), key.bytes().end());
                }
            }
            ASSIGN_OR_RETURN(const auto there, kernel_.look_up(table_, set_, keys));
            for (std::size_t i = 0; i < there.count(); ++i) {
                const auto element = text(there.at(i));
                for (const auto& [destination, service] : services)
                    if (element.starts_with(destination) &&
                        element.find(bytes(KeyBytes().address(waiting_.at(service))), there.key_bytes) ==
                            there.key_bytes)
                        found.push_back(service);
            }
        }
        for (const int service : found) waiting_.erase(service);
        return waiting_.size();
    }

  private:
    static plan::DestinationKey key_of(int service) {
        return {false, *net::IpAddress::parse(bench::cluster_ip(service)), net::Protocol::kTcp, bench::kServicePort};
    }
    static std::string text(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }
    static std::string bytes(const KeyBytes& key) { return text(key.bytes()); }

    kernel::nft::Kernel& kernel_;
    const kernel::nft::Table table_ = dataplane::nftables::table(net::Family::kIpv4);
    const kernel::nft::Set set_ = dataplane::nftables::declare(SetRef{SetRole::kEndpoints, Lane::kAddress});
    const kernel::nft::Elements none_{set_.name,
                                      static_cast<std::uint16_t>(fields_size(set_.key, net::Family::kIpv4)),
                                      static_cast<std::uint16_t>(fields_size(set_.data, net::Family::kIpv4)),
                                      {}};
    std::unordered_map<int, net::IpAddress> waiting_;
};

// The plan of what the server has, for the node that the agent is.
std::unique_ptr<plan::Planner> planner_of(const ApiServer& server) {
    plan::NodeSettings settings;
    settings.node_name = "node-0";
    settings.cluster_cidrs = {*net::Prefix::parse_lenient(bench::kPods)};
    plan::HostFacts host;
    host.addresses = bench::must(kernel::route::interface_addresses());
    auto planner = std::make_unique<plan::Planner>(net::Family::kIpv4, settings, plan::nftables_profile(), host);
    std::vector<api::Change> all;
    for (const auto kind : {api::Kind::kService, api::Kind::kEndpointSlice})
        for (auto& object : server.objects(kind)) {
            auto key = api::key_of(object);
            all.push_back({std::move(key), std::move(object)});
        }
    static_cast<void>(planner->apply(all));
    return planner;
}

// In how many things the kernel differs from this plan; which is then put right.
std::uint64_t differences(const plan::Plan& plan, std::vector<std::string>& examples) {
    dataplane::nftables::NftablesDataplane fresh(net::Family::kIpv4, bench::must(kernel::nft::LinuxKernel::open()));
    const auto outcome = fresh.reconcile(plan);
    EXPECT_TRUE(outcome) << outcome.error().message;
    if (!outcome) return 1;
    examples = outcome->examples;
    return outcome->differences;
}

double median(std::vector<std::size_t> values) {
    std::vector<double> numbers(values.begin(), values.end());
    return bench::median(std::move(numbers));
}

TEST(Soak, NeitherMemoryNorLagGrows) {
    const auto where = testnet::Namespace::create();
    ASSERT_TRUE(where) << where.error().message;
    const auto inside = where->enter();
    const auto server = ApiServer::open();
    ASSERT_TRUE(server) << server.error().message;
    FollowedCluster cluster(**server, kSize);
    static_cast<void>((*server)->encode_all());
    auto proxy = bench::follow(*where, GHOSTIP_BINARY, **server);
    ASSERT_TRUE(proxy) << proxy.error().message;
    const auto started = (*proxy)->wait_in_sync();
    ASSERT_TRUE(started) << started.error().message;
    auto kernel = kernel::nft::LinuxKernel::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    Outstanding outstanding(**kernel);
    std::string log;

    const int seconds = seconds_of_run();
    const int warm = std::min(kWarmSeconds, seconds / 2);
    double resident_before = 0;
    std::vector<std::size_t> samples;
    const auto begin = Clock::now();
    for (int i = 0; i < seconds * kASecond; ++i) {
        std::this_thread::sleep_until(begin + i * std::chrono::milliseconds(1000 / kASecond));
        outstanding.add(cluster.change());
        if ((i + 1) % kASecond != 0) continue;
        const auto missing = outstanding.look();
        ASSERT_TRUE(missing) << missing.error().message;
        samples.push_back(*missing);
        log += (*proxy)->read_log();
        if ((i + 1) / kASecond == warm) resident_before = (*proxy)->resident_mib();
    }
    const double resident_after = (*proxy)->resident_mib();
    const auto third = static_cast<std::ptrdiff_t>(samples.size() / 3);
    const auto first = median({samples.begin(), samples.begin() + third});
    const auto last = median({samples.end() - third, samples.end()});
    const auto most = *std::max_element(samples.begin(), samples.end());
    fmt::print(
        "{} s: resident {:.1f} MiB after {} s, {:.1f} at the end; changes outstanding: median {} in the first third, "
        "{} in the last, {} at most\n",
        seconds, resident_before, warm, resident_after, first, last, most);
    EXPECT_LT(resident_after, resident_before * kGrowth + kGrowthMib);
    EXPECT_LE(last, first + kFallBehind);

    EXPECT_TRUE(packets::wait_until(kPatience, [&] { return outstanding.look().value_or(1) == 0; }));
    log += (*proxy)->read_log();
    EXPECT_THAT(log, Not(HasSubstr(" WARN"))) << "one connection, no trouble";
    EXPECT_THAT(log, Not(HasSubstr(" ERROR")));
    proxy->reset();  // the rules stay

    const auto planner = planner_of(**server);
    std::vector<std::string> examples;
    EXPECT_EQ(differences(planner->plan(), examples), 0U) << ::testing::PrintToString(examples);
    // That would be seen: one change that the agent did not live to see.
    static_cast<void>(cluster.change());
    EXPECT_GT(differences(planner_of(**server)->plan(), examples), 0U);
}

}  // namespace
}  // namespace ghostip::testkubernetes
