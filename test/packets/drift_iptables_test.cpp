// Somebody else writes to the chains of iptables mode: what differs is found, put back, and told. Of the rules of
// iptables-nft the kernel tells at once. Of iptables-legacy's nobody does, so there the proxy looks for itself, in this
// test every second.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/ruleset_text.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kRepairedWithin(30);  // generous: what is wanted is printed
constexpr int kFewChanges = 5;                       // as many are repaired at once
constexpr std::chrono::seconds kInsists(4);

class DriftIptables : public ::testing::TestWithParam<std::tuple<net::Family, std::string>> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(family()));
        services_ = {{"a", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2"}},
                     {"b", "172.30.0.2", "", 30002, true, {"10.180.0.3"}},
                     {"c", "172.30.0.3", "1.2.3.3", 0, false, {}}};
        live_->write("services.yaml", manifest(services_));
        live_->set_mode("iptables-" + variant());
        if (!is_told()) live_->add_flags({"--full-check-seconds", "1"});
        RETURN_IF_ERROR(live_->start_and_wait());
        ASSIGN_OR_RETURN(before_, live_->listing());
        return {};
    }

    [[nodiscard]] net::Family family() const { return std::get<0>(GetParam()); }
    [[nodiscard]] std::string variant() const { return std::get<1>(GetParam()); }
    [[nodiscard]] bool is_told() const { return variant() == "nft"; }
    [[nodiscard]] double metric(std::string_view name) const { return live_->metric(name).value_or(-1); }
    [[nodiscard]] std::string program() const {
        return (family() == net::Family::kIpv4 ? "iptables-" : "ip6tables-") + variant();
    }
    // Runs `iptables` of the variant and family.
    [[nodiscard]] Result<std::string> iptables(const std::vector<std::string>& arguments) const {
        std::vector<std::string> argv{program(), "-w", "5"};
        argv.insert(argv.end(), arguments.begin(), arguments.end());
        return live_->node().must_run(argv);
    }
    // The first chain of that beginning.
    [[nodiscard]] std::string chain(const std::string& prefix) const {
        const auto at = before_.find("\nnat " + prefix);
        const auto begin = at + std::string_view("\nnat ").size();
        return at == std::string::npos ? "" : before_.substr(begin, before_.find('\n', begin) - begin);
    }
    [[nodiscard]] bool is_as_before() const {
        const auto listing = live_->listing();
        return listing && *listing == before_;
    }
    void expect_repaired(const std::string& what, const std::vector<std::string>& arguments) {
        expect_repaired(what, [&] { return iptables(arguments); });
    }
    void expect_repaired(const std::string& what, const std::function<Result<std::string>()>& change) {
        SCOPED_TRACE(what);
        const double repairs = metric("ghostip_repairs_total");
        const auto done = change();
        const auto begin = Clock::now();
        ASSERT_TRUE(done) << done.error().message;
        // By the time that it counts the repair it is there.
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return metric("ghostip_repairs_total") > repairs; }));
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return is_as_before(); }))
            << first_difference(live_->listing().value_or(""), before_) << live_->log();
        fmt::print("  {}: repaired after {} ms\n", what,
                   std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count());
    }
    // By the time that this returns, what was written before has been heard of, if anybody hears: here is one that is.
    void expect_nothing_heard_since(double foreign_writes) {
        const auto done = iptables({"-t", "nat", "-A", chain("KUBE-SEP-"), "-j", "RETURN"});
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_TRUE(
            wait_until(kRepairedWithin, [&] { return metric("ghostip_foreign_writes_total") > foreign_writes; }));
        EXPECT_EQ(metric("ghostip_foreign_writes_total"), foreign_writes + 1) << live_->log();
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return is_as_before(); }));
    }

    std::unique_ptr<LiveNode> live_;
    std::vector<ServiceSpec> services_;
    std::string before_;
};

TEST_P(DriftIptables, IsRepairedToldAndCounted) {
    const auto service = chain("KUBE-SVC-");
    const auto endpoint = chain("KUBE-SEP-");
    ASSERT_FALSE(service.empty());
    ASSERT_FALSE(endpoint.empty());
    expect_repaired("a rule of a Service is gone", {"-t", "nat", "-D", service, "1"});
    expect_repaired("an endpoint's chain is empty", {"-t", "nat", "-F", endpoint});
    expect_repaired(
        "a rule of somebody's in ours",
        {"-t", "nat", "-I", endpoint, "-p", "tcp", "-j", "DNAT", "--to-destination",
         live_->address("10.180.9.9").is_ipv4() ? "10.180.9.9:8080"
                                                : fmt::format("[{}]:8080", live_->address("10.180.9.9").text())});
    expect_repaired("a jump to our chains is gone", {"-t", "nat", "-D", "PREROUTING", "1"});
    expect_repaired("a whole table is empty", {"-t", "nat", "-F"});
    if (is_told()) {
        EXPECT_THAT(live_->log(),
                    ContainsRegex("rules? deleted from KUBE-SVC-.* by ip6?tables-nft \\(process [0-9]+\\): "
                                  "repaired [1-9]"));
        EXPECT_GE(metric("ghostip_foreign_writes_total"), kFewChanges);
    } else {
        EXPECT_THAT(live_->log(), HasSubstr("the kernel differed in"));
    }
    auto traffic = Traffic::start(*live_, targets_of(*live_, {services_[0]}));
    ASSERT_TRUE(traffic) << traffic.error().message;
    EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return (*traffic)->connections() > 100; }));
    EXPECT_THAT((*traffic)->end().failures, ::testing::IsEmpty());
}

