#include "agent/flow_cleaner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/conntrack/memory.h"

namespace ghostip::agent {
namespace {

using kernel::conntrack::Conntrack;
using kernel::conntrack::End;
using kernel::conntrack::Entry;
using kernel::conntrack::Filter;
using kernel::conntrack::MemoryConntrack;
using kernel::conntrack::Wanted;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::chrono::seconds kPatience{30};
constexpr auto kIpv4 = net::Family::kIpv4;
constexpr auto kIpv6 = net::Family::kIpv6;

// Hurries, so that no test waits.
FlowCleanerConfig hasty() {
    FlowCleanerConfig config;
    config.min_interval = std::chrono::milliseconds(0);
    config.retry_interval = std::chrono::milliseconds(1);
    return config;
}

plan::AddressPort at(std::string_view address, int port) {
    return {net::IpAddress::parse(address).value(), static_cast<std::uint16_t>(port)};
}
plan::Answerers answerers(std::vector<plan::AddressPort> ends) {
    std::sort(ends.begin(), ends.end());
    return std::make_shared<const std::vector<plan::AddressPort>>(std::move(ends));
}
End end_of(const plan::AddressPort& end) { return {end.address, end.port}; }

// A client's flow to `dialled`, answered by `answerer`; the reply goes to `sees`, which is not the client if its source
// is rewritten.
Entry flow(int client_port, const plan::AddressPort& dialled, const plan::AddressPort& answerer) {
    const auto client = at(dialled.address.is_ipv4() ? "10.9.9.9" : "fd00:9::9", client_port);
    const auto sees = at(dialled.address.is_ipv4() ? "192.168.0.2" : "2001:db8::1", 40000 + client_port);
    Entry entry;
    entry.original = {end_of(client), end_of(dialled)};
    entry.reply = {end_of(answerer), end_of(client_port % 2 == 0 ? client : sees)};
    return entry;
}

std::string text(const Entry& entry) {
    const auto& dialled = entry.original.destination;
    const auto& answerer = entry.reply.source;
    return net::host_port(dialled.address, dialled.port) + " by " + net::host_port(answerer.address, answerer.port);
}
std::vector<std::string> texts(const MemoryConntrack& conntrack) {
    std::vector<std::string> result;
    for (const auto& entry : conntrack.entries()) result.push_back(text(entry));
    return result;
}

struct Bench {
    MemoryConntrack* conntrack;  // owned by the cleaner
    FlowCleaner cleaner;

    explicit Bench(FlowCleanerConfig config = hasty()) : Bench(std::make_unique<MemoryConntrack>(), config) {}

