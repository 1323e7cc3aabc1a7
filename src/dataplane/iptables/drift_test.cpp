#include "dataplane/iptables/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::dataplane::iptables {
namespace {

using kernel::nft::Announcement;
using kernel::nft::RuleWrite;
using What = Announcement::What;

constexpr const char* kSvc = "KUBE-SVC-ABCDEFGHIJKLMNOP";

Announcement said(What what, std::string_view table, std::string_view chain = {},
                  std::optional<std::string_view> target = "") {
    Announcement result;
    result.what = what;
    result.table = table;
    result.chain = chain;
    result.target = target;
    return result;
}

struct Case {
    const char* name;
    Announcement announcement;
};

TEST(IptablesDrift, WhatMayBreakOurRulesWakes) {
    const std::vector<Case> cases{
        {"a rule of a Service deleted", said(What::kRuleDeleted, "nat", kSvc)},
        {"a rule added to a Service's", said(What::kRuleAdded, "nat", kSvc)},
        {"a rule added in front of the dispatching ones", said(What::kRuleAdded, "nat", "KUBE-SERVICES", "OTHER")},
        {"a refusal deleted", said(What::kRuleDeleted, "filter", "KUBE-EXTERNAL-SERVICES")},
        {"a chain of a Service deleted", said(What::kChainDeleted, "nat", kSvc)},
        {"a chain that looks like one of ours added", said(What::kChainAdded, "nat", "KUBE-SEP-NOBODYS")},
        {"the canary deleted", said(What::kChainDeleted, "mangle", "KUBE-PROXY-CANARY")},
        {"the sign of whose rules they are deleted", said(What::kChainDeleted, "mangle", "GHOSTIP-RULES")},
        {"a chain renamed", said(What::kChainRenamed, "nat", "WAS-PERHAPS-OURS")},
        {"a jump of nat deleted", said(What::kRuleDeleted, "nat", "PREROUTING", "KUBE-SERVICES")},
        {"a jump of filter deleted", said(What::kRuleDeleted, "filter", "FORWARD", "KUBE-FORWARD")},
        {"the jump to the shared chain deleted", said(What::kRuleDeleted, "filter", "INPUT", "KUBE-FIREWALL")},
        {"a rule of nobody knows what deleted where a jump stands",
         said(What::kRuleDeleted, "nat", "OUTPUT", std::nullopt)},
        {"a rule of the shared chain deleted", said(What::kRuleDeleted, "filter", "KUBE-FIREWALL")},
        {"the shared chain deleted", said(What::kChainDeleted, "filter", "KUBE-FIREWALL")},
        {"a built-in chain with a jump deleted", said(What::kChainDeleted, "nat", "POSTROUTING")},
        {"a table deleted", said(What::kTableDeleted, "nat")},
        {"another table of ours deleted", said(What::kTableDeleted, "mangle")},
    };
    for (const auto& c : cases) EXPECT_TRUE(concerns_us(c.announcement)) << c.name;
}

TEST(IptablesDrift, WhatOthersDoWithTheirOwnDoesNot) {
    const std::vector<Case> cases{
        {"a container engine's rule added", said(What::kRuleAdded, "nat", "POSTROUTING", "")},
        {"its jump added", said(What::kRuleAdded, "nat", "PREROUTING", "DOCKER")},
        {"its jump deleted", said(What::kRuleDeleted, "nat", "PREROUTING", "DOCKER")},
        {"its masquerading deleted", said(What::kRuleDeleted, "nat", "POSTROUTING", "")},
        {"its chain added", said(What::kChainAdded, "nat", "DOCKER")},
        {"its chain deleted", said(What::kChainDeleted, "filter", "DOCKER-ISOLATION-STAGE-1")},
        {"rules of its chain", said(What::kRuleDeleted, "filter", "DOCKER", "")},
        {"a port map's chain added", said(What::kChainAdded, "nat", "CNI-DN-0123456789abcdef01234")},
        {"a port map's rule that marks as we do, gone",
         said(What::kRuleDeleted, "nat", "CNI-HOSTPORT-SETMARK", "KUBE-MARK-MASQ")},
        {"the kubelet's canary", said(What::kChainAdded, "mangle", "KUBE-KUBELET-CANARY")},
        {"the kubelet's canary, gone", said(What::kChainDeleted, "mangle", "KUBE-KUBELET-CANARY")},
        {"the kubelet's rule in the shared chain", said(What::kRuleAdded, "filter", "KUBE-FIREWALL")},
        {"the kubelet makes the shared chain", said(What::kChainAdded, "filter", "KUBE-FIREWALL")},
        {"a network policy's rule first in FORWARD", said(What::kRuleAdded, "filter", "FORWARD", "cali-FORWARD")},
        {"a policy set", said(What::kChainChanged, "filter", "FORWARD")},
        {"a built-in chain made", said(What::kChainAdded, "nat", "INPUT")},
        {"a built-in chain without our jumps deleted", said(What::kChainDeleted, "mangle", "PREROUTING")},
        {"a table made", said(What::kTableAdded, "nat")},
        {"another table deleted", said(What::kTableDeleted, "raw")},
        {"another table's chain of such a name deleted", said(What::kChainDeleted, "ghostip", kSvc)},
        {"a chain of such a name where ours never are", said(What::kChainAdded, "filter", kSvc)},
        {"a set in a table", said(What::kOtherChanged, "nat")},
    };
    for (const auto& c : cases) EXPECT_FALSE(concerns_us(c.announcement)) << c.name;
}

TEST(IptablesDrift, IsTold) {
    struct Told {
        RuleWrite write;
        const char* text;
    };
    RuleWrite many{net::Family::kIpv4, {}, 7, false, 0, {}};
    for (int i = 0; i < 6; ++i) many.changes.push_back({What::kChainDeleted, "nat", "C" + std::to_string(i), "", 2});
    RuleWrite lost;
    lost.lost = true;
    const std::vector<Told> cases{
        {{net::Family::kIpv4,
          {{What::kRuleDeleted, "nat", "PREROUTING", "KUBE-SERVICES", 1}, {What::kRuleDeleted, "nat", "A", "", 3}},
          0,
          false,
          1,
          "iptables"},
         "1 rule deleted from PREROUTING of table nat (to KUBE-SERVICES), 3 rules deleted from A of table nat"},
        {{net::Family::kIpv6,
          {{What::kTableDeleted, "filter", "", "", 1},
           {What::kChainAdded, "filter", "A", "", 1},
           {What::kChainDeleted, "filter", "B", "", 1},
           {What::kChainRenamed, "nat", "D", "", 1},
           {What::kRuleAdded, "nat", "A", "", 1}},
          0,
          false,
          1,
          "nft"},
         "table filter deleted, chain A of table filter added, chain B of table filter deleted, "
         "a chain of table nat renamed to D, 1 rule added to A of table nat"},
        {many,
         "chain C0 of table nat deleted, chain C1 of table nat deleted, chain C2 of table nat deleted, "
         "chain C3 of table nat deleted, chain C4 of table nat deleted, 9 more changes"},
        {lost, "notifications were lost, so everything may have changed"},
    };
    for (const auto& c : cases) EXPECT_EQ(describe(c.write), c.text);
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
