#include "kernel/iptables/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::kernel::iptables {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;

constexpr std::string_view kBefore =
    "*filter\n:A - [0:0]\n:B - [0:0]\n:E - [0:0]\n-A A -s 10.0.0.1 -j B\n-A A -s 10.0.0.2 -j B\n"
    "-A A -s 10.0.0.3 -j DROP\n-A INPUT -s 1.1.1.1 -j A\nCOMMIT\n";

// `|` ends a line.
std::string lines(std::string text) {
    for (auto& c : text)
        if (c == '|') c = '\n';
    return text + "\n";
}

Refused given(MemoryIptables& iptables, std::string_view text) {
    auto refused = iptables.restore(text);
    EXPECT_TRUE(refused) << refused.error().message;
    return refused.value_or(std::nullopt);
}

struct RefusedText {
    const char* text;
    std::size_t nft;  // the line that is named
    std::size_t legacy;
};

// Lines are those that the real programs (1.8.9) name.
const std::vector<RefusedText>& refused_texts() {
    static const std::vector<RefusedText> texts{
        {"*filter|-A A -j NOPE|COMMIT", 3, 2},
        {"*filter|-A NOPE -j DROP|COMMIT", 2, 2},
        {"*filter|:N - [0:0]|-A N -s 9.9.9.9|-A A -g NOPE|COMMIT", 5, 4},
        {"*filter|-A A -g DROP|COMMIT", 3, 2},
        {"*filter|-A A -j LATER|:LATER - [0:0]|COMMIT", 4, 2},
        {"*filter|-A A -j INPUT|COMMIT", 2, 2},
        {"*filter|-X B|COMMIT", 2, 2},
        {"*filter|-X A|COMMIT", 2, 2},
        {"*filter|-X NOPE|COMMIT", 2, 2},
        {"*filter|-X|COMMIT", 2, 2},
        {"*filter|-N A|COMMIT", 2, 2},
        {"*filter|-N INPUT|COMMIT", 2, 2},
        {"*filter|-N M|-N M|COMMIT", 3, 3},
        {"*filter|-N DROP|COMMIT", 2, 2},
        {"*filter|-N|COMMIT", 2, 2},
        {"*filter|:A|COMMIT", 2, 2},
        {"*filter|:ABCDEFGHIJKLMNOPQRSTUVWXYZ123 - [0:0]|COMMIT", 2, 2},
        {"*filter|-D A -s 10.9.9.9 -j B|COMMIT", 2, 2},
        {"*filter|-D A 4|COMMIT", 2, 2},
        {"*filter|-D A 0|COMMIT", 2, 2},
        {"*filter|-D NOPE 1|COMMIT", 2, 2},
        {"*filter|-A A -s 1.1.1.1|-D A -s 1.1.1.1|-D A -s 1.1.1.1|COMMIT", 4, 4},
        {"*filter|-I A 5 -s 8.8.8.8|COMMIT", 2, 2},
        {"*filter|-R A 9 -s 6.6.6.6|COMMIT", 2, 2},
        {"*filter|-F NOPE|COMMIT", 2, 2},
        {"*filter|-P A DROP|COMMIT", 2, 2},
        {"*filter|-P INPUT NOPE|COMMIT", 2, 2},
        {"*filter|-A A -j A|COMMIT", 2, 3},
        {"*filter|:N - [0:0]|-A N -j A|-A B -j N|-A A -j N|COMMIT", 4, 6},
        {"*filter|:E - [0:0]|-X E|-A A -j E|COMMIT", 5, 4},
        {"*filter|-A A -s 5.5.5.5 -s 6.6.6.6|COMMIT", 2, 2},
        {"*filter|-A A -j|COMMIT", 2, 2},
        {"*filter|-t nat -A POSTROUTING -j MASQUERADE|COMMIT", 2, 2},
        {"*filter|bogus|COMMIT", 2, 2},
        {"*filter|-A A -s 1.1.1.1|*nat|COMMIT", 3, 3},
        {"*filter|-A A -s 2.2.2.2", 3, 3},
        {"*nope|COMMIT", 1, 1},
        {"-A A -j DROP", 1, 1},
        {"*filter|COMMIT|COMMIT", 3, 3},
        // which of two mistakes is found
        {"*filter|-X B|-X NOPE|COMMIT", 3, 2},
        {"*filter|-A A -j A|-X NOPE|COMMIT", 3, 3},
        {"*filter|-X NOPE|bogus|COMMIT", 3, 2},
    };
    return texts;
}