TEST_P(DriftIptables, EachLossIsRepaired) {
    expect_repaired("the dispatching rules are gone", {"-t", "nat", "-F", "KUBE-SERVICES"});
    expect_repaired("a jump of the table filter is gone", {"-t", "filter", "-D", "FORWARD", "-j", "KUBE-FORWARD", "-m",
                                                           "comment", "--comment", "kubernetes forwarding rules"});
    expect_repaired("refusals are gone", {"-t", "filter", "-F", "KUBE-SERVICES"});
    expect_repaired("a chain that nothing leads to is gone", {"-t", "nat", "-X", "KUBE-PROXY-CANARY"});
    expect_repaired("somebody puts his rules in place of all",
                    [&] { return live_->node().must_run({program() + "-restore"}, "*nat\nCOMMIT\n"); });
}

// The tables are everybody's, and those hosts write often.
TEST_P(DriftIptables, WhatOthersDoWithTheirOwnIsNoDrift) {
    const double writes = metric("ghostip_foreign_writes_total");
    const double repairs = metric("ghostip_repairs_total");
    for (int i = 0; i < 20; ++i) {
        const std::vector<std::vector<std::string>> comes_and_goes{
            {"-t", "nat", "-N", "THEIRS"},
            {"-t", "nat", "-A", "THEIRS", "-p", "tcp", "-j", "KUBE-MARK-MASQ"},
            {"-t", "nat", "-I", "PREROUTING", "-j", "THEIRS"},
            {"-t", "nat", "-A", "POSTROUTING", "-p", "sctp", "-j", "MASQUERADE"},
            {"-t", "filter", "-I", "FORWARD", "-p", "sctp", "-j", "ACCEPT"},
            {"-t", "filter", "-D", "FORWARD", "-p", "sctp", "-j", "ACCEPT"},
            {"-t", "nat", "-D", "POSTROUTING", "-p", "sctp", "-j", "MASQUERADE"},
            {"-t", "nat", "-D", "PREROUTING", "-j", "THEIRS"},
            {"-t", "nat", "-F", "THEIRS"},
            {"-t", "nat", "-X", "THEIRS"},
        };
        for (const auto& arguments : comes_and_goes) {
            const auto done = iptables(arguments);
            ASSERT_TRUE(done) << done.error().message;
        }
    }
    EXPECT_TRUE(is_as_before());
    EXPECT_EQ(metric("ghostip_repairs_total"), repairs) << live_->log();
    if (is_told()) expect_nothing_heard_since(writes);
}

TEST_P(DriftIptables, OurOwnChangesAreNoDrift) {
    constexpr int kRounds = 40;
    constexpr int kServices = 50;
    const double writes = metric("ghostip_foreign_writes_total");
    for (int round = 0; round < kRounds; ++round) {
        std::vector<ServiceSpec> many = services_;
        for (int i = 0; i < kServices; ++i)
            many.push_back({fmt::format("s{}", i),
                            fmt::format("172.30.1.{}", i),
                            "",
                            0,
                            i % 7 == 0,
                            {fmt::format("10.180.{}.1", round + 1), fmt::format("10.180.{}.2", i + 1)}});
        live_->write("services.yaml", manifest(many));
        // Seen as done by the address that this round brings.
        const auto newest = live_->address(fmt::format("10.180.{}.1", round + 1)).text();
        ASSERT_TRUE(wait_until(kRepairedWithin, [&] {
            return live_->listing().value_or("").find(newest) != std::string::npos;
        })) << live_->log();
    }
    live_->write("services.yaml", manifest(services_));
    EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return is_as_before(); }))
        << first_difference(live_->listing().value_or(""), before_);
    EXPECT_EQ(metric("ghostip_repairs_total"), 0) << live_->log();
    EXPECT_EQ(metric("ghostip_drift_alarm"), 0);
    if (is_told()) expect_nothing_heard_since(writes);
}

// Two programs undo what the last repair did.
TEST_P(DriftIptables, WhoKeepsWritingIsNotFought) {
    if (!is_told()) return;  // looking meets nobody more often than it looks
    const auto of_nft =
        fmt::format("flush chain {} nat {}\n", family() == net::Family::kIpv4 ? "ip" : "ip6", chain("KUBE-SVC-"));
    const auto begin = Clock::now();
    int writes = 0;
    for (; Clock::now() < begin + kInsists; writes += 2) {
        const auto one = iptables({"-t", "nat", "-F", chain("KUBE-SEP-")});
        ASSERT_TRUE(one) << one.error().message;
        const auto other = live_->nft({"-f", "-"}, of_nft);
        ASSERT_TRUE(other) << other.error().message;
    }
    const double repairs = metric("ghostip_repairs_total");
    // Five at once, and one that finds that this is a fight; then after 1 second, after 2 more, after 4 more.
    double allowed = 5 + 1;
    for (std::chrono::seconds pause(1), at(1); at <= Clock::now() - begin; at += pause *= 2) ++allowed;
    EXPECT_LE(repairs, allowed);
    EXPECT_GE(repairs, 5);
    EXPECT_GT(writes, repairs);
    EXPECT_EQ(metric("ghostip_drift_alarm"), 1);
    EXPECT_THAT(live_->log(), HasSubstr("somebody keeps changing our rules"));
    fmt::print("  {} writes in {} s: {} repairs\n", writes, kInsists.count(), repairs);
    EXPECT_TRUE(wait_until(std::chrono::seconds(60), [&] { return is_as_before(); })) << "when the pause is over";
}

INSTANTIATE_TEST_SUITE_P(Families, DriftIptables,
                         ::testing::Combine(::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                                            ::testing::Values("nft", "legacy")),
                         [](const auto& one) {
                             return std::string(net::family_name(std::get<0>(one.param))) + std::get<1>(one.param);
                         });

}  // namespace
}  // namespace ghostip::packets
