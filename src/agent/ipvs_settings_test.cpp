#include "agent/ipvs_settings.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/ipvs/memory.h"
#include "kernel/sysctl/memory.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using kernel::sysctl::MemorySysctl;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Values = std::map<std::string, std::int64_t>;

const std::string kIpv4 = "/proc/sys/net/ipv4/";
constexpr KernelVersion kToday{6, 1};

Values usual() {
    return {{kIpv4 + "vs/conntrack", 0},         {kIpv4 + "vs/expire_nodest_conn", 0},
            {kIpv4 + "vs/conn_reuse_mode", 1},   {kIpv4 + "vs/expire_quiescent_template", 0},
            {kIpv4 + "ip_forward", 1},           {kIpv4 + "conf/all/arp_ignore", 0},
            {kIpv4 + "conf/all/arp_announce", 0}};
}

TEST(IpvsSettings, KernelVersions) {
    EXPECT_EQ(parse_kernel_version("6.1.0-25-amd64"), (KernelVersion{6, 1}));
    EXPECT_EQ(parse_kernel_version("5.10"), (KernelVersion{5, 10}));
    EXPECT_EQ(parse_kernel_version("7"), (KernelVersion{7, 0}));
    EXPECT_EQ(parse_kernel_version("custom"), (KernelVersion{0, 0}));
}

TEST(IpvsSettings, WriteWhatDiffers) {
    kernel::ipvs::MemoryIpvs ipvs;
    const auto timeouts = ipvs.timeouts().value();
    for (const bool strict_arp : {false, true}) {
        MemorySysctl sysctl(usual());
        std::vector<Error> survived;
        dataplane::IpvsOptions options;
        options.strict_arp = strict_arp;
        ASSERT_TRUE(apply_ipvs_settings(options, kToday, sysctl, ipvs, survived));
        EXPECT_THAT(survived, IsEmpty());
        auto wanted = usual();
        for (const auto* name : {"vs/conntrack", "vs/expire_nodest_conn", "vs/expire_quiescent_template"})
            wanted[kIpv4 + name] = 1;
        if (strict_arp) {
            wanted[kIpv4 + "conf/all/arp_ignore"] = 1;
            wanted[kIpv4 + "conf/all/arp_announce"] = 2;
        }
        EXPECT_EQ(sysctl.values(), wanted);
        EXPECT_EQ(sysctl.writes().size(), strict_arp ? 5U : 3U) << "what is right already is not written";
        EXPECT_EQ(ipvs.timeouts().value(), timeouts);
    }
}

TEST(IpvsSettings, ReuseOfPortsByKernel) {
    const auto mode = [](KernelVersion kernel) {
        for (const auto& one : ipvs_sysctls({}, kernel))
            if (one.path == kIpv4 + "vs/conn_reuse_mode") return one.value;
        return std::int64_t{-1};
    };
    EXPECT_EQ(mode({3, 10}), -1);
    EXPECT_EQ(mode({4, 1}), 0);
    EXPECT_EQ(mode({5, 8}), 0);
    EXPECT_EQ(mode({5, 9}), 1);
    EXPECT_EQ(mode({6, 1}), 1);
}

TEST(IpvsSettings, OfWhatTheHostDoesNotAllowOnlySomeCount) {
    kernel::ipvs::MemoryIpvs ipvs;
    std::vector<Error> survived;
    auto values = usual();
    values[kIpv4 + "vs/conntrack"] = 1;
    MemorySysctl better(values);
    better.fail_writes(EROFS);
    EXPECT_TRUE(apply_ipvs_settings({}, kToday, better, ipvs, survived));
    ASSERT_EQ(survived.size(), 2U);
    EXPECT_THAT(survived[0].message, HasSubstr("vs/expire_nodest_conn"));

    MemorySysctl needed(usual());
    needed.fail_writes(EROFS);
    const auto done = apply_ipvs_settings({}, kToday, needed, ipvs, survived);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("/proc/sys/net/ipv4/vs/conntrack"));
    EXPECT_THAT(done.error().message, HasSubstr("administrator has to set it to 1"));
}

TEST(IpvsSettings, TimeoutsThatNobodyNamesStay) {
    kernel::ipvs::MemoryIpvs ipvs;
    auto wanted = ipvs.timeouts().value();
    MemorySysctl sysctl(usual());
    std::vector<Error> survived;
    dataplane::IpvsOptions options;
    options.tcp_fin_timeout = 7s;
    ASSERT_TRUE(apply_ipvs_settings(options, kToday, sysctl, ipvs, survived));
    wanted.tcp_fin = 7;
    EXPECT_EQ(ipvs.timeouts().value(), wanted);
}

}  // namespace
}  // namespace ghostip::agent