TEST(MemoryIptables, RefusesAndNamesTheLine) {
    for (const auto& row : refused_texts()) {
        for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
            MemoryIptables iptables(variant, net::Family::kIpv4);
            ASSERT_EQ(given(iptables, kBefore), std::nullopt);
            const auto before = iptables.saved("filter");
            const auto refused = given(iptables, lines(row.text));
            ASSERT_TRUE(refused) << row.text << " " << variant_name(variant);
            EXPECT_EQ(refused->line, variant == Variant::kNft ? row.nft : row.legacy)
                << row.text << " " << variant_name(variant) << ": " << refused->reason;
            EXPECT_FALSE(refused->lock_held);
            EXPECT_EQ(iptables.saved("filter"), before) << row.text;
        }
    }
}

struct TakenText {
    const char* text;
    std::vector<std::string> filter;
};

TEST(MemoryIptables, TakesTexts) {
    const std::vector<TakenText> texts{
        {"*filter|-X E|-D A 1|-D A 1|-X B|COMMIT",
         {":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":A - [0:0]",
          "-A INPUT -s 1.1.1.1/32 -j A", "-A A -s 10.0.0.3/32 -j DROP"}},
        {"*filter|:A - [0:0]|-A A -j B|-I A -j E|-I A 2 -m mark --mark 1|-D A -j B|-R A 1 -j DROP|-X E|COMMIT",
         {":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":A - [0:0]", ":B - [0:0]",
          "-A INPUT -s 1.1.1.1/32 -j A", "-A A -j DROP", "-A A -m mark --mark 0x1"}},
        {"*filter|:INPUT DROP [1:2]|# a comment||-F|-X|-N Z|-N C|COMMIT",
         {":INPUT DROP [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":C - [0:0]", ":Z - [0:0]"}},
    };
    for (const auto& row : texts) {
        for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
            MemoryIptables iptables(variant, net::Family::kIpv4);
            ASSERT_EQ(given(iptables, kBefore), std::nullopt);
            const auto refused = given(iptables, lines(row.text));
            EXPECT_EQ(refused, std::nullopt) << row.text << ": " << (refused ? refused->reason : "");
            EXPECT_EQ(iptables.saved("filter"), row.filter) << row.text;
        }
    }
}

TEST(MemoryIptables, TablesCommitOneByOne) {
    for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
        MemoryIptables iptables(variant, net::Family::kIpv6);
        const auto refused = given(iptables, lines("*filter|:N - [0:0]|COMMIT|*nat|:M - [0:0]|-X NOPE|COMMIT"));
        ASSERT_TRUE(refused);
        EXPECT_EQ(refused->line, 6U);
        EXPECT_TRUE(iptables.has_chain("filter", "N").value_or(false));
        EXPECT_FALSE(iptables.has_chain("nat", "M").value_or(true));
        // Only iptables-legacy makes a table before it knows what for.
        EXPECT_EQ(iptables.saved("nat").empty(), variant == Variant::kNft);
    }
}

TEST(MemoryIptables, ATableThatNobodyWroteHasNoLines) {
    MemoryIptables iptables(Variant::kNft, net::Family::kIpv4);
    EXPECT_THAT(iptables.saved("nat"), IsEmpty());
    EXPECT_FALSE(iptables.has_chain("nat", "PREROUTING").value_or(true));
    EXPECT_EQ(given(iptables, lines("*nat|COMMIT")), std::nullopt);
    EXPECT_THAT(iptables.saved("nat"), IsEmpty());
    EXPECT_EQ(given(iptables, lines("*nat|-F OUTPUT|COMMIT")), std::nullopt);
    EXPECT_THAT(iptables.saved("nat"), ElementsAre(":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]",
                                                   ":OUTPUT ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]"));
    EXPECT_TRUE(iptables.has_chain("nat", "PREROUTING").value_or(false));
}

