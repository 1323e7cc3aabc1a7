#include "relay/picker.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
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
    EXPECT_TRUE(picker.replace(fewer, at(seconds(0))));
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
    EXPECT_FALSE(picker.replace(same, at(seconds(0))));
    EXPECT_EQ(picker.pick(client(1), at(milliseconds(0))), order[1]);
    EXPECT_FALSE(picker.replace(pool_of(51), at(seconds(0)))) << "none has left";
    std::set<SocketAddress> all;
    for (int i = 0; i < 51; ++i) all.insert(picker.pick(client(1), at(milliseconds(0))).value());
    EXPECT_EQ(all.size(), 51U) << "from the beginning";
}

TEST(Picker, ClearedItHasNothingToPickAndIsAnotherGeneration) {
    auto pool = sticky(3, seconds(10));
    pool.proxy_protocol = ProxyProtocol::kV2;
    Picker picker(pool, kMany);
    const auto went = picker.pick(client(1), at(milliseconds(0))).value();
    const auto before = picker.generation();
    picker.clear(at(seconds(0)));
    EXPECT_NE(picker.generation(), before);
    EXPECT_FALSE(picker.contains(went));
    EXPECT_FALSE(picker.pick(client(1), at(milliseconds(1))));
    EXPECT_EQ(picker.remembered(), 0U);
    EXPECT_EQ(picker.proxy_protocol(), ProxyProtocol::kV2) << "a connection just made still begins with its header";
}

// --- who has left, and when

TEST(Picker, KnowsWhenEachEndpointLeft) {
    Picker picker(pool_of(3), kMany, seconds(60));
    EXPECT_TRUE(picker.replace(pool_of(2), at(seconds(0))));
    EXPECT_TRUE(picker.replace(pool_of(1), at(seconds(30))));
    EXPECT_TRUE(picker.gone_since(endpoint(3), at(seconds(0))));
    EXPECT_FALSE(picker.gone_since(endpoint(2), at(seconds(29))));
    EXPECT_TRUE(picker.gone_since(endpoint(2), at(seconds(30))));
    EXPECT_FALSE(picker.gone_since(endpoint(1), at(seconds(1000))));
    picker.clear(at(seconds(40)));
    EXPECT_FALSE(picker.gone_since(endpoint(1), at(seconds(39))));
    EXPECT_TRUE(picker.gone_since(endpoint(1), at(seconds(40))));
    EXPECT_TRUE(picker.gone_since(endpoint(2), at(seconds(30)))) << "it had left before";
}

TEST(Picker, AnEndpointThatReturnsAndLeavesAgainLeftTheSecondTime) {
    Picker picker(pool_of(2), kMany, seconds(60));
    EXPECT_TRUE(picker.replace(pool_of(1), at(seconds(0))));
    EXPECT_FALSE(picker.replace(pool_of(2), at(seconds(20))));
    EXPECT_FALSE(picker.gone_since(endpoint(2), at(seconds(1000))));
    EXPECT_TRUE(picker.replace(pool_of(1), at(seconds(40))));
    EXPECT_FALSE(picker.gone_since(endpoint(2), at(seconds(39))));
    EXPECT_TRUE(picker.gone_since(endpoint(2), at(seconds(40))));
}

TEST(Picker, WhoLeftLongAgoIsGoneAlsoWhenThatIsForgotten) {
    Picker picker(pool_of(3), kMany, seconds(60));
    EXPECT_TRUE(picker.replace(pool_of(2), at(seconds(0))));
    EXPECT_TRUE(picker.replace(pool_of(1), at(seconds(60))));
    EXPECT_TRUE(picker.gone_since(endpoint(3), at(seconds(0))));
    EXPECT_FALSE(picker.gone_since(endpoint(2), at(seconds(0))));
}

// --- what one picker tells another