  private:
    Bench(std::unique_ptr<MemoryConntrack> twin, FlowCleanerConfig config)
        : conntrack(twin.get()), cleaner(std::move(twin), config) {}
};

const auto kDns = at("172.30.0.1", 53);
const auto kGone = at("172.30.0.2", 53);
const auto kForeign = at("8.8.8.8", 53);
const auto kFirst = at("10.0.0.1", 5353);
const auto kSecond = at("10.0.0.2", 5353);

// kDns is served by kFirst, kGone is not ours any more.
plan::StaleFlows usual_change() {
    plan::StaleFlows stale;
    stale.set(kDns, answerers({kFirst}));
    stale.set(kGone, answerers({}));
    return stale;
}
void add_usual_flows(MemoryConntrack& conntrack) {
    conntrack.add(flow(1, kDns, kFirst));
    conntrack.add(flow(2, kDns, kSecond));
    conntrack.add(flow(3, kDns, kSecond));
    conntrack.add(flow(4, kDns, kDns));
    conntrack.add(flow(5, kGone, kFirst));
    conntrack.add(flow(6, kForeign, kForeign));
    conntrack.add(flow(7, kForeign, kSecond));
}
const std::vector<std::string> kUsualRest{"172.30.0.1:53 by 10.0.0.1:5353", "8.8.8.8:53 by 8.8.8.8:53",
                                          "8.8.8.8:53 by 10.0.0.2:5353"};

TEST(FlowCleaner, TellsOfEachRun) {
    std::atomic<std::uint64_t> removed_in_all = 0;
    std::atomic<int> runs = 0;
    auto config = hasty();
    config.on_run = [&](net::Family family, std::chrono::duration<double> took, std::uint64_t removed) {
        EXPECT_EQ(family, kIpv4);
        EXPECT_GE(took.count(), 0);
        removed_in_all += removed;
        ++runs;
    };
    Bench bench(config);
    add_usual_flows(*bench.conntrack);
    bench.cleaner.submit(kIpv4, usual_change());
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(removed_in_all, 4U);
    EXPECT_EQ(runs, 1);
}

TEST(FlowCleaner, RemovesWhatIsWrongAndNothingElse) {
    Bench bench;
    add_usual_flows(*bench.conntrack);
    bench.cleaner.submit(kIpv4, usual_change());
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(texts(*bench.conntrack), kUsualRest);
    const auto counts = bench.cleaner.counts();
    EXPECT_EQ(counts.removed, 4U);
    EXPECT_EQ(counts.dumps, 2U);
    EXPECT_EQ(counts.failures, 0U);
}

TEST(FlowCleaner, FamiliesAreApart) {
    Bench bench;
    const auto dns6 = at("fd00:30::1", 53);
    bench.conntrack->add(flow(1, dns6, at("fd00:10::1", 5353)));
    bench.conntrack->add(flow(2, kDns, kSecond));
    plan::StaleFlows stale;
    stale.set(dns6, answerers({}));
    bench.cleaner.submit(kIpv6, stale);
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_THAT(texts(*bench.conntrack), ElementsAre("172.30.0.1:53 by 10.0.0.2:5353"));
}

TEST(FlowCleaner, NothingToDoAsksNothing) {
    Bench bench;
    bench.cleaner.submit(kIpv4, {});
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(bench.conntrack->counters().calls, 0U);
}

TEST(FlowCleaner, ConvergesWhicheverCallFails) {
    Bench calm;
    add_usual_flows(*calm.conntrack);
    calm.cleaner.submit(kIpv4, usual_change());
    ASSERT_TRUE(calm.cleaner.wait_idle(kPatience));
    const auto calls = calm.conntrack->counters().calls;
    ASSERT_EQ(calls, 2U + 4U);
    for (std::uint64_t call = 1; call <= calls; ++call)
        for (const int code : {EINTR, ENOBUFS, EBUSY, ENOMEM, EPERM, ETIMEDOUT}) {
            Bench bench;
            add_usual_flows(*bench.conntrack);
            bench.conntrack->fail_call(call, code);
            bench.cleaner.submit(kIpv4, usual_change());
            ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
            EXPECT_EQ(texts(*bench.conntrack), kUsualRest) << "call " << call << ", " << errno_text(code);
            EXPECT_EQ(bench.cleaner.counts().failures, 1U);
            EXPECT_EQ(bench.cleaner.counts().abandoned, 0U);
        }
}

TEST(FlowCleaner, GivesUpAndGoesOnWithTheNextChange) {
    auto config = hasty();
    config.attempts = 3;
    Bench bench(config);
    add_usual_flows(*bench.conntrack);
    for (std::uint64_t call = 1; call <= 100; ++call) bench.conntrack->fail_call(call, EPERM);
    bench.cleaner.submit(kIpv4, usual_change());
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(bench.cleaner.counts().failures, 3U);
    EXPECT_EQ(bench.cleaner.counts().abandoned, 1U);
    EXPECT_EQ(bench.cleaner.counts().removed, 0U);
    bench.conntrack->fail_no_more();
    bench.cleaner.submit(kIpv4, usual_change());
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(texts(*bench.conntrack), kUsualRest);
}

// A kernel whose lists wait until they are let go.
class SlowConntrack final : public Conntrack {
  public:
    Result<std::vector<Entry>> dump(const Filter& filter, const Wanted& wanted) override {
        std::unique_lock lock(mutex_);
        ++begun_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return open_; });
        return twin.dump(filter, wanted);
    }
    Result<bool> remove(const Entry& entry) override { return twin.remove(entry); }

    bool wait_begun() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kPatience, [this] { return begun_ > 0; });
    }
    void open() {
        const std::scoped_lock lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }

    MemoryConntrack twin;

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int begun_ = 0;
    bool open_ = false;
};