TEST(MemoryIptables, PiecesOfATextAreOneText) {
    MemoryIptables iptables(Variant::kNft, net::Family::kIpv4);
    std::string rest = std::string(kBefore);
    std::string piece;
    const auto refused = iptables.restore([&]() -> std::string_view {
        piece = rest.substr(0, 7);
        rest.erase(0, 7);
        return piece;
    });
    ASSERT_TRUE(refused);
    EXPECT_EQ(*refused, std::nullopt);
    EXPECT_THAT(iptables.texts(), ElementsAre(Eq(kBefore)));
    EXPECT_EQ(iptables.rules("filter"), 4U);
    iptables.forget_texts();
    EXPECT_THAT(iptables.texts(), IsEmpty());
    EXPECT_EQ(iptables.restores(), 1U);
}

TEST(MemoryIptables, RefusesRulesOnDemand) {
    for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
        MemoryIptables iptables(variant, net::Family::kIpv4);
        iptables.refuse_rules_with("--dport 81");
        const auto text = lines("*filter|-A INPUT -p tcp --dport 80|-A INPUT -p tcp --dport 81|-F OUTPUT|COMMIT");
        const auto refused = given(iptables, text);
        ASSERT_TRUE(refused);
        EXPECT_EQ(refused->line, variant == Variant::kNft ? 3U : 5U);
        EXPECT_EQ(iptables.rules("filter"), 0U);
        iptables.refuse_rules_with("");
        EXPECT_EQ(given(iptables, text), std::nullopt);
        EXPECT_EQ(iptables.rules("filter"), 2U);
    }
}

TEST(MemoryIptables, LockAndFailures) {
    MemoryIptables iptables(Variant::kLegacy, net::Family::kIpv4);
    iptables.hold_lock(2);
    const auto refused = given(iptables, kBefore);
    ASSERT_TRUE(refused);
    EXPECT_TRUE(refused->lock_held);
    const auto unknown = iptables.has_chain("filter", "A");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, EBUSY);
    EXPECT_EQ(given(iptables, kBefore), std::nullopt);
    iptables.fail_calls(1, ENOENT);
    const auto failed = iptables.restore(kBefore);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, ENOENT);
    EXPECT_TRUE(iptables.has_chain("filter", "A").value_or(false));
}

TEST(MemoryIptables, OthersWriteToo) {
    MemoryIptables iptables(Variant::kNft, net::Family::kIpv4);
    ASSERT_EQ(given(iptables, kBefore), std::nullopt);
    EXPECT_TRUE(iptables.delete_rule("filter", "-A A -s 10.0.0.2/32 -j B"));
    EXPECT_FALSE(iptables.delete_rule("filter", "-A A -s 10.0.0.2/32 -j B"));
    EXPECT_FALSE(iptables.delete_rule("nat", "-A A -s 10.0.0.2/32 -j B"));
    EXPECT_EQ(iptables.rules("filter"), 3U);
    EXPECT_TRUE(iptables.delete_chain("filter", "A"));
    EXPECT_FALSE(iptables.delete_chain("filter", "A"));
    EXPECT_FALSE(iptables.delete_chain("filter", "INPUT"));
    EXPECT_EQ(iptables.rules("filter"), 0U);
    // Nothing uses them any more.
    EXPECT_EQ(given(iptables, lines("*filter|-X B|-N A|-A A -j E|-A OUTPUT -j A|COMMIT")), std::nullopt);
    iptables.flush_all();
    EXPECT_THAT(iptables.saved("filter"),
                ElementsAre(":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"));
    EXPECT_EQ(given(iptables, kBefore), std::nullopt);
}

}  // namespace
}  // namespace ghostip::kernel::iptables
