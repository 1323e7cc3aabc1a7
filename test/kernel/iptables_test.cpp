// src/kernel/iptables against the real programs and the kernel of this machine, and its twin in memory against both: a
// few hundred random texts, after each of which all three hold the same, or have refused it at the same line. In
// network namespaces of its own.
#include <array>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "kernel/iptables/linux.h"
#include "kernel/iptables/memory.h"
#include "kernel/iptables/presence.h"
#include "support/namespace.h"

namespace ghostip::kernel::iptables {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testnet::Namespace;

constexpr std::array kVariants{Variant::kNft, Variant::kLegacy};

// A namespace with the real thing in it.
struct Real {
    Namespace space;
    std::unique_ptr<LinuxIptables> iptables;

    static Real make(Variant variant, net::Family family) {
        auto space = Namespace::create();
        if (!space) throw std::runtime_error("needs root: " + space.error().message);
        auto iptables = LinuxIptables::open(variant, family);
        if (!iptables) throw std::runtime_error(iptables.error().message);
        return {std::move(*space), std::move(*iptables)};
    }
    Refused restore(std::string_view text) const {
        const auto inside = space.enter();
        auto refused = iptables->restore(text);
        EXPECT_TRUE(refused) << refused.error().message;
        return refused.value_or(std::nullopt);
    }
    [[nodiscard]] std::vector<std::string> saved(std::string_view table) const {
        const auto inside = space.enter();
        std::vector<std::string> lines;
        const auto done = iptables->save(table, [&](std::string_view line) { lines.emplace_back(line); });
        EXPECT_TRUE(done) << done.error().message;
        return lines;
    }
    [[nodiscard]] bool has_chain(std::string_view table, std::string_view chain) const {
        const auto inside = space.enter();
        const auto has = iptables->has_chain(table, chain);
        EXPECT_TRUE(has) << has.error().message;
        return has.value_or(false);
    }
    [[nodiscard]] bool has_table(std::string_view table) const {
        const auto inside = space.enter();
        if (iptables->variant() == Variant::kLegacy) return legacy_has_table(iptables->family(), table);
        return nft_has_table(iptables->family(), table).value();
    }
};

std::string lines(std::string text) {
    for (auto& c : text)
        if (c == '|') c = '\n';
    return text + "\n";
}

TEST(Iptables, BothVariantsAreFound) {
    for (const auto family : net::kFamilies) {
        EXPECT_THAT(find_variants(family), ElementsAre(Variant::kNft, Variant::kLegacy));
        for (const auto variant : kVariants) {
            const auto real = Real::make(variant, family);
            EXPECT_GE(real.iptables->version(), (Version{1, 8, 0}));
            const auto inside = real.space.enter();
            const auto usable = real.iptables->check_usable();
            EXPECT_TRUE(usable) << usable.error().message;
        }
    }
    LinuxOptions nowhere;
    nowhere.folders = {"/no/such/folder"};
    EXPECT_THAT(find_variants(net::Family::kIpv4, nowhere), IsEmpty());
    const auto none = LinuxIptables::open(Variant::kNft, net::Family::kIpv6, nowhere);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ENOENT);
    EXPECT_THAT(none.error().message, HasSubstr("ip6tables (nft)"));
}

TEST(Iptables, LookingMakesNothing) {
    for (const auto variant : kVariants) {
        for (const auto family : net::kFamilies) {
            const auto real = Real::make(variant, family);
            for (const auto* table : {"nat", "filter", "mangle"}) {
                EXPECT_THAT(real.saved(table), IsEmpty()) << table;
                EXPECT_FALSE(real.has_chain(table, "INPUT")) << table;
                EXPECT_FALSE(real.has_table(table)) << table;
            }
        }
    }
}

TEST(Iptables, WhatIsWrittenIsSaved) {
    for (const auto variant : kVariants) {
        for (const auto family : net::kFamilies) {
            const auto real = Real::make(variant, family);
            EXPECT_EQ(real.restore(lines("*nat|:B - [0:0]|:A - [0:0]|-A A -p tcp --dport 80 -j B|COMMIT")),
                      std::nullopt);
            EXPECT_THAT(real.saved("nat"),
                        ElementsAre(":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
                                    ":POSTROUTING ACCEPT [0:0]", ":A - [0:0]", ":B - [0:0]",
                                    "-A A -p tcp -m tcp --dport 80 -j B"));
            EXPECT_TRUE(real.has_chain("nat", "A"));
            EXPECT_TRUE(real.has_chain("nat", "PREROUTING"));
            EXPECT_FALSE(real.has_chain("nat", "C"));
            EXPECT_FALSE(real.has_chain("filter", "A"));
            EXPECT_FALSE(real.has_chain("nat", std::string(300, 'x')));
        }
    }
}

