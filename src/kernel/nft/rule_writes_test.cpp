#include "kernel/nft/rule_writes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "kernel/netlink/messages.h"
#include "kernel/nft/datagram_testing.h"

namespace ghostip::kernel::nft {
namespace {

using testing::Datagram;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kForeignPort;
using testing::kOwnPort;
using What = Announcement::What;

constexpr std::uint16_t kDestroyChain = 27;
constexpr std::uint16_t kDestroyRule = 28;

// What concerns in these tests: everything in table nat.
RuleWrites writes_to_nat() {
    return {[](const Announcement& said) { return said.table == "nat"; },
            [](std::uint32_t port) { return port == kOwnPort; }};
}

std::vector<RuleWrite> taken(const Datagram& datagram) {
    auto writes = writes_to_nat();
    std::vector<RuleWrite> out;
    writes.take(datagram.bytes(), out);
    return out;
}

std::optional<Announcement> only(const std::vector<std::uint8_t>& bytes) {
    for (const nlmsghdr* message : netlink::messages(bytes.data(), bytes.size())) return read_announcement(message);
    return std::nullopt;
}

TEST(Announcement, WhatMessagesMean) {
    struct Case {
        const char* name;
        Datagram datagram;
        What what;
        const char* chain;
        std::optional<std::string_view> target = std::nullopt;
    };
    std::vector<Case> cases;
    const auto add = [&](const char* name, What what, const char* chain, const auto& fill) -> Case& {
        cases.push_back({name, {}, what, chain});
        fill(cases.back().datagram);
        return cases.back();
    };
    add("table added", What::kTableAdded, "", [](Datagram& d) { d.about(NFT_MSG_NEWTABLE, "nat"); });
    add("table deleted", What::kTableDeleted, "", [](Datagram& d) { d.about(NFT_MSG_DELTABLE, "nat"); });
    add("chain added", What::kChainAdded, "X", [](Datagram& d) { d.chain(NFT_MSG_NEWCHAIN, "nat", "X"); });
    add("chain added where there must be none", What::kChainAdded, "X",
        [](Datagram& d) { d.chain(NFT_MSG_NEWCHAIN, "nat", "X", NLM_F_EXCL); });
    add("chain renamed", What::kChainRenamed, "X", [](Datagram& d) { d.chain(NFT_MSG_NEWCHAIN, "nat", "X", 0); });
    add("policy set", What::kChainChanged, "FORWARD",
        [](Datagram& d) { d.chain(NFT_MSG_NEWCHAIN, "nat", "FORWARD", 0); });
    add("built-in chain made", What::kChainAdded, "FORWARD",
        [](Datagram& d) { d.chain(NFT_MSG_NEWCHAIN, "nat", "FORWARD"); });
    add("chain deleted", What::kChainDeleted, "X", [](Datagram& d) { d.chain(NFT_MSG_DELCHAIN, "nat", "X", 0); });
    add("chain destroyed", What::kChainDeleted, "X", [](Datagram& d) { d.chain(kDestroyChain, "nat", "X", 0); });
    add("rule added", What::kRuleAdded, "X", [](Datagram& d) { d.rule(NFT_MSG_NEWRULE, "nat", "X", nullptr); }).target =
        "";
    add("jump deleted", What::kRuleDeleted, "PREROUTING", [](Datagram& d) {
        d.rule(NFT_MSG_DELRULE, "nat", "PREROUTING", "Y");
    }).target = "Y";
    add("jump destroyed", What::kRuleDeleted, "X", [](Datagram& d) { d.rule(kDestroyRule, "nat", "X", "Y"); }).target =
        "Y";
    add("rule without its contents", What::kRuleDeleted, "", [](Datagram& d) { d.about(NFT_MSG_DELRULE, "nat"); });
    add("set added", What::kOtherChanged, "", [](Datagram& d) { d.about(NFT_MSG_NEWSET, "nat"); });
    for (const auto& c : cases) {
        const auto bytes = c.datagram.bytes();
        const auto said = only(bytes);
        ASSERT_TRUE(said) << c.name;
        EXPECT_EQ(said->what, c.what) << c.name;
        EXPECT_EQ(said->family, net::Family::kIpv4) << c.name;
        EXPECT_EQ(said->table, "nat") << c.name;
        EXPECT_EQ(said->chain, c.chain) << c.name;
        EXPECT_EQ(said->target, c.target) << c.name;
        EXPECT_EQ(said->port_id, kForeignPort) << c.name;
    }
    const auto bytes = Datagram().generation(7, "iptables-nft").bytes();
    const auto end = only(bytes);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->what, What::kEnd);
    EXPECT_EQ(end->process_id, 7U);
    EXPECT_EQ(end->process_name, "iptables-nft");
    EXPECT_FALSE(only(Datagram().about(NFT_MSG_NEWTABLE, "nat", NFPROTO_INET).bytes())) << "another family";
}

TEST(RuleWrites, OneValueForEachFamilyOfATransaction) {
    Datagram datagram;
    datagram.rule(NFT_MSG_DELRULE, "nat", "A", "B")
        .rule(NFT_MSG_DELRULE, "nat", "A", "B")
        .rule(NFT_MSG_DELRULE, "nat", "A", nullptr)
        .chain(NFT_MSG_DELCHAIN, "nat", "A", 0)
        .rule(NFT_MSG_NEWRULE, "filter", "A", nullptr)
        .chain(NFT_MSG_DELCHAIN, "nat", "A", 0, NFPROTO_IPV6)
        .generation(7, "iptables-nft");
    const RuleWrite first{net::Family::kIpv4,
                          {{What::kRuleDeleted, "nat", "A", "B", 2},
                           {What::kRuleDeleted, "nat", "A", "", 1},
                           {What::kChainDeleted, "nat", "A", "", 1}},
                          0,
                          false,
                          7,
                          "iptables-nft"};
    const RuleWrite second{net::Family::kIpv6, {{What::kChainDeleted, "nat", "A", "", 1}}, 0, false, 7, "iptables-nft"};
    EXPECT_THAT(taken(datagram), ElementsAre(first, second));
}

TEST(RuleWrites, OursAndWhatConcernsNobodyIsSilence) {
    EXPECT_THAT(taken(Datagram()
                          .rule(NFT_MSG_DELRULE, "nat", "A", "B", NFPROTO_IPV4, kOwnPort)
                          .generation(8, "iptables-nft-re", kOwnPort)),
                IsEmpty());
    EXPECT_THAT(taken(Datagram().rule(NFT_MSG_DELRULE, "filter", "A", "B").generation(8, "iptables-nft")), IsEmpty());
    EXPECT_THAT(taken(Datagram().rule(NFT_MSG_DELRULE, "nat", "A", "B")), IsEmpty()) << "not at its end";
}

TEST(RuleWrites, ManyChangesAreCounted) {
    Datagram datagram;
    for (std::size_t i = 0; i < kMostChanges + 5; ++i)
        datagram.chain(NFT_MSG_DELCHAIN, "nat", fmt::format("A{}", i).c_str(), 0);
    const auto out = taken(datagram.generation(7, "iptables-nft"));
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].changes.size(), kMostChanges);
    EXPECT_EQ(out[0].more, 5U);
}

TEST(RuleWrites, ALossIsToldOfBothFamiliesWhenAllIsRead) {
    auto writes = writes_to_nat();
    std::vector<RuleWrite> out;
    writes.drained(out);
    EXPECT_THAT(out, IsEmpty());
    writes.take(Datagram().rule(NFT_MSG_DELRULE, "nat", "A", "B").bytes(), out);
    writes.lost();
    writes.take(Datagram().generation(8, "iptables-nft-re", kOwnPort).bytes(), out);
    EXPECT_THAT(out, IsEmpty()) << "the end of ours is not another's";
    writes.drained(out);
    ASSERT_EQ(out.size(), 2U);
    EXPECT_TRUE(out[0].lost && out[1].lost);
    EXPECT_EQ(out[0].changes.size(), 1U) << "what was seen before";
    EXPECT_EQ(out[1].family, net::Family::kIpv6);
    writes.drained(out);
    EXPECT_EQ(out.size(), 2U) << "told once";
}

}  // namespace
}  // namespace ghostip::kernel::nft
