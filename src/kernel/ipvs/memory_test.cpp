#include "kernel/ipvs/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/ipvs/contract_testing.h"

namespace ghostip::kernel::ipvs {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

const auto kWeb = service_key("10.96.0.1", 80);
const auto kOne = destination("10.0.1.1", 8080);
const auto kTwo = destination("10.0.1.2", 8080);

TEST(MemoryIpvs, DoesAsTheKernelDoes) {
    for (const auto family : net::kFamilies) {
        SCOPED_TRACE(net::family_name(family));
        MemoryIpvs ipvs;
        hold_to_contract(ipvs, family);
    }
}

TEST(MemoryIpvs, ConnectionsOutliveTheirDestination) {
    MemoryIpvs ipvs;
    EXPECT_FALSE(ipvs.set_connections(kWeb, kOne.key, {1, 2, 0}));
    ASSERT_THAT(*ipvs.apply(std::vector<Command>{{Verb::kNewService, service(kWeb), {}},
                                                 {Verb::kNewDestination, service(kWeb), kOne},
                                                 {Verb::kNewDestination, service(kWeb), kTwo}}),
                SizeIs(0));
    EXPECT_TRUE(ipvs.set_connections(kWeb, kOne.key, {1, 2, 0}));
    auto with_some = kOne;
    with_some.connections = {1, 2, 0};
    EXPECT_THAT(*ipvs.destinations(kWeb), ElementsAre(with_some, kTwo));

    const std::vector<Command> away{{Verb::kDeleteDestination, service(kWeb), kOne}};
    const std::vector<Command> back{{Verb::kNewDestination, service(kWeb), kOne}};
    ASSERT_THAT(*ipvs.apply(away), SizeIs(0));
    EXPECT_THAT(*ipvs.destinations(kWeb), ElementsAre(kTwo));
    EXPECT_TRUE(ipvs.set_connections(kWeb, kOne.key, {0, 1, 0}));
    ASSERT_THAT(*ipvs.apply(back), SizeIs(0));
    with_some.connections = {0, 1, 0};
    EXPECT_THAT(*ipvs.destinations(kWeb), ElementsAre(with_some, kTwo));

    ASSERT_THAT(*ipvs.apply(away), SizeIs(0));
    EXPECT_TRUE(ipvs.set_connections(kWeb, kOne.key, {}));
    ASSERT_THAT(*ipvs.apply(back), SizeIs(0));
    EXPECT_THAT(*ipvs.destinations(kWeb), ElementsAre(kOne, kTwo));
}

TEST(MemoryIpvs, ForeignServicesAreThere) {
    MemoryIpvs ipvs;
    Service marked;
    marked.key.address = net::IpAddress(net::Family::kIpv6);
    marked.key.mark = 7;
    ipvs.add_foreign({marked, {kOne}});
    EXPECT_THAT(*ipvs.services(), ElementsAre(marked));
    EXPECT_THAT(*ipvs.destinations(marked.key), ElementsAre(kOne));
    EXPECT_EQ(text(marked.key), "mark 7 (IPv6)");
}

TEST(MemoryIpvs, Timeouts) {
    MemoryIpvs ipvs;
    ASSERT_TRUE(ipvs.set_timeouts({0, 60, 0}));
    EXPECT_EQ(*ipvs.timeouts(), (Timeouts{900, 60, 300}));
}

TEST(MemoryIpvs, WhatIsToFail) {
    MemoryIpvs ipvs;
    const std::vector<Command> two{{Verb::kNewService, service(kWeb), {}},
                                   {Verb::kNewDestination, service(kWeb), kOne}};
    ipvs.fail_call(1, ENOBUFS);
    EXPECT_EQ(ipvs.apply(two).error().code, ENOBUFS);
    EXPECT_THAT(*ipvs.services(), SizeIs(0));
    ipvs.refuse_command(2, ENOMEM);
    const auto refusals = ipvs.apply(two);
    ASSERT_THAT(*refusals, SizeIs(1));
    EXPECT_EQ(refusals->front().command, 1U);
    EXPECT_EQ(refusals->front().error.message,
              "add destination 10.0.1.1:8080 to TCP 10.96.0.1:80: Cannot allocate memory");
    EXPECT_EQ(ipvs.counters().commands, 1U);
    EXPECT_THAT(ipvs.log(), SizeIs(2));
    ipvs.set_absent(true);
    EXPECT_EQ(ipvs.services().error().code, ENOENT);
    EXPECT_EQ(ipvs.info().error().code, ENOENT);
}

}  // namespace
}  // namespace ghostip::kernel::ipvs
