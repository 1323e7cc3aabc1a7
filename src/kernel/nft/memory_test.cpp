#include "kernel/nft/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/nft/refusals_testing.h"

namespace ghostip::kernel::nft {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

MemoryKernel prepared() {
    MemoryKernel kernel;
    EXPECT_TRUE(kernel.commit(before_refusals()));
    kernel.reset_counters();
    return kernel;
}

TEST(MemoryKernel, Refusals) {
    for (const auto& c : refusals()) {
        MemoryKernel kernel = prepared();
        const auto before = *kernel.find(kTable);
        const auto result = kernel.commit({kTable, c.operations});
        EXPECT_EQ(result ? 0 : result.error().code, c.code) << c.name;
        EXPECT_EQ(kernel.counters().commits, result ? 1U : 0U) << c.name;
        if (result) continue;
        EXPECT_EQ(*kernel.find(kTable), before) << c.name << ": nothing of a refused batch is done";
        EXPECT_THAT(result.error().message, HasSubstr("nf_tables table ghostip-test: " + describe(c.operations.back())))
            << c.name;
    }
}

// The first operation of each batch is good; the second is not.
TEST(MemoryKernel, AllOrNothing) {
    MemoryKernel kernel = prepared();
    const auto before = *kernel.find(kTable);
    const std::vector<Operation> good{add(address(7)), remove(address(1)), AddChain{"new", std::nullopt}, DeleteTable{},
                                      FlushChain{"plain"}};
    for (const auto& operation : good) {
        EXPECT_FALSE(kernel.commit({kTable, {operation, FlushChain{"none"}}})) << describe(operation);
        EXPECT_EQ(*kernel.find(kTable), before) << describe(operation);
    }
}

TEST(MemoryKernel, CheckKeepsNothing) {
    MemoryKernel kernel;
    EXPECT_TRUE(kernel.check(before_refusals()));
    EXPECT_EQ(kernel.find(kTable), nullptr);
    ASSERT_TRUE(kernel.commit(before_refusals()));
    const auto before = *kernel.find(kTable);
    EXPECT_TRUE(kernel.check({kTable, {DeleteTable{}}}));
    const auto refused = kernel.check({kTable, {add(address(5)), remove(address(6))}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ENOENT);
    EXPECT_EQ(*kernel.find(kTable), before);
    EXPECT_EQ(kernel.counters().commits, 1U);
}

TEST(MemoryKernel, FamiliesAndNamesAreApart) {
    MemoryKernel kernel = prepared();
    const Table ipv6{net::Family::kIpv6, kTable.name, ""};
    EXPECT_EQ(kernel.commit({ipv6, {add(address(1))}}).error().code, ENOENT);
    EXPECT_EQ(kernel.commit({{kTable.family, "another", ""}, {FlushChain{"plain"}}}).error().code, ENOENT);
    EXPECT_TRUE(kernel.commit({ipv6, {AddTable{}}}));
    EXPECT_TRUE(kernel.exists(ipv6).value());
    EXPECT_TRUE(kernel.commit({kTable, {DeleteTable{}}}));
    EXPECT_FALSE(kernel.exists(kTable).value());
    EXPECT_TRUE(kernel.exists(ipv6).value());
}

TEST(MemoryKernel, ReadsWhatWasWritten) {
    MemoryKernel kernel = prepared();
    const auto map = kernel.read(kTable, endpoints());
    ASSERT_TRUE(map);
    EXPECT_EQ(map->elements.bytes, endpoint(80).bytes);
    EXPECT_EQ(map->elements.key_bytes, 8);
    EXPECT_EQ(map->elements.data_bytes, 8);
    ASSERT_TRUE(kernel.commit({kTable, {add(address(2))}}));
    EXPECT_EQ(kernel.read(kTable, addresses())->elements.count(), 2U);
    EXPECT_EQ(kernel.read(kTable, {.name = "none", .key = {Field::kAddress}}).error().code, ENOENT);
}

TEST(MemoryKernel, ElementsCountFromTheirAdditionOn) {
    MemoryKernel kernel = prepared();
    ASSERT_TRUE(
        kernel.commit({kTable, {AddSet{counters()}, add(address(1, "counters")), add(address(2, "counters"))}}));
    const auto counted = [&] { return kernel.read_counts(kTable, counters())->counts; };
    kernel.packets_met(kTable, "counters", {10, 0, 0, 2}, {3, 300});
    kernel.packets_met(kTable, "counters", {10, 0, 0, 2}, {1, 40});
    kernel.packets_met(kTable, "counters", {10, 0, 0, 3}, {1, 40});   // no such element
    kernel.packets_met(kTable, "addresses", {10, 0, 0, 1}, {1, 40});  // a set that does not count
    EXPECT_THAT(counted(), ElementsAre(Count{}, Count{4, 340}));
    EXPECT_THAT(kernel.read_counts(kTable, addresses())->counts, ElementsAre(Count{}));
    ASSERT_TRUE(kernel.commit({kTable, {add(address(2, "counters"))}}));
    EXPECT_THAT(counted(), ElementsAre(Count{}, Count{4, 340})) << "adding what is there changes nothing";
    ASSERT_TRUE(kernel.commit({kTable, {remove(address(2, "counters")), add(address(2, "counters"))}}));
    EXPECT_THAT(counted(), ElementsAre(Count{}, Count{}));
}

TEST(MemoryKernel, CallsThatAreToFail) {
    MemoryKernel kernel = prepared();
    kernel.fail_call(1, ENOBUFS);
    kernel.fail_call(3, ENOMEM);
    kernel.fail_call(4, EINTR);
    const auto before = *kernel.find(kTable);
    EXPECT_EQ(kernel.commit({kTable, {add(address(2))}}).error().code, ENOBUFS);
    EXPECT_EQ(*kernel.find(kTable), before);
    EXPECT_TRUE(kernel.commit({kTable, {add(address(2))}}));
    EXPECT_EQ(kernel.check({kTable, {add(address(3))}}).error().code, ENOMEM);
    EXPECT_EQ(kernel.read(kTable, addresses()).error().code, EINTR);
    EXPECT_TRUE(kernel.exists(kTable).value());
}

TEST(MemoryKernel, Counts) {
    MemoryKernel kernel = prepared();
    Elements three = elements_of("addresses", 4, 0, {10, 0, 0, 5, 10, 0, 0, 6, 10, 0, 0, 7});
    ASSERT_TRUE(kernel.commit({kTable, {add(three), remove(address(1))}}));
    EXPECT_FALSE(kernel.commit({kTable, {add(three), remove(address(1))}}));
    EXPECT_TRUE(kernel.commit({kTable, {}})) << "nothing to do is no call";
    EXPECT_EQ(kernel.counters().calls, 2U);
    EXPECT_EQ(kernel.counters().commits, 1U);
    EXPECT_EQ(kernel.counters().operations, 2U);
    EXPECT_EQ(kernel.counters().elements_added, 3U);
    EXPECT_EQ(kernel.counters().elements_deleted, 1U);
}

}  // namespace
}  // namespace ghostip::kernel::nft
