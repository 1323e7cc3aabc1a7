#include "dataplane/nftables/slots.h"

#include <algorithm>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

plan::Pool pool_of(const std::vector<int>& numbers) {
    plan::Pool pool;
    for (const int number : numbers) pool.push_back({plan::testing::ip("10.0.0." + std::to_string(number)), 80, false});
    return pool;
}

TEST(Slots, Cases) {
    struct Case {
        const char* name;
        std::vector<int> before, pool, after;
    };
    const Case cases[] = {
        {"from nothing: the pool's own order", {}, {3, 1, 2}, {3, 1, 2}},
        {"nothing changed", {2, 1, 3}, {1, 2, 3}, {2, 1, 3}},
        {"one added", {1, 2}, {1, 2, 3}, {1, 2, 3}},
        {"one added in front", {2, 3}, {1, 2, 3}, {2, 3, 1}},
        {"one replaced keeps the slot", {1, 2, 3}, {1, 4, 3}, {1, 4, 3}},
        {"the first removed: the last moves there", {1, 2, 3}, {2, 3}, {3, 2}},
        {"the last removed: nobody moves", {1, 2, 3}, {1, 2}, {1, 2}},
        {"all removed", {1, 2}, {}, {}},
        {"all others", {1, 2}, {3, 4, 5}, {3, 4, 5}},
    };
    for (const auto& c : cases) EXPECT_EQ(assign_slots(pool_of(c.before), pool_of(c.pool)), pool_of(c.after)) << c.name;
}

TEST(Slots, WhereAnEndpointRunsIsTakenFromThePool) {
    plan::Pool here = pool_of({1});
    here[0].local = true;
    EXPECT_TRUE(assign_slots(pool_of({1}), here)[0].local);
}

bool less(const plan::Endpoint& a, const plan::Endpoint& b) { return a < b; }

RC_GTEST_PROP(SlotProperties, MoveAsFewAsPossible, ()) {
    const auto numbers = [] { return *rc::gen::unique<std::vector<int>>(rc::gen::inRange(1, 40)); };
    const Slots before = pool_of(numbers());
    const plan::Pool pool = pool_of(numbers());
    Slots after = assign_slots(before, pool);
    // Who was in a slot that still exists, and still is in the pool, stays there.
    for (std::size_t slot = 0; slot < std::min(before.size(), after.size()); ++slot)
        if (std::find(pool.begin(), pool.end(), before[slot]) != pool.end()) RC_ASSERT(after[slot] == before[slot]);
    RC_ASSERT(assign_slots(after, pool) == after);
    plan::Pool wanted = pool;
    std::sort(wanted.begin(), wanted.end(), less);
    std::sort(after.begin(), after.end(), less);
    RC_ASSERT(after == wanted);
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
