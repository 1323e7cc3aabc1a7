#include "agent/conntrack_settings.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/sysctl/memory.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

const std::string kFolder = "/proc/sys/net/netfilter/nf_conntrack_";
const std::string kHashSize = "/sys/module/nf_conntrack/parameters/hashsize";

TEST(ConntrackSettings, Max) {
    struct Case {
        const char* name;
        std::int64_t per_core;
        std::int64_t min;
        unsigned processors;
        std::int64_t max;
    };
    for (const auto& c :
         {Case{"left alone", 0, 131072, 4, 0}, Case{"by processors", 400, 1, 4, 1600},
          Case{"the least", 400, 2000, 4, 2000}, Case{"equal", 500, 2000, 4, 2000},
          Case{"default, one processor", 32768, 131072, 1, 131072},
          Case{"default, 32 processors", 32768, 131072, 32, 1048576},
          Case{"default, 33 processors", 32768, 131072, 33, 1048576},
          Case{"default, 512 processors", 32768, 131072, 512, 1048576},
          Case{"the cap is stronger than min", 32768, 5'000'000, 512, 1048576},
          Case{"min above the cap", 400, 5'000'000, 4, 5'000'000}, Case{"no overflow", INT64_MAX, 1, 4, 1048576}}) {
        ConntrackSettings settings;
        settings.max_per_core = c.per_core;
        settings.min = c.min;
        EXPECT_EQ(conntrack_max(settings, c.processors), c.max) << c.name;
    }
}

TEST(ConntrackSettings, WritesWhatDiffers) {
    using Current = std::map<std::string, std::int64_t>;
    ConntrackSettings none;
    none.max_per_core = 0;
    none.tcp_established_timeout = none.tcp_close_wait_timeout = 0s;
    ConntrackSettings all;
    all.tcp_be_liberal = true;
    all.udp_timeout = 30s;
    all.udp_stream_timeout = 1500ms;
    ConntrackSettings tiny = none;
    tiny.udp_timeout = 1ms;
    struct Case {
        const char* name;
        ConntrackSettings settings;
        Current current;
        std::vector<SysctlWrite> writes;
    };
    const Current defaults{{kFolder + "max", 131072},
                           {kHashSize, 32768},
                           {kFolder + "tcp_timeout_established", 86400},
                           {kFolder + "tcp_timeout_close_wait", 3600}};
    const Current fresh{{kFolder + "max", 65536},
                        {kHashSize, 65536},
                        {kFolder + "tcp_timeout_established", 432000},
                        {kFolder + "tcp_timeout_close_wait", 60},
                        {kFolder + "tcp_be_liberal", 0},
                        {kFolder + "udp_timeout", 30},
                        {kFolder + "udp_timeout_stream", 120}};
    const std::vector<Case> cases{
        {"nothing is wanted", none, {}, {}},
        {"everything is right", {}, defaults, {}},
        {"a fresh host",
         {},
         fresh,
         {{kFolder + "max", 131072},
          {kFolder + "tcp_timeout_established", 86400},
          {kFolder + "tcp_timeout_close_wait", 3600}}},
        {"everything is wanted",
         all,
         fresh,
         {{kFolder + "max", 131072},
          {kFolder + "tcp_timeout_established", 86400},
          {kFolder + "tcp_timeout_close_wait", 3600},
          {kFolder + "tcp_be_liberal", 1},
          {kFolder + "udp_timeout_stream", 1}}},
        {"less than a second", tiny, fresh, {{kFolder + "udp_timeout", 1}}},
        {"what cannot be read is written", tiny, {}, {{kFolder + "udp_timeout", 1}}},
    };
    for (const auto& c : cases) EXPECT_EQ(conntrack_writes(c.settings, c.current, 4), c.writes) << c.name;
    Current few = defaults;
    few[kHashSize] = 32767;
    EXPECT_EQ(conntrack_writes({}, few, 4), (std::vector<SysctlWrite>{{kHashSize, 32768}}));
}

TEST(ConntrackSettings, AreAppliedAsFarAsTheHostLets) {
    const std::map<std::string, std::int64_t> values{{kFolder + "max", 1},
                                                     {kHashSize, 1},
                                                     {kFolder + "tcp_timeout_established", 86400},
                                                     {kFolder + "tcp_timeout_close_wait", 60}};
    kernel::sysctl::MemorySysctl sysctl(values);
    EXPECT_THAT(apply_conntrack_settings({}, sysctl, 8), IsEmpty());
    EXPECT_THAT(sysctl.writes(), ElementsAre(Pair(kFolder + "max", 262144), Pair(kHashSize, 65536),
                                             Pair(kFolder + "tcp_timeout_close_wait", 3600)));
    EXPECT_THAT(apply_conntrack_settings({}, sysctl, 8), IsEmpty());
    EXPECT_EQ(sysctl.writes().size(), 3U) << "once is enough";

    kernel::sysctl::MemorySysctl read_only(values);
    read_only.fail_writes(EROFS);
    const auto refused = apply_conntrack_settings({}, read_only, 8);
    ASSERT_EQ(refused.size(), 3U);
    EXPECT_EQ(refused[0].code, EROFS);
    EXPECT_THAT(refused[0].message, HasSubstr("write 262144 to /proc/sys/net/netfilter/nf_conntrack_max"));

    kernel::sysctl::MemorySysctl without_conntrack({});
    EXPECT_EQ(apply_conntrack_settings({}, without_conntrack, 8).size(), 4U) << "each is tried";
}

TEST(ConntrackSettings, CountsProcessors) {
    struct Case {
        const char* list;
        unsigned count;
    };
    for (const auto& c : {Case{"0", 1}, Case{"0-3", 4}, Case{"0-1,4", 3}, Case{"0,2,4-7", 6}, Case{"", 0}, Case{"x", 0},
                          Case{"0-", 0}, Case{"3-0", 0}, Case{"0,", 0}, Case{"0-4294967295", 0}, Case{"0 1", 0}})
        EXPECT_EQ(count_processors(c.list), c.count) << c.list;
}

}  // namespace
}  // namespace ghostip::agent
