#include "dataplane/iptables/counters.h"

#include <gtest/gtest.h>

#include "dataplane/iptables/names.h"
#include "kernel/nfacct/memory.h"

namespace ghostip::dataplane::iptables {
namespace {

TEST(IptablesCounters, AreRead) {
    kernel::nfacct::MemoryNfacct counters;
    auto none = read_counters(counters);
    ASSERT_TRUE(none.has_value());
    EXPECT_EQ(none->invalid_dropped, 0U);
    counters.count(kInvalidDropped, {3, 300});
    counters.count(kLoopbackNodePorts, {5, 500});
    const auto some = read_counters(counters);
    ASSERT_TRUE(some.has_value());
    EXPECT_EQ(some->invalid_dropped, 3U);
    EXPECT_EQ(some->loopback_node_ports, 5U);
    counters.fail_with(EPERM);
    EXPECT_EQ(read_counters(counters).error().code, EPERM);
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
