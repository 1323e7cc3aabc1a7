// Somebody else writes to our table: it is repaired, named and counted; and somebody who keeps at it is met with pauses
// and an alarm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/ruleset_text.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using ::testing::ContainsRegex;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kInsists(2);
constexpr std::chrono::seconds kRepairedWithin(20);  // generous: what is wanted is printed

class Drift : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(GetParam()));
        services_ = {{"a", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2"}},
                     {"b", "172.30.0.2", "", 30002, true, {"10.180.0.3"}},
                     {"c", "172.30.0.3", "1.2.3.3", 0, false, {}}};
        live_->write("services.yaml", manifest(services_));
        RETURN_IF_ERROR(live_->start_and_wait());
        ASSIGN_OR_RETURN(before_, live_->listing());
        return {};
    }

    [[nodiscard]] std::string at(std::string_view ipv4) const { return live_->address(ipv4).text(); }
    [[nodiscard]] std::string family() const { return std::string(net::family_name(GetParam())); }
    // A command of nft about our table: VERB KIND <family> ghostip REST.
    [[nodiscard]] std::string on_table(std::string_view verb, std::string_view rest) const {
        return fmt::format("{} {} ghostip {}\n", verb, GetParam() == net::Family::kIpv4 ? "ip" : "ip6", rest);
    }
    [[nodiscard]] double metric(std::string_view name) const { return live_->metric(name).value_or(-1); }
    [[nodiscard]] bool is_as_before() const {
        const auto listing = live_->listing();
        return listing && *listing == before_;
    }

    // Does that, and waits until all is as it was and has been counted and told.
    void expect_repaired(std::string_view what, const std::string& commands, const std::string& told) {
        SCOPED_TRACE(what);
        const double writes = metric("ghostip_foreign_writes_total");
        const double repairs = metric("ghostip_repairs_total");
        const auto begin = Clock::now();
        const auto done = live_->nft({"-f", "-"}, commands);
        ASSERT_TRUE(done) << done.error().message;
        const auto written = Clock::now();
        // By the time that it counts the repair it is there.
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return metric("ghostip_repairs_total") > repairs; }));
        const auto repaired = Clock::now();
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return is_as_before(); }))
            << first_difference(live_->listing().value_or(""), before_) << live_->log();
        EXPECT_GT(metric("ghostip_foreign_writes_total"), writes);
        EXPECT_EQ(metric("ghostip_drift_alarm"), 0);
        EXPECT_THAT(live_->log(), ContainsRegex(fmt::format("{}: .* by nft \\(process [0-9]+\\): repaired [1-9].*{}",
                                                            family(), told)));
        fmt::print("  {}: seen as repaired {} ms after the write ({} ms after nft began)\n", what,
                   std::chrono::duration_cast<milliseconds>(repaired - written).count(),
                   std::chrono::duration_cast<milliseconds>(repaired - begin).count());
    }

    std::unique_ptr<LiveNode> live_;
    std::vector<ServiceSpec> services_;
    std::string before_;
};

TEST_P(Drift, IsRepairedToldAndCounted) {
    expect_repaired("element deleted",
                    on_table("delete element", fmt::format("endpoints {{ {} . tcp . 80 . 0 }}", at("172.30.0.1"))),
                    "endpoints lacks");
    expect_repaired("wrong element added",
                    on_table("add element", fmt::format("endpoints {{ {} . tcp . 80 . 7 : {} . 8080 }}",
                                                        at("172.30.0.1"), at("10.180.9.9"))),
                    "endpoints has");
    expect_repaired("chain flushed", on_table("flush chain", "services"), "chain services has other rules");
    expect_repaired("table deleted", on_table("delete table", ""), "the table is missing");
}

TEST_P(Drift, APoolThatWasTurnedElsewhereIsTurnedBack) {
    const auto key = fmt::format("{} . udp . 80 . ", at("172.30.0.1"));
    std::string commands;
    for (const auto* slot : {"0", "1"}) {
        commands += on_table("delete element", fmt::format("endpoints {{ {}{} }}", key, slot));
        commands +=
            on_table("add element", fmt::format("endpoints {{ {}{} : {} . 8080 }}", key, slot, at("10.180.9.9")));
    }
    expect_repaired("endpoints replaced", commands, "endpoints has");
    auto traffic = Traffic::start(*live_, targets_of(*live_, {services_[0]}));
    ASSERT_TRUE(traffic) << traffic.error().message;
    EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return (*traffic)->connections() > 100; }));
    EXPECT_THAT((*traffic)->end().failures, ::testing::IsEmpty());
}

// Each write undoes what the last repair did.
TEST_P(Drift, WhoKeepsWritingIsNotFought) {
    const auto element =
        fmt::format("endpoints {{ {} . tcp . 80 . 7 : {} . 8080 }}", at("172.30.0.1"), at("10.180.9.9"));
    const auto commands = on_table("add element", element);
    const auto begin = Clock::now();
    const auto end = begin + kInsists;
    int writes = 0;
    double most_repairs = 0;
    while (Clock::now() < end) {
        const auto done = live_->nft({"-f", "-"}, commands);
        ASSERT_TRUE(done) << done.error().message;
        ++writes;
        most_repairs = metric("ghostip_repairs_total");
    }
    // Five at once, and one that finds that this is a fight; then after 1 second, after 2 more, after 4 more.
    double allowed = 5 + 1;
    for (std::chrono::seconds pause(1), at(1); at <= Clock::now() - begin; at += pause *= 2) ++allowed;
    EXPECT_LE(most_repairs, allowed);
    EXPECT_GE(most_repairs, 5);
    EXPECT_GT(writes, 20);
    EXPECT_EQ(metric("ghostip_drift_alarm"), 1);
    EXPECT_THAT(live_->log(), ContainsRegex(family() + ": somebody keeps changing our rules"));
    fmt::print("  {} writes in {} s: {} repairs\n", writes, kInsists.count(), most_repairs);
    // It is repaired in the end, when the pause is over.
    EXPECT_TRUE(wait_until(std::chrono::seconds(30), [&] { return is_as_before(); }));
}

INSTANTIATE_TEST_SUITE_P(Families, Drift, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets
