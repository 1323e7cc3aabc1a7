#include "kernel/xtables/policy.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
// After the headers of libc, with which they share definitions.
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include <cstring>
#include <vector>

namespace ghostip::kernel::xtables {
namespace {

// Something of 40 bytes, and behind it an entry with this target.
template <typename Entry>
std::vector<std::uint8_t> entries(int verdict, const char* target_name = "") {
    Entry entry{};
    entry.target_offset = sizeof entry;
    entry.next_offset = sizeof entry + sizeof(xt_standard_target);
    xt_standard_target target{};
    std::strcpy(&target.target.u.user.name[0], target_name);
    target.verdict = verdict;
    std::vector<std::uint8_t> bytes(40 + entry.next_offset);
    std::memcpy(bytes.data() + 40, &entry, sizeof entry);
    std::memcpy(bytes.data() + 40 + sizeof entry, &target, sizeof target);
    return bytes;
}

TEST(XtablesPolicy, IsTheVerdictOfTheLastRule) {
    EXPECT_EQ(policy_at(entries<ipt_entry>(-NF_DROP - 1), 40, net::Family::kIpv4), Policy::kDrop);
    EXPECT_EQ(policy_at(entries<ipt_entry>(-NF_ACCEPT - 1), 40, net::Family::kIpv4), Policy::kAccept);
    EXPECT_EQ(policy_at(entries<ip6t_entry>(-NF_DROP - 1), 40, net::Family::kIpv6), Policy::kDrop);
    EXPECT_EQ(policy_at(entries<ip6t_entry>(-NF_ACCEPT - 1), 40, net::Family::kIpv6), Policy::kAccept);
}

TEST(XtablesPolicy, IsAbsentWhereThereIsNone) {
    EXPECT_EQ(policy_at(entries<ipt_entry>(120), 40, net::Family::kIpv4), std::nullopt) << "a jump";
    EXPECT_EQ(policy_at(entries<ipt_entry>(-NF_DROP - 1, "ERROR"), 40, net::Family::kIpv4), std::nullopt);
    EXPECT_EQ(policy_at(entries<ipt_entry>(-NF_DROP - 1), 1 << 20, net::Family::kIpv4), std::nullopt) << "outside";
    auto cut = entries<ipt_entry>(-NF_DROP - 1);
    while (!cut.empty()) {
        cut.pop_back();
        EXPECT_EQ(policy_at(cut, 40, net::Family::kIpv4), std::nullopt) << cut.size();
    }
}

}  // namespace
}  // namespace ghostip::kernel::xtables
