// Nothing is felt when the proxy ends and starts again, or when another version of it takes over: a stream of new
// connections and connections that stay go on through it, among 2,000 other Services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <regex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "packets/live_node.h"
#include "packets/ruleset_text.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using ::testing::_;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::Pair;

constexpr int kCrowd = 2000;
constexpr int kPerRange = 250;

// The Services that clients use.
std::vector<ServiceSpec> used() {
    return {{"plain", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2", "10.181.0.3"}},
            {"sticky", "172.30.0.2", "1.2.3.2", 30002, true, {"10.180.0.4", "10.180.0.5", "10.181.0.6", "10.181.0.7"}}};
}

// The others. Each `version` has other endpoints than the last.
std::vector<ServiceSpec> crowd(int version) {
    std::vector<ServiceSpec> services;
    for (int i = 0; i < kCrowd; ++i) {
        const auto place = fmt::format("{}.{}", 64 + i / kPerRange, 1 + i % kPerRange);
        ServiceSpec one{fmt::format("crowd-{}", i), "172.30." + place};
        for (int endpoint = 0; endpoint < 1 + i % 3; ++endpoint)
            one.endpoints.push_back(fmt::format("10.{}.{}", 182 + endpoint + version % 2, place));
        one.echoes = false;
        services.push_back(one);
    }
    return services;
}

class Steady : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        auto live = LiveNode::create(GetParam());
        ASSERT_TRUE(live) << live.error().message;
        live_ = std::move(*live);
        live_->write("used.yaml", manifest(used_));
        live_->write("crowd.yaml", manifest(crowd(0)));
    }

    // nft 1.0.6 itself aborts when it loads IPv6 rules with affinity.
    void without_affinity_in_ipv6() {
        if (GetParam() == net::Family::kIpv6) used_[1].sticky = false;
        live_->write("used.yaml", manifest(used_));
    }

    void start_traffic() {
        auto traffic = Traffic::start(*live_, targets_of(*live_, used_));
        ASSERT_TRUE(traffic) << traffic.error().message << "\n" << live_->log();
        traffic_ = std::move(*traffic);
    }
    void some_traffic() const {
        const auto enough = traffic_->connections() + 60;
        EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return traffic_->connections() >= enough; }));
    }
    // `moves`: how often a client that shall stick to an endpoint may meet another one.
    void end_traffic(std::string_view what, int moves = 0) {
        const auto report = traffic_->end();
        EXPECT_THAT(report.failures, IsEmpty());
        EXPECT_THAT(report.moved, Each(Pair(_, Le(moves))));
        EXPECT_GT(report.connections, 100U);
        EXPECT_GT(report.echoes, 100U);
        fmt::print("  {}: {}\n", what, report.text());
    }

    // What a start where nothing was leaves in the kernel.
    [[nodiscard]] std::string fresh_listing() const {
        const auto fresh = LiveNode::create(GetParam());
        if (!fresh) return fresh.error().message;
        (*fresh)->write("used.yaml", manifest(used_));
        (*fresh)->write("crowd.yaml", manifest(crowd(version_)));
        const auto started = (*fresh)->start_and_wait();
        return started ? (*fresh)->listing().value_or("nft failed") : started.error().message;
    }
    void expect_as_fresh() const {
        const auto listing = live_->listing();
        ASSERT_TRUE(listing) << listing.error().message;
        EXPECT_EQ(first_difference(*listing, fresh_listing()), "");
    }

    // The start of the proxy changed nothing in the kernel.
    [[nodiscard]] bool wrote_nothing() const {
        const std::regex start(
            fmt::format("{}: .* 0 elements written, 0 removed in 0 transactions", net::family_name(GetParam())));
        return std::regex_search(live_->log(), start);
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<Traffic> traffic_;
    std::vector<ServiceSpec> used_ = used();
    int version_ = 0;  // of the crowd
};

TEST_P(Steady, NobodyNoticesRestarts) {
    auto started = live_->start_and_wait();
    ASSERT_TRUE(started) << started.error().message;
    std::vector<std::int64_t> times{started->count()};
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    const int rounds = 2 * long_scale();
    for (int round = 0; round < rounds; ++round)
        for (const int signal : {SIGTERM, SIGKILL}) {
            some_traffic();
            live_->stop(signal);
            some_traffic();
            const bool changed = round % 2 == 1;
            if (changed) live_->write("crowd.yaml", manifest(crowd(++version_)));
            started = live_->start_and_wait();
            ASSERT_TRUE(started) << started.error().message;
            times.push_back(started->count());
            EXPECT_EQ(wrote_nothing(), !changed) << live_->log();
        }
    some_traffic();
    end_traffic(fmt::format("{} restarts, of {} ms", times.size() - 1, fmt::join(times, ", ")));
    expect_as_fresh();
}

// The rules of a version that named everything otherwise.
TEST_P(Steady, NobodyNoticesAnUpgrade) {
    without_affinity_in_ipv6();
    const auto rules = live_->run_ghostip("render", true);
    ASSERT_TRUE(rules) << rules.error().message;
    auto loaded = live_->nft({"-f", "-"}, with_prefixed_names(*rules, "old-"));
    ASSERT_TRUE(loaded) << loaded.error().message;
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    some_traffic();
    const auto started = live_->start_and_wait();
    ASSERT_TRUE(started) << started.error().message;
    some_traffic();
    // Who stuck to whom stands in a map that the new version does not know.
    end_traffic("upgrade from other names", 1);
    const auto listing = live_->nft({"list", "ruleset"});
    ASSERT_TRUE(listing) << listing.error().message;
    EXPECT_THAT(*listing, Not(HasSubstr("old-")));
    expect_as_fresh();
}

// The rules of a version whose set of the same name is another: that cannot be turned into ours.
TEST_P(Steady, NobodyNoticesThatTheTableIsReplaced) {
    without_affinity_in_ipv6();
    auto rules = live_->run_ghostip("render", true);
    ASSERT_TRUE(rules) << rules.error().message;
    const std::string declared = "set nodeport-ips {\n";
    for (auto at = rules->find(declared); at != std::string::npos; at = rules->find(declared, at + declared.size()))
        rules->insert(rules->find('\n', at + declared.size()) + 1, "\t\tflags interval\n");
    auto loaded = live_->nft({"-f", "-"}, *rules);
    ASSERT_TRUE(loaded) << loaded.error().message;
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    some_traffic();
    const auto started = live_->start_and_wait();
    ASSERT_TRUE(started) << started.error().message;
    some_traffic();
    end_traffic("upgrade from another type of set");
    expect_as_fresh();
    EXPECT_THAT(live_->listing().value_or(""), Not(HasSubstr("flags interval")));
}

INSTANTIATE_TEST_SUITE_P(Families, Steady, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