TEST(Picker, ClientsStickAcrossPickers) {
    Picker before(sticky(7, seconds(100)), kMany);
    std::map<int, SocketAddress> went;
    for (int i = 1; i <= 50; ++i) went.emplace(i, before.pick(client(i), at(seconds(i))).value());
    // The clock of the next one is another, what has passed is the same.
    const auto known = before.affinities(at(seconds(120)));
    EXPECT_EQ(known.size(), 30U) << "20 have not been there for 100 s";
    Picker next(sticky(7, seconds(100)), kMany);
    EXPECT_EQ(next.remember(known, at(seconds(5000))), 30U);
    for (int i = 21; i <= 50; ++i) EXPECT_EQ(next.pick(client(i), at(seconds(5000))), went.at(i)) << i;
    // And it goes on passing: of the 100 s of client 50, 70 were over.
    Picker last(sticky(7, seconds(100)), kMany);
    EXPECT_EQ(last.remember(known, at(seconds(5000))), 30U);
    EXPECT_EQ(last.affinities(at(seconds(5029))).size(), 1U);
    EXPECT_TRUE(last.affinities(at(seconds(5030))).empty());
}

TEST(Picker, RemembersOnlyWhatIsTrueHere) {
    const auto ago = [](int number, int to, milliseconds time) { return Affinity{client(number), endpoint(to), time}; };
    Picker picker(sticky(3, seconds(10)), kMany);
    const auto went = picker.pick(client(1), at(seconds(0))).value();
    const int elsewhere = went == endpoint(1) ? 2 : 1;
    EXPECT_EQ(picker.remember({ago(1, elsewhere, seconds(1)),                  // it has come here since
                               ago(2, 4, seconds(1)),                          // an endpoint that is not there
                               ago(3, 1, milliseconds(9999)),                  // just so
                               ago(4, 1, milliseconds(10'000)),                // over
                               ago(5, 2, seconds(3)), ago(5, 3, seconds(2))},  // the later one
                              at(seconds(0))),
              2U);
    EXPECT_EQ(picker.remembered(), 3U);
    EXPECT_EQ(picker.pick(client(1), at(seconds(0))), went);
    EXPECT_EQ(picker.pick(client(3), at(seconds(0))), endpoint(1));
    EXPECT_EQ(picker.pick(client(5), at(seconds(0))), endpoint(3));
    Picker without(pool_of(3), kMany);
    EXPECT_EQ(without.remember({ago(1, 1, seconds(1))}, at(seconds(0))), 0U);
    EXPECT_TRUE(without.affinities(at(seconds(0))).empty());
}

TEST(Picker, RemembersTheLatestWhereThereAreTooMany) {
    constexpr int kTold = 100'000;
    std::vector<Affinity> told;
    for (int i = 0; i < kTold; ++i) {
        const std::array<std::uint8_t, 4> bytes{10, static_cast<std::uint8_t>(i >> 16U),
                                                static_cast<std::uint8_t>(i >> 8U), static_cast<std::uint8_t>(i)};
        told.push_back(
            {net::IpAddress::from_bytes(net::Family::kIpv4, bytes.data()), endpoint(1 + i % 5), milliseconds(i)});
    }
    std::shuffle(told.begin(), told.end(), std::minstd_rand(1));
    Picker picker(sticky(5, seconds(10'800)), kMany);
    EXPECT_EQ(picker.remember(told, at(seconds(0))), kMany);
    const auto known = picker.affinities(at(seconds(0)));
    EXPECT_EQ(known.size(), kMany);
    for (const auto& each : known) EXPECT_LT(each.unused, milliseconds(kMany));
    // One more, and the one not seen for longest is forgotten.
    EXPECT_TRUE(picker.pick(client(1), at(seconds(0))));
    const auto after = picker.affinities(at(seconds(0)));
    EXPECT_EQ(after.size(), kMany);
    for (const auto& each : after) EXPECT_LT(each.unused, milliseconds(kMany - 1));
    Picker large(sticky(5, seconds(10'800)), kTold);
    EXPECT_EQ(large.remember(told, at(seconds(0))), static_cast<std::size_t>(kTold));
}

}  // namespace
}  // namespace ghostip::relay
