#include "kernel/ipset/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/ipset/contract_testing.h"

namespace ghostip::kernel::ipset {
namespace {

using ::testing::IsEmpty;

TEST(MemorySets, DoAsTheKernelDoes) {
    for (const auto type : kTypes)
        for (const auto family : net::kFamilies) {
            SCOPED_TRACE(fmt::format("{} {}", type_name(type), net::family_name(family)));
            MemorySets sets;
            hold_to_contract(sets, type, family);
        }
    MemorySets sets;
    hold_to_size(sets);
}

TEST(MemorySets, WhatIsUsedStays) {
    MemorySets sets;
    ASSERT_TRUE(sets.create({"USED"}));
    ASSERT_TRUE(sets.create({"SPARE"}));
    sets.set_references("USED", 1);
    EXPECT_EQ(sets.destroy("USED").error().code, EBUSY);
    ASSERT_TRUE(sets.swap("USED", "SPARE"));
    EXPECT_EQ(sets.destroy("USED").error().code, EBUSY);
    EXPECT_TRUE(*sets.destroy("SPARE"));
}

TEST(MemorySets, ForeignSetsAreListed) {
    MemorySets sets;
    sets.add_foreign("THEIRS", "list:set");
    const auto headers = sets.headers();
    ASSERT_EQ(headers->size(), 1U);
    EXPECT_EQ(headers->front().type_name, "list:set");
    EXPECT_FALSE(headers->front().type);
    EXPECT_EQ(sets.create({"THEIRS"}).error().code, EEXIST);
}

TEST(MemorySets, WhatIsToFail) {
    MemorySets sets;
    sets.fail_call(2, ENOBUFS);
    ASSERT_TRUE(sets.create({"A"}));
    const std::vector<Element> one{element("10.0.0.1", net::Protocol::kTcp, 80)};
    EXPECT_EQ(sets.add("A", Type::kIpPort, one).error().code, ENOBUFS);
    EXPECT_THAT((*sets.contents("A"))->elements, IsEmpty());
    EXPECT_THAT(*sets.add("A", Type::kIpPort, one), IsEmpty());
    EXPECT_EQ(sets.counters().added, 1U);
    sets.set_absent(true);
    EXPECT_EQ(sets.headers().error().code, ENOENT);
}

}  // namespace
}  // namespace ghostip::kernel::ipset
