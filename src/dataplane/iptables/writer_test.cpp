// Texts: what is made when, which line is whose.
#include "dataplane/iptables/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using kernel::iptables::Refusal;
using net::Family;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr std::array<Variant, 2> kBoth{Variant::kNft, Variant::kLegacy};

// Unit n has chain KUBE-SVC-n of two rules, some of them a refusal besides. Counts how often each edit was made.
class Units {
  public:
    explicit Units(std::size_t count) : made(count), refusals(count), reports(count) {}

    Work work() {
        return {.units = made.size(),
                .edit_of =
                    [this](std::size_t unit) {
                        ++made[unit];
                        return edit(unit);
                    },
                .counts_of = [](std::size_t unit) { return count_edit(edit(unit)); },
                .chains =
                    [this] {
                        return [left = made.size()]() mutable -> std::optional<DeclaredChain> {
                            if (left == 0) return std::nullopt;
                            --left;
                            return DeclaredChain{left, chain(left)};
                        };
                    },
                .done =
                    [this](std::size_t unit, const Refusal* refusal) {
                        ++reports[unit];
                        if (refusal != nullptr) refusals[unit] = refusal->reason;
                    }};
    }
    static std::string chain(std::size_t unit) { return fmt::format("KUBE-SVC-{:03}", unit); }
    static Edit edit(std::size_t unit) {
        Edit edit;
        const auto name = chain(unit);
        write_chain(edit, {tables::kNat, name, fmt::format("-A {0} -m mark --mark {1}\n-A {0} -j DROP\n", name, unit)});
        if (unit % 10 == 3) insert_rule(edit, {Place::kExternal, fmt::format(" -d 10.0.0.{}/32 -j DROP", unit)});
        return edit;
    }

    std::vector<int> made;
    std::vector<std::string> refusals;
    std::vector<int> reports;
};

struct Scene {
    explicit Scene(Variant variant) : twin(variant, Family::kIpv4) {
        static_cast<void>(twin.restore("*filter\n:KUBE-EXTERNAL-SERVICES - [0:0]\nCOMMIT\n"));
        twin.forget_texts();
    }
    Result<void> write(Units& units, std::size_t lines_at_once) {
        return Writer(twin, impatient(lines_at_once), Mismatch::kSetAside, outcome, written).write(units.work());
    }
    MemoryIptables twin;
    Outcome outcome;
    Written written;
};

// What is counted beforehand is made while the program reads, once for each table.
TEST(IptablesWriter, MakesEachEditOnce) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        Scene place(variant);
        Units units(40);
        ASSERT_TRUE(place.write(units, 30).has_value());
        for (std::size_t unit = 0; unit < 40; ++unit) EXPECT_EQ(units.made[unit], unit % 10 == 3 ? 2 : 1) << unit;
        EXPECT_THAT(units.reports, Each(1));
        EXPECT_EQ(place.twin.rules("nat"), 80U);
        EXPECT_EQ(place.twin.rules("filter"), 4U);
        EXPECT_EQ(place.outcome.elements_added, 84U);
        EXPECT_EQ(place.written.nat, 80);
        EXPECT_EQ(place.written.filter, 4);
        EXPECT_EQ(place.twin.texts().size() == 1, variant == Variant::kLegacy);
    }
}

TEST(IptablesWriter, DeclaresFirstForLegacy) {
    Scene legacy(Variant::kLegacy);
    Scene nft(Variant::kNft);
    Units units(4);
    ASSERT_TRUE(legacy.write(units, 1000).has_value());
    ASSERT_TRUE(nft.write(units, 1000).has_value());
    const std::string filter = "*filter\n-I KUBE-EXTERNAL-SERVICES -d 10.0.0.3/32 -j DROP\nCOMMIT\n";
    std::string declarations;
    std::string rules;
    std::string both;
    for (std::size_t unit = 0; unit < 4; ++unit) {
        const auto declaration = fmt::format(":{} - [0:0]\n", Units::chain(unit));
        declarations.insert(0, declaration);
        const auto own = Units::edit(unit).in(Part::kNat).substr(declaration.size());
        rules += own;
        both += declaration + own;
    }
    EXPECT_THAT(legacy.twin.texts(), ElementsAre(filter + "*nat\n" + declarations + rules + "COMMIT\n"));
    EXPECT_THAT(nft.twin.texts(), ElementsAre(filter + "*nat\n" + both + "COMMIT\n"));
    EXPECT_EQ(legacy.twin.saved("nat"), nft.twin.saved("nat"));
}

// A program that names the line gets the unit set aside at once; iptables-legacy, whose kernel names none, by halves.
TEST(IptablesWriter, FindsWhoIsRefused) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        Scene place(variant);
        const auto before = place.twin.restores();
        Units units(40);
        place.twin.refuse_rules_with("--mark 23");
        ASSERT_TRUE(place.write(units, 1000).has_value());
        EXPECT_THAT(units.reports, Each(1));
        for (std::size_t unit = 0; unit < 40; ++unit) EXPECT_EQ(units.refusals[unit].empty(), unit != 23) << unit;
        EXPECT_EQ(place.twin.rules("nat"), 78U);
        EXPECT_EQ(place.twin.rules("filter"), 3U) << "its refusal went again";
        EXPECT_EQ(place.written.nat, 78);
        EXPECT_EQ(place.written.filter, 3);
        const auto restores = place.twin.restores() - before;
        if (variant == Variant::kNft) {
            EXPECT_EQ(restores, 3U) << "refused; its own refusal taken back; the others";
        } else {
            EXPECT_GT(restores, 3U);
        }
        // Chains of what was refused are not declared with the others.
        for (const auto& line : place.twin.saved("nat")) EXPECT_FALSE(line.starts_with(":" + Units::chain(23))) << line;
    }
}

// A line that legacy's program itself does not like is found by its number, behind all declarations.
TEST(IptablesWriter, FindsTheLineBehindDeclarations) {
    Scene place(Variant::kLegacy);
    const auto before = place.twin.restores();
    Units units(40);
    auto work = units.work();
    work.edit_of = [](std::size_t unit) {
        Edit edit = Units::edit(unit);
        if (unit == 25) append_rule(edit, Part::kNat, Units::chain(25), " -j KUBE-SVC-NOWHERE");
        return edit;
    };
    Writer writer(place.twin, impatient(1000), Mismatch::kSetAside, place.outcome, place.written);
    ASSERT_TRUE(writer.write(work).has_value());
    for (std::size_t unit = 0; unit < 40; ++unit) EXPECT_EQ(units.refusals[unit].empty(), unit != 25) << unit;
    EXPECT_EQ(place.twin.restores() - before, 2U);
    EXPECT_EQ(place.twin.rules("nat"), 78U);
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
