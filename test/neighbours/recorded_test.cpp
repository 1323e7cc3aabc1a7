// On a node with the rules that the real kube-proxy left there (test/recorded): they go, and what is the kubelet's too
// stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <vector>

#include "kernel/iptables/linux.h"
#include "kernel/nfacct/linux.h"
#include "recorded/recordings.h"
#include "support/namespace.h"

namespace ghostip::neighbours {
namespace {

using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;
using ::testing::ElementsAreArray;
using testnet::Namespace;

constexpr std::array kVariants{Variant::kNft, Variant::kLegacy};

class Recorded : public ::testing::TestWithParam<std::string> {
  protected:
    // The recording in both variants of iptables at once, and in nf_tables.
    [[nodiscard]] static Result<void> load_everywhere(const recorded::Recording& recording, const Namespace& node) {
        ASSIGN_OR_RETURN(const auto counters, kernel::nfacct::LinuxNfacct::open());
        for (const auto variant : kVariants) {
            for (const auto family : recording.families) {
                ASSIGN_OR_RETURN(const auto iptables, LinuxIptables::open(variant, family));
                RETURN_IF_ERROR(recorded::load(recording, *iptables, *counters));
            }
        }
        if (!recording.nftables) return {};
        return recorded::load_nftables(recording, node);
    }
};

// In all tables of the recording's family: the policies of built-in chains, and the lines that belong to KUBE-FIREWALL.
std::vector<std::string> what_stays(const std::vector<std::string>& lines) {
    std::vector<std::string> stays;
    std::copy_if(lines.begin(), lines.end(), std::back_inserter(stays), [](const std::string& line) {
        const bool table_or_policy = !line.starts_with("-A") && line.find(" - ") == std::string::npos;
        return table_or_policy || line.find("KUBE-FIREWALL") != std::string::npos;
    });
    return stays;
}

TEST_P(Recorded, AllOfItGoes) {
    const auto& recording = recorded::recording(GetParam());
    const auto node = Namespace::create();
    ASSERT_TRUE(node) << node.error().message;
    const auto inside = node->enter();
    const auto loaded = load_everywhere(recording, *node);
    ASSERT_TRUE(loaded) << loaded.error().message;
    std::vector<std::vector<std::string>> expected;
    for (const auto variant : kVariants)
        for (const auto family : recording.families)
            expected.push_back(
                what_stays(recorded::saved_lines(*LinuxIptables::open(variant, family).value()).value()));

    const auto output = node->run({GHOSTIP_BINARY, "proxy", "--cleanup"});
    ASSERT_TRUE(output) << output.error().message;
    EXPECT_EQ(output->status, 0) << output->err;

    auto next = expected.begin();
    for (const auto variant : kVariants) {
        for (const auto family : recording.families) {
            SCOPED_TRACE(std::string(kernel::iptables::variant_name(variant)));
            const auto left = recorded::saved_lines(*LinuxIptables::open(variant, family).value()).value();
            EXPECT_THAT(left, ElementsAreArray(*next));
            // Three tables, their twelve or thirteen policies, KUBE-FIREWALL, its two jumps and in IPv4 its rule.
            EXPECT_GE(left.size(), 3U + 12U + 3U);
            ++next;
        }
    }
    const auto tables = node->must_run({"nft", "list", "tables"});
    ASSERT_TRUE(tables) << tables.error().message;
    EXPECT_EQ(tables->find("kube-proxy"), std::string::npos) << *tables;
}

std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& recording : recorded::recordings()) names.push_back(recording.name);
    return names;
}

INSTANTIATE_TEST_SUITE_P(Recordings, Recorded, ::testing::ValuesIn(names()), [](const auto& case_info) {
    std::string name = case_info.param;
    for (auto& character : name)
        if (character == '-') character = '_';
    return name;
});

}  // namespace
}  // namespace ghostip::neighbours
