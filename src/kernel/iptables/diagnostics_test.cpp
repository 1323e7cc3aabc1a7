#include "kernel/iptables/diagnostics.h"

#include <vector>

#include <gtest/gtest.h>

namespace ghostip::kernel::iptables {
namespace {

struct Row {
    Variant variant;
    int status;
    const char* said;
    const char* reason;
    std::size_t line;
    bool lock_held = false;
};

// What the programs of 1.8.9 said.
const std::vector<Row>& rows() {
    constexpr auto kNft = Variant::kNft;
    constexpr auto kLegacy = Variant::kLegacy;
    static const std::vector<Row> rows{
        {kNft, 2,
         "iptables-nft-restore v1.8.9 (nf_tables): Chain 'NOPE' does not exist\nError occurred at line: 3\nTry "
         "`iptables-nft-restore -h' or 'iptables-nft-restore --help' for more information.\n",
         "iptables-nft-restore v1.8.9 (nf_tables): Chain 'NOPE' does not exist", 3},
        {kLegacy, 2,
         "iptables-restore v1.8.9 (legacy): Couldn't load target `NOPE':No such file or directory\n\nError occurred at "
         "line: 2\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
         "iptables-restore v1.8.9 (legacy): Couldn't load target `NOPE':No such file or directory", 2},
        {kNft, 1, "iptables-nft-restore: line 27 failed: No chain/target/match by that name.\n",
         "iptables-nft-restore: line 27 failed: No chain/target/match by that name.", 27},
        {kLegacy, 1, "iptables-restore: line 230017 failed\n", "iptables-restore: line 230017 failed", 230017},
        {kNft, 4,
         "iptables-nft-restore v1.8.9 (nf_tables): \nline 4: RULE_APPEND failed (Too many links): rule in chain "
         "B\nline "
         "5: RULE_APPEND failed (Too many links): rule in chain A\n# Warning: iptables-legacy tables present, use "
         "iptables-legacy-save to see them\n",
         "iptables-nft-restore v1.8.9 (nf_tables): line 4: RULE_APPEND failed (Too many links): rule in chain B; line "
         "5: "
         "RULE_APPEND failed (Too many links): rule in chain A",
         4},
        {kNft, 1, "iptables-nft-restore: COMMIT expected at line 3\n",
         "iptables-nft-restore: COMMIT expected at line 3", 3},
        {kLegacy, 1,
         "iptables-restore v1.8.9 (legacy): Can't set policy `DROP' on `A' line 2: Bad built-in chain name\n",
         "iptables-restore v1.8.9 (legacy): Can't set policy `DROP' on `A' line 2: Bad built-in chain name", 2},
        {kNft, 2, "Bad argument `an online shop'\nError occurred at line: 7\n", "Bad argument `an online shop'", 7},
        {kLegacy, 4,
         "Can't lock /run/xtables.lock: Resource temporarily unavailable\nAnother app is currently holding the xtables "
         "lock. Stopped waiting after 5s.\n",
         "Can't lock /run/xtables.lock: Resource temporarily unavailable; Another app is currently holding the xtables "
         "lock. Stopped waiting after 5s.",
         0, true},
        {kLegacy, 4, "iptables: Resource temporarily unavailable.\n", "iptables: Resource temporarily unavailable.", 0,
         true},
        {kNft, 4, "", "exit code 4", 0},
        {kLegacy, 3, "line \nonline x\n", "line online x", 0},
    };
    return rows;
}

TEST(IptablesDiagnostics, AreUnderstood) {
    for (const auto& row : rows()) {
        const auto refusal = read_refusal(row.variant, row.status, row.said);
        EXPECT_EQ(refusal.reason, row.reason);
        EXPECT_EQ(refusal.line, row.line) << row.said;
        EXPECT_EQ(refusal.lock_held, row.lock_held) << row.said;
    }
}

}  // namespace
}  // namespace ghostip::kernel::iptables