TEST(FlowCleaner, WhatWaitsIsTheLatestWord) {
    auto owned = std::make_unique<SlowConntrack>();
    auto& conntrack = *owned;
    FlowCleaner cleaner(std::move(owned), hasty());
    add_usual_flows(conntrack.twin);
    plan::StaleFlows first;
    first.set(kGone, answerers({}));
    cleaner.submit(kIpv4, first);
    ASSERT_TRUE(conntrack.wait_begun());
    for (int i = 0; i < 100; ++i) {  // kSecond leaves and comes back, and is there in the end
        plan::StaleFlows stale;
        stale.set(kDns, answerers(i % 2 == 0 ? std::vector{kFirst} : std::vector{kFirst, kSecond}));
        cleaner.submit(kIpv4, stale);
    }
    EXPECT_FALSE(cleaner.wait_idle(std::chrono::milliseconds(0)));
    conntrack.open();
    ASSERT_TRUE(cleaner.wait_idle(kPatience));
    EXPECT_EQ(conntrack.twin.counters().dumps, 2U);
    EXPECT_EQ(cleaner.counts().removed, 2U) << "the one that nobody answers any more, the one never translated";
    EXPECT_THAT(texts(conntrack.twin), SizeIs(5));
}

TEST(FlowCleaner, StopsWithWorkLeft) {
    auto config = hasty();
    config.retry_interval = std::chrono::hours(1);
    Bench bench(config);
    add_usual_flows(*bench.conntrack);
    bench.conntrack->fail_call(1, ENOMEM);
    bench.cleaner.submit(kIpv4, usual_change());
    bench.cleaner.stop();
    bench.cleaner.stop();
    bench.cleaner.submit(kIpv4, usual_change());
    EXPECT_FALSE(bench.cleaner.wait_idle(kPatience)) << "nobody works any more";
}

TEST(FlowCleaner, AsksForAsLittleAsItCan) {
    const auto stale = [](int addresses, int ports, std::string_view prefix) {
        plan::StaleFlows result;
        for (int a = 1; a <= addresses; ++a)
            for (int p = 1; p <= ports; ++p) result.set(at(std::string(prefix) + std::to_string(a), p), answerers({}));
        return result;
    };
    const auto any_address = [](net::Family family, int port) {
        return Filter{family, std::nullopt, static_cast<std::uint16_t>(port)};
    };
    EXPECT_THAT(filters_for(kIpv4, {}, 3), IsEmpty());
    EXPECT_THAT(filters_for(kIpv4, stale(3, 1, "10.0.0."), 3), SizeIs(3)) << "each by itself";
    EXPECT_THAT(filters_for(kIpv4, stale(1, 1, "10.0.0."), 3),
                ElementsAre(Filter{kIpv4, at("10.0.0.1", 0).address, std::uint16_t{1}}));
    EXPECT_THAT(filters_for(kIpv4, stale(50, 2, "10.0.0."), 3),
                UnorderedElementsAre(any_address(kIpv4, 1), any_address(kIpv4, 2)))
        << "few ports on many addresses";
    EXPECT_THAT(filters_for(kIpv6, stale(2, 1, "fd00::"), 3), ElementsAre(any_address(kIpv6, 1)))
        << "the kernel compares no IPv6 address";
    for (const auto family : net::kFamilies)
        EXPECT_THAT(filters_for(family, stale(5, 5, family == kIpv4 ? "10.0.0." : "fd00::"), 3),
                    ElementsAre(Filter{family, std::nullopt, std::nullopt}));
}

TEST(FlowCleaner, ManyDestinationsInOneList) {
    Bench bench;
    plan::StaleFlows stale;
    for (int port = 1; port <= 1000; ++port) {
        stale.set(at("172.30.0.1", port), answerers({kFirst}));
        bench.conntrack->add(flow(port, at("172.30.0.1", port), port % 10 == 0 ? kSecond : kFirst));
        bench.conntrack->add(flow(port, at("172.30.0.3", port), kSecond));
    }
    bench.cleaner.submit(kIpv4, stale);
    ASSERT_TRUE(bench.cleaner.wait_idle(kPatience));
    EXPECT_EQ(bench.cleaner.counts().dumps, 1U);
    EXPECT_EQ(bench.cleaner.counts().removed, 100U);
    EXPECT_THAT(bench.conntrack->entries(), SizeIs(1900));
}

}  // namespace
}  // namespace ghostip::agent
