#include "kernel/iptables/versions.h"

#include <gtest/gtest.h>

namespace ghostip::kernel::iptables {
namespace {

using Flags = std::vector<std::string>;

TEST(IptablesVersions, AreReadFromWhatTheProgramSays) {
    struct Row {
        const char* text;
        std::optional<Version> version;
        Variant variant;
    };
    const std::vector<Row> rows{
        {"iptables v1.8.9 (nf_tables)\n", Version{1, 8, 9}, Variant::kNft},
        {"ip6tables v1.8.10 (legacy)\n", Version{1, 8, 10}, Variant::kLegacy},
        {"iptables v1.4.21\n", Version{1, 4, 21}, Variant::kLegacy},
        {"iptables v1.6\n", Version{1, 6, 0}, Variant::kLegacy},
        {"iptables-restore v1.6.1.2\n", Version{1, 6, 1}, Variant::kLegacy},
        {"iptables v1\n", std::nullopt, Variant::kLegacy},
        {"iptables vx.y\n", std::nullopt, Variant::kLegacy},
        {"iptables v1.", std::nullopt, Variant::kLegacy},
        {"iptables v1.99999999999.1", std::nullopt, Variant::kLegacy},
        {"", std::nullopt, Variant::kLegacy},
    };
    for (const auto& row : rows) {
        EXPECT_EQ(parse_version(row.text), row.version) << row.text;
        EXPECT_EQ(parse_variant(row.text), row.variant) << row.text;
    }
}

TEST(IptablesVersions, HowTheyWaitForTheLock) {
    struct Row {
        Version version;
        bool answers;
        Flags flags;
        Flags restore_flags;
        bool own_locks;
    };
    const std::vector<Row> rows{
        {{1, 4, 10}, false, {}, {}, true},
        {{1, 4, 19}, false, {}, {}, true},
        {{1, 4, 20}, false, {"-w"}, {}, true},
        {{1, 4, 21}, false, {"-w"}, {}, true},
        {{1, 4, 22}, false, {"-w", "5"}, {}, true},
        {{1, 4, 22}, true, {"-w", "5"}, {"-w"}, false},
        {{1, 6, 1}, false, {"-w", "5"}, {}, true},
        {{1, 6, 1}, true, {"-w", "5"}, {"-w"}, false},
        {{1, 6, 2}, false, {"-w", "5"}, {"-w", "5"}, false},
        {{1, 6, 2}, true, {"-w", "5"}, {"-w", "5"}, false},
        {{1, 10, 0}, true, {"-w", "5"}, {"-w", "5"}, false},
        {{2, 0, 0}, true, {"-w", "5"}, {"-w", "5"}, false},
    };
    for (const auto& row : rows) {
        const auto name = fmt::format("{}.{}.{}", row.version.major, row.version.minor, row.version.patch);
        EXPECT_EQ(wait_flags(row.version), row.flags) << name;
        const auto restore = restore_wait(row.version, row.answers);
        EXPECT_EQ(restore.flags, row.restore_flags) << name;
        EXPECT_EQ(restore.own_locks, row.own_locks) << name;
        EXPECT_EQ(has_random_fully(row.version), row.version >= (Version{1, 6, 2})) << name;
    }
}

}  // namespace
}  // namespace ghostip::kernel::iptables
