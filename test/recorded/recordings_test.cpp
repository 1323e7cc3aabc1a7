// The recordings of kube-proxy's rules: both iptables, their twin and nft take them and give them back unchanged, and
// our canonical form of a rule is the one in which they are saved. In network namespaces of its own.
#include "recorded/recordings.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/iptables/linux.h"
#include "kernel/iptables/memory.h"
#include "kernel/iptables/rule_text.h"
#include "kernel/nfacct/linux.h"
#include "kernel/nfacct/memory.h"
#include "recorded/ipvs_recording.h"

namespace ghostip::recorded {
namespace {

using kernel::iptables::Variant;
using net::Family;
using ::testing::ElementsAreArray;
using ::testing::Not;

std::vector<std::string> recorded_lines(const std::string& text) {
    std::vector<std::string> lines;
    for (const auto table : kTables) {
        lines.push_back("*" + std::string(table));
        const auto more = lines_of_table(text, table);
        lines.insert(lines.end(), more.begin(), more.end());
    }
    return lines;
}

std::string in_words(Family family) { return family == Family::kIpv4 ? "IPv4" : "IPv6"; }

TEST(Recordings, RulesAreInCanonicalForm) {
    for (const auto& recording : recordings()) {
        for (const auto family : recording.families) {
            SCOPED_TRACE(recording.name + " " + in_words(family));
            const auto text = iptables_text(recording, family).value();
            std::size_t rules = 0;
            for (const auto& line : recorded_lines(text)) {
                if (!line.starts_with("-A ")) continue;
                ++rules;
                EXPECT_EQ(kernel::iptables::canonical(line, family), line);
            }
            EXPECT_GE(rules, 40U);
        }
    }
}

TEST(Recordings, TheTwinTakesThem) {
    for (const auto& recording : recordings()) {
        for (const auto family : recording.families) {
            SCOPED_TRACE(recording.name + " " + in_words(family));
            kernel::iptables::MemoryIptables iptables(Variant::kNft, family);
            kernel::nfacct::MemoryNfacct counters;
            const auto loaded = load(recording, iptables, counters);
            ASSERT_TRUE(loaded) << loaded.error().message;
            EXPECT_THAT(saved_lines(iptables).value(),
                        ElementsAreArray(recorded_lines(iptables_text(recording, family).value())));
        }
    }
}

TEST(Recordings, BothIptablesTakeThem) {
    for (const auto& recording : recordings()) {
        for (const auto family : recording.families) {
            for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
                SCOPED_TRACE(recording.name + " " + in_words(family) + " " +
                             std::string(kernel::iptables::variant_name(variant)));
                const auto where = testnet::Namespace::create();
                ASSERT_TRUE(where) << where.error().message;
                const auto inside = where->enter();
                auto iptables = kernel::iptables::LinuxIptables::open(variant, family);
                ASSERT_TRUE(iptables) << iptables.error().message;
                auto counters = kernel::nfacct::LinuxNfacct::open();
                ASSERT_TRUE(counters) << counters.error().message;
                const auto loaded = load(recording, **iptables, **counters);
                ASSERT_TRUE(loaded) << loaded.error().message;
                EXPECT_THAT(saved_lines(**iptables).value(),
                            ElementsAreArray(recorded_lines(iptables_text(recording, family).value())));
            }
        }
    }
}

TEST(Recordings, NftTakesThem) {
    int loaded_recordings = 0;
    for (const auto& recording : recordings()) {
        if (!recording.nftables) continue;
        SCOPED_TRACE(recording.name);
        ++loaded_recordings;
        const auto where = testnet::Namespace::create();
        ASSERT_TRUE(where) << where.error().message;
        const auto loaded = load_nftables(recording, *where);
        ASSERT_TRUE(loaded) << loaded.error().message;
        const auto tables = where->must_run({"nft", "list", "tables"});
        ASSERT_TRUE(tables) << tables.error().message;
        EXPECT_EQ(*tables, "table ip kube-proxy\ntable ip6 kube-proxy\n");
        for (const auto* family : {"ip", "ip6"}) {
            const auto listing = where->must_run({"nft", "list", "table", family, "kube-proxy"});
            ASSERT_TRUE(listing) << listing.error().message;
            EXPECT_NE(nftables_text(recording).value().find(*listing), std::string::npos) << *listing;
        }
    }
    EXPECT_EQ(loaded_recordings, 3);
}

// The two variants wrote the same rules for the same objects, in another order where that means nothing.
TEST(Recordings, VariantsDifferInNothingButFreeOrder) {
    for (const auto family : {Family::kIpv4, Family::kIpv6}) {
        SCOPED_TRACE(in_words(family));
        const auto nft = recorded_lines(iptables_text(recording("few"), family).value());
        const auto legacy = recorded_lines(iptables_text(recording("few-legacy"), family).value());
        EXPECT_THAT(without_free_order(nft), ElementsAreArray(without_free_order(legacy)));
        // Other recordings are not the same, so the comparison can fail.
        const auto other = recorded_lines(iptables_text(recording("masquerade-all"), family).value());
        EXPECT_THAT(without_free_order(nft), Not(ElementsAreArray(without_free_order(other))));
    }
}

TEST(Recordings, OnlyWhatMayBeIsSorted) {
    const std::string note =
        "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -j X";
    const std::vector<std::string> lines{"*nat",
                                         "-A KUBE-FW-X -s 10.0.0.2/32 -j A",
                                         "-A KUBE-FW-X -s 10.0.0.1/32 -j A",
                                         "-A KUBE-FW-X -m comment --comment \"other traffic\"",
                                         "-A KUBE-SERVICES -d 10.0.0.2/32 -j B",
                                         "-A KUBE-SERVICES -d 10.0.0.1/32 -j A",
                                         "-A KUBE-SERVICES -d 9.0.0.2/32 " + note,
                                         "-A KUBE-SERVICES -d 9.0.0.1/32 " + note,
                                         "-A KUBE-SVC-X -j B",
                                         "-A KUBE-SVC-X -j A",
                                         "-A KUBE-EXT-X -s 10.0.0.2/32 -j B",
                                         "-A KUBE-EXT-X -s 10.0.0.1/32 -j A"};
    auto expected = lines;
    for (const std::size_t first : {1U, 4U, 6U}) std::swap(expected[first], expected[first + 1]);
    EXPECT_EQ(without_free_order(lines), expected);
}

TEST(Recordings, EachHasItsFiles) {
    std::size_t files = 0;
    for (const auto& recording : recordings()) {
        EXPECT_TRUE(std::filesystem::exists(manifest_path(recording))) << recording.name;
        files += recording.families.size() + (recording.nftables ? 1 : 0);
    }
    // Rules of two families, virtual servers, sets, addresses.
    constexpr std::size_t kIpvsParts = 5;
    files += kIpvsParts * ipvs_recordings().size();
    std::size_t found = 0;
    const auto folder = std::filesystem::path(manifest_path(recordings().front())).parent_path();
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        if (entry.path().extension() != ".yaml") ++found;
    EXPECT_EQ(found, files) << "a file in the folder is not in the table, or the other way round";
}

}  // namespace
}  // namespace ghostip::recorded
