#include "relay/picker.h"

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ghostip::relay {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kMany = 1000;

SocketAddress endpoint(int number) { return {*net::IpAddress::parse(fmt::format("10.0.0.{}", number)), 80}; }
net::IpAddress client(int number) { return *net::IpAddress::parse(fmt::format("192.0.2.{}", number)); }

Pool pool_of(int count) {
    Pool pool;
    for (int i = 1; i <= count; ++i) pool.endpoints.push_back(endpoint(i));
    return pool;
}

Pool sticky(int count, seconds timeout) {
    Pool pool = pool_of(count);
    pool.affinity = timeout;
    return pool;
}

// Some time, not the clock's.
Picker::TimePoint at(milliseconds offset) { return Picker::TimePoint(seconds(1000)) + offset; }

TEST(Picker, RoundRobinIsExactOverThreads) {
    Picker picker(pool_of(7), kMany);
    std::mutex mutex;
    std::map<SocketAddress, int> picked;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < 700; ++k) {
                const auto one = picker.pick(client(1), at(milliseconds(0)));
                const std::lock_guard lock(mutex);
                ++picked[one.value()];
            }
        });
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(picked.size(), 7U);
    for (const auto& [each, count] : picked) EXPECT_EQ(count, 400) << each.text();
}

TEST(Picker, RandomReachesAll) {
    auto pool = pool_of(5);
    pool.pick = Pick::kRandom;
    Picker picker(pool, kMany);
    std::map<SocketAddress, int> picked;
    for (int i = 0; i < 5000; ++i) ++picked[picker.pick(client(1), at(milliseconds(0))).value()];
    ASSERT_EQ(picked.size(), 5U);
    for (const auto& [each, count] : picked) EXPECT_NEAR(count, 1000, 200) << each.text();
}

TEST(Picker, PassesOverWhatFailedWhileThereIsAnother) {
    for (const auto way : {Pick::kRoundRobin, Pick::kRandom}) {
        auto pool = pool_of(3);
        pool.pick = way;
        Picker picker(pool, kMany);
        std::vector<SocketAddress> tried;
        tried.reserve(3);
        for (int i = 0; i < 3; ++i) tried.push_back(picker.pick(client(1), at(milliseconds(0)), tried).value());
        EXPECT_EQ(std::set<SocketAddress>(tried.begin(), tried.end()).size(), 3U);
        EXPECT_TRUE(picker.pick(client(1), at(milliseconds(0)), tried));
    }
}

TEST(Picker, EmptyPoolHasNothingToPick) {
    Picker picker(Pool{}, kMany);
    EXPECT_FALSE(picker.pick(client(1), at(milliseconds(0))));
}

TEST(Picker, ClientsStickForWholeSeconds) {
    Picker picker(sticky(3, seconds(10)), kMany);
    const auto first = picker.pick(client(1), at(milliseconds(0)));
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(9999))), first);
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(19'998))), first) << "each pick starts the time anew";
    EXPECT_NE(picker.pick(client(1), at(milliseconds(29'998))), first) << "10 s are not below 10 s";
}

TEST(Picker, AnEndpointThatFailedIsForgotten) {
    Picker picker(sticky(2, seconds(10)), kMany);
    const auto first = picker.pick(client(1), at(milliseconds(0))).value();
    const auto other = picker.pick(client(1), at(milliseconds(1)), std::vector{first}).value();
    EXPECT_NE(other, first);
    for (int i = 2; i < 6; ++i) EXPECT_EQ(picker.pick(client(1), at(milliseconds(i))), other);
}

TEST(Picker, RemembersNoMoreClientsThanItMay) {
    Picker picker(sticky(2, seconds(10)), 3);
    const auto first = picker.pick(client(1), at(milliseconds(0))).value();
    (void)picker.pick(client(2), at(milliseconds(1)));
    (void)picker.pick(client(3), at(milliseconds(2)));
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(3))), first);
    (void)picker.pick(client(4), at(milliseconds(4)));  // the second has not been seen for longest
    EXPECT_EQ(picker.remembered(), 3U);
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(5))), first);
}

TEST(Picker, ForgetsClientsWhoseTimeIsOver) {
    Picker picker(sticky(2, seconds(10)), kMany);
    for (int i = 0; i < 100; ++i) (void)picker.pick(client(i), at(milliseconds(i)));
    EXPECT_EQ(picker.remembered(), 100U);
    for (int i = 0; i < 30; ++i) (void)picker.pick(client(200), at(seconds(20)));
    EXPECT_EQ(picker.remembered(), 1U);
}

TEST(Picker, WhoWentToAnEndpointThatLeftGoesElsewhere) {
    Picker picker(sticky(3, seconds(10)), kMany);
    std::map<int, SocketAddress> before;
    for (int i = 0; i < 6; ++i) before[i] = picker.pick(client(i), at(milliseconds(0))).value();
    auto fewer = sticky(3, seconds(10));
    fewer.endpoints.pop_back();
    EXPECT_TRUE(picker.replace(fewer));
    for (const auto& [number, where] : before) {
        const auto now = picker.pick(client(number), at(milliseconds(1))).value();
        EXPECT_NE(now, endpoint(3));
        if (where != endpoint(3)) {
            EXPECT_EQ(now, where);
        }
    }
}

TEST(Picker, TheSameSetKeepsItsOrderAndPlace) {
    Picker picker(pool_of(50), kMany);
    std::vector<SocketAddress> order;
    order.reserve(50);
    for (int i = 0; i < 50; ++i) order.push_back(picker.pick(client(1), at(milliseconds(0))).value());
    (void)picker.pick(client(1), at(milliseconds(0)));
    auto same = pool_of(50);
    std::reverse(same.endpoints.begin(), same.endpoints.end());
    same.endpoints.push_back(endpoint(1));
    EXPECT_FALSE(picker.replace(same));
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(0))), order[1]);
    EXPECT_FALSE(picker.replace(pool_of(51))) << "none has left";
    std::set<SocketAddress> all;
    for (int i = 0; i < 51; ++i) all.insert(picker.pick(client(1), at(milliseconds(0))).value());
    EXPECT_EQ(all.size(), 51U) << "from the beginning";
}

}  // namespace
}  // namespace ghostip::relay
