#include "kernel/conntrack/memory.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::kernel::conntrack {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const auto kAll = [](const Entry&) { return true; };

net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

Entry entry(std::string_view dialled, std::uint16_t port, std::string_view answerer = "10.0.0.1") {
    const End client{ip(ip(dialled).is_ipv4() ? "10.9.9.9" : "fd00:9::9"), 1000};
    return {{client, {ip(dialled), port}}, {{ip(answerer), 5353}, client}, {}, 0};
}

TEST(MemoryConntrack, Filters) {
    MemoryConntrack conntrack;
    conntrack.add(entry("172.30.0.1", 53));
    conntrack.add(entry("172.30.0.1", 54));
    conntrack.add(entry("172.30.0.2", 53));
    conntrack.add(entry("fd00:30::1", 53, "fd00::1"));
    struct Case {
        std::string_view name;
        Filter filter;
        std::size_t expected;
    };
    const std::vector<Case> cases{
        {"a family", {net::Family::kIpv4, {}, {}}, 3},
        {"the other", {net::Family::kIpv6, {}, {}}, 1},
        {"an address", {net::Family::kIpv4, ip("172.30.0.1"), {}}, 2},
        {"a port", {net::Family::kIpv4, {}, std::uint16_t{53}}, 2},
        {"both", {net::Family::kIpv4, ip("172.30.0.1"), std::uint16_t{53}}, 1},
        {"an answerer is no destination", {net::Family::kIpv4, ip("10.0.0.1"), {}}, 0},
        {"an address of the other family", {net::Family::kIpv4, ip("fd00:30::1"), {}}, 0},
    };
    for (const auto& c : cases) EXPECT_THAT(*conntrack.dump(c.filter, kAll), SizeIs(c.expected)) << c.name;
    EXPECT_THAT(*conntrack.dump(cases[0].filter, [](const Entry& e) { return e.original.destination.port == 54; }),
                SizeIs(1));
    EXPECT_EQ(conntrack.counters().dumps, cases.size() + 1);
}

TEST(MemoryConntrack, RemovesOneAndNotItsSuccessor) {
    MemoryConntrack conntrack;
    conntrack.add(entry("172.30.0.1", 53));
    const auto first = conntrack.entries().front();
    EXPECT_EQ(conntrack.remove(first).value(), true);
    EXPECT_EQ(conntrack.remove(first).value(), false);
    conntrack.add(entry("172.30.0.1", 53, "10.0.0.2"));
    EXPECT_EQ(conntrack.remove(first).value(), false);
    EXPECT_THAT(conntrack.entries(), SizeIs(1));
    EXPECT_EQ(conntrack.counters().removed, 1U);
}

TEST(MemoryConntrack, CallsThatAreToFail) {
    MemoryConntrack conntrack;
    conntrack.add(entry("172.30.0.1", 53));
    const auto there = conntrack.entries();
    conntrack.fail_call(1, ENOBUFS);
    conntrack.fail_call(3, EPERM);
    conntrack.fail_call(4, ENOMEM);
    const Filter any{net::Family::kIpv4, {}, {}};
    EXPECT_EQ(conntrack.dump(any, kAll).error().code, ENOBUFS);
    EXPECT_EQ(*conntrack.dump(any, kAll), there);
    EXPECT_EQ(conntrack.remove(there.front()).error().code, EPERM);
    EXPECT_EQ(conntrack.entries(), there);
    conntrack.fail_no_more();
    EXPECT_TRUE(conntrack.remove(there.front()).value());
    EXPECT_THAT(conntrack.entries(), IsEmpty());
    EXPECT_THAT(conntrack.filters(), ElementsAre(any));
    EXPECT_EQ(conntrack.counters().calls, 4U);
}

}  // namespace
}  // namespace ghostip::kernel::conntrack