// Counters of a policy are not part of what a table holds. (iptables-nft does not count there.)
TEST(Iptables, CountersAreLeftOut) {
    const auto real = Real::make(Variant::kLegacy, net::Family::kIpv4);
    ASSERT_EQ(real.restore(lines("*filter|-A INPUT -s 10.9.9.9|COMMIT")), std::nullopt);
    ASSERT_TRUE(real.space.must_run({"python3", "-c",
                                     "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                     "for i in range(5): s.sendto(b'x', ('127.0.0.1', 9))"}));
    EXPECT_THAT(real.space.must_run({"iptables-legacy-save", "-t", "filter"}).value_or(""),
                Not(HasSubstr("OUTPUT ACCEPT [0:0]")));
    EXPECT_THAT(real.saved("filter"), Contains(":OUTPUT ACCEPT [0:0]"));
}

// Tens of megabytes, one line at a time.
TEST(Iptables, LongTextsAreStreamed) {
    for (const auto variant : kVariants) {
        const auto real = Real::make(variant, net::Family::kIpv4);
        constexpr int kChains = 10000;
        int next = -1;
        std::string piece;
        const TextSource text = [&]() -> std::string_view {
            ++next;
            if (next == 0) return "*nat\n";
            if (next <= kChains) return piece = fmt::format(":CHAIN-{} - [0:0]\n", next);
            const int at = next - kChains;
            if (at <= kChains) return piece = fmt::format("-A CHAIN-{} -m comment --comment \"number {}\"\n", at, at);
            return at == kChains + 1 ? "COMMIT\n" : "";
        };
        const auto inside = real.space.enter();
        const auto refused = real.iptables->restore(text);
        ASSERT_TRUE(refused) << refused.error().message;
        EXPECT_EQ(*refused, std::nullopt);
        int count = 0;
        ASSERT_TRUE(real.iptables->save("nat", [&](std::string_view line) { count += line.starts_with("-A CHAIN-"); }));
        EXPECT_EQ(count, kChains);
    }
}

TEST(Iptables, ARefusalNamesItsLine) {
    for (const auto variant : kVariants) {
        const auto real = Real::make(variant, net::Family::kIpv6);
        std::string text = "*filter\n:T - [0:0]\n";
        for (int i = 0; i < 20000; ++i) text += fmt::format("-A T -s fd00::{:x} -j RETURN\n", i);
        // The program stops to read here, and this process must not mind.
        text.insert(text.find("-A T -s fd00::64 "), "-A T -m nonsense\n");
        text += "COMMIT\n";
        const auto refused = real.restore(text);
        ASSERT_TRUE(refused);
        EXPECT_EQ(refused->line, 103U) << refused->reason;
        EXPECT_THAT(refused->reason, HasSubstr("nonsense"));
        EXPECT_FALSE(refused->lock_held);
    }
}

TEST(Iptables, TheLockIsHeldByAnother) {
    const auto real = Real::make(Variant::kLegacy, net::Family::kIpv4);
    ASSERT_EQ(real.restore(lines("*mangle|:CANARY - [0:0]|COMMIT")), std::nullopt);
    const Fd lock(::open("/run/xtables.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(lock);
    ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
    const auto refused = real.restore(lines("*mangle|:OTHER - [0:0]|COMMIT"));
    ASSERT_TRUE(refused);
    EXPECT_TRUE(refused->lock_held) << refused->reason;
    const auto inside = real.space.enter();
    const auto has = real.iptables->has_chain("mangle", "CANARY");
    ASSERT_FALSE(has);
    EXPECT_EQ(has.error().code, EBUSY) << has.error().message;
    ASSERT_EQ(::flock(lock.get(), LOCK_UN), 0);
    EXPECT_TRUE(real.has_chain("mangle", "CANARY"));
    EXPECT_FALSE(real.has_chain("mangle", "OTHER"));
}

// A table in which nft wrote what iptables-nft cannot read.
TEST(Iptables, ForeignTablesAreAnError) {
    const auto real = Real::make(Variant::kNft, net::Family::kIpv4);
    ASSERT_EQ(real.restore(lines("*nat|:CANARY - [0:0]|COMMIT")), std::nullopt);
    const auto wrote =
        real.space.must_run({"nft", "-f", "-"}, "table ip nat {\n chain x {\n  ct state new counter\n }\n}\n");
    ASSERT_TRUE(wrote) << wrote.error().message;
    EXPECT_TRUE(real.has_chain("nat", "CANARY"));
    const auto inside = real.space.enter();
    const auto saved = real.iptables->save("nat", [](std::string_view) {});
    ASSERT_FALSE(saved);
    EXPECT_THAT(saved.error().message, HasSubstr("incompatible"));
}

// Random texts, of which many are wrong in some way. Without -R: iptables-nft-restore 1.8.9 crashes when a text that
// replaces a rule of its own is wrong. And nothing is deleted from, or put into the middle of, a chain that the same
// text has emptied: iptables-nft still sees its rules, leaves the refusal to the kernel, and so reports what comes
// later first.
class Author {
  public:
    explicit Author(std::uint64_t seed) : random_(seed) {}

    std::string text() {
        std::string result;
        for (int tables = 1 + one_in(4); tables > 0; --tables) {
            const auto table = pick({"nat", "filter", "mangle"});
            result += fmt::format("*{}\n", table);
            emptied_.clear();
            for (auto left = below(8); left > 0; --left) result += command(table) + "\n";
            result += one_in(60) ? "" : "COMMIT\n";
        }
        return result;
    }

  private:
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }
    bool one_in(std::size_t n) { return below(n) == 0; }
    std::string pick(const std::vector<std::string>& choices) { return choices[below(choices.size())]; }

    std::string chain() {
        if (one_in(40)) return "NOWHERE";
        return pick({"AA", "BB", "CC", "DD", "a-b", "Z"});
    }
    std::string any_chain() { return one_in(4) ? pick({"OUTPUT", "INPUT"}) : chain(); }
    std::string empty(std::string chain) {
        emptied_.insert(chain);
        return chain;
    }
    // One that this text has left as it was.
    std::string full_chain() {
        auto chain = any_chain();
        for (int tries = 0; tries < 20 && emptied_.contains(chain); ++tries) chain = any_chain();
        return emptied_.contains(chain) ? "NOWHERE" : chain;
    }
    std::string matches() {
        std::string result;
        if (one_in(3)) result += one_in(2) ? " -s 10.0.0.1" : " ! -s 10.0.0.0/8";
        if (one_in(3)) result += " -m comment --comment \"a comment\"";
        if (one_in(3)) result += " -p tcp -m tcp --dport 80";
        if (one_in(4)) result += " -m mark --mark 0x4000/0x4000";
        if (one_in(4)) result += " -m statistic --mode random --probability 0.3333333333";
        return result;
    }
    std::string target() {
        if (one_in(4)) return "";
        if (one_in(20)) return " -g " + any_chain();
        if (one_in(4)) return pick({" -j ACCEPT", " -j RETURN", " -j MARK --or-mark 0x4000"});
        return " -j " + chain();
    }
    std::string command(const std::string& table) {
        switch (below(15)) {
            case 0:
            case 1:
            case 2:
            case 3: return fmt::format(":{} - [0:0]", empty(any_chain()));
            case 4: return fmt::format(":OUTPUT {} [0:0]", pick({"ACCEPT", table == "nat" ? "ACCEPT" : "DROP"}));
            case 5: return "-X " + chain();
            case 6: return "-F " + empty(any_chain());
            case 7: return "-N " + chain();
            case 8: return fmt::format("-D {} {}", full_chain(), 1 + below(3));
            case 9: return fmt::format("-D {}{}{}", full_chain(), matches(), target());
            case 10: return fmt::format("-I {} {}{}{}", full_chain(), 1 + below(3), matches(), target());
            case 11: return pick({"", "# nothing", "nonsense", "-P OUTPUT ACCEPT", "-Z"});
            default: return fmt::format("-A {}{}{}", any_chain(), matches(), target());
        }
    }

    std::mt19937_64 random_;
    std::set<std::string> emptied_;  // in this table, by this text
};

TEST(Iptables, TheTwinSaysWhatTheRealOnesSay) {
    constexpr int kTexts = 500;
    for (const auto variant : kVariants) {
        const auto real = Real::make(variant, net::Family::kIpv4);
        MemoryIptables twin(variant, net::Family::kIpv4);
        Author author(20240501);
        int taken = 0;
        for (int number = 0; number < kTexts; ++number) {
            const auto text = author.text();
            const auto refused = real.restore(text);
            const auto expected = twin.restore(text);
            ASSERT_TRUE(expected) << expected.error().message;
            const auto where =
                fmt::format("text {} of {}:\n{}\nreal: {}\ntwin: {}", number, variant_name(variant), text,
                            refused ? refused->reason : "taken", *expected ? (*expected)->reason : "taken");
            ASSERT_EQ(refused.has_value(), expected->has_value()) << where;
            ASSERT_EQ(refused ? refused->line : 0, *expected ? (*expected)->line : 0) << where;
            for (const auto* table : {"nat", "filter", "mangle"})
                ASSERT_EQ(real.saved(table), twin.saved(table)) << table << " after " << where;
            taken += refused ? 0 : 1;
        }
        EXPECT_GT(taken, kTexts / 5);
        EXPECT_LT(taken, kTexts * 4 / 5);
    }
}

}  // namespace
}  // namespace ghostip::kernel::iptables
