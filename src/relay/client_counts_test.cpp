#include "relay/client_counts.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ghostip::relay {
namespace {

const net::IpAddress kOne = *net::IpAddress::parse("192.0.2.1");
const net::IpAddress kOther = *net::IpAddress::parse("2001:db8::1");

TEST(ClientCounts, EachAddressHasItsOwn) {
    ClientCounts counts(2);
    EXPECT_TRUE(counts.take(kOne));
    EXPECT_TRUE(counts.take(kOne));
    EXPECT_FALSE(counts.take(kOne));
    EXPECT_TRUE(counts.take(kOther));
    counts.give_back(kOne);
    EXPECT_TRUE(counts.take(kOne));
    EXPECT_EQ(counts.clients(), 2U);
    for (const auto& client : {kOne, kOne, kOther}) counts.give_back(client);
    EXPECT_EQ(counts.clients(), 0U);
}

TEST(ClientCounts, WhereNoneMayBeNothingIsKept) {
    ClientCounts counts(0);
    EXPECT_FALSE(counts.take(kOne));
    EXPECT_EQ(counts.clients(), 0U);
}

TEST(ClientCounts, ThreadsShareTheLimit) {
    constexpr int kMost = 3;
    ClientCounts counts(kMost);
    std::atomic<int> taken = 0;
    std::atomic<int> too_many = 0;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < 20'000; ++k) {
                if (!counts.take(kOne)) continue;
                if (++taken > kMost) ++too_many;
                --taken;
                counts.give_back(kOne);
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(too_many, 0);
    EXPECT_EQ(counts.clients(), 0U);
}

}  // namespace
}  // namespace ghostip::relay
