// iptables mode on a node that kube-proxy left: it finds its own rules there and writes nothing. And the other way
// round: into an empty kernel it writes what kube-proxy would have written, rule for rule. With the real programs, both
// variants, in network namespaces of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "agent/modes.h"
#include "kernel/iptables/linux.h"
#include "kernel/iptables/memory.h"
#include "kernel/nfacct/linux.h"
#include "kernel/route/addresses.h"
#include "recorded/plan_of_recording.h"
#include "recorded/recordings.h"
#include "support/namespace.h"

namespace ghostip::recorded {
namespace {

using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;
using net::Family;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

struct Case {
    std::string recording;
    Variant variant;
    Family family;
};

std::vector<std::string> missing_from(std::vector<std::string> some, std::vector<std::string> others) {
    std::sort(some.begin(), some.end());
    std::sort(others.begin(), others.end());
    std::vector<std::string> missing;
    std::set_difference(some.begin(), some.end(), others.begin(), others.end(), std::back_inserter(missing));
    return missing;
}

class Adoption : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(auto node, testnet::Namespace::create());
        node_ = std::make_unique<testnet::Namespace>(std::move(node));
        RETURN_IF_ERROR(add_node_addresses(*node_));
        RETURN_IF_ERROR(node_->sysctl("net/ipv4/conf/all/route_localnet", "1"));
        inside_ = std::make_unique<testnet::Namespace::Entered>(node_->fd());
        ASSIGN_OR_RETURN(iptables_, LinuxIptables::open(GetParam().variant, GetParam().family));
        ASSIGN_OR_RETURN(auto addresses, kernel::route::interface_addresses());
        ASSIGN_OR_RETURN(plan_, plan_of(recording(), "iptables", GetParam().family,
                                        plan::HostFacts{.addresses = std::move(addresses)}));
        mode_ = agent::find_mode("iptables");
        if (mode_ == nullptr) return fail("there is no mode iptables");
        return {};
    }
    [[nodiscard]] static const Recording& recording() { return recorded::recording(GetParam().recording); }
    // A reconcile by a dataplane that was just opened, as at a start.
    Result<dataplane::Outcome> start() {
        const std::string variant(kernel::iptables::variant_name(GetParam().variant));
        ASSIGN_OR_RETURN(const auto opened, mode_->open(GetParam().family, {.variant = variant}));
        return opened->reconcile(plan_);
    }

    // What nf_tables calls each rule of iptables-nft: a rule that was written again, even as it was, has another
    // number. Of iptables-legacy nothing like it can be seen; there the transactions that are counted must do.
    [[nodiscard]] std::string handles() const {
        if (GetParam().variant == Variant::kLegacy) return {};
        auto listing = node_->must_run({"nft", "--handle", "--stateless", "list", "ruleset"});
        EXPECT_TRUE(listing) << listing.error().message;
        return std::move(listing).value_or("");
    }

    std::unique_ptr<testnet::Namespace> node_;
    std::unique_ptr<testnet::Namespace::Entered> inside_;
    std::unique_ptr<LinuxIptables> iptables_;
    plan::Plan plan_;
    const dataplane::Mode* mode_ = nullptr;
};

TEST_P(Adoption, NothingIsWrittenWhereKubeProxyWas) {
    const auto counters = kernel::nfacct::LinuxNfacct::open();
    ASSERT_TRUE(counters) << counters.error().message;
    const auto loaded = load(recording(), *iptables_, **counters);
    ASSERT_TRUE(loaded) << loaded.error().message;
    // What ghostip adds to say that the rules are its own; nothing else may be written.
    const auto marked = iptables_->restore("*mangle\n:GHOSTIP-RULES - [0:0]\nCOMMIT\n");
    ASSERT_TRUE(marked && !*marked);
    const auto before = saved_lines(*iptables_).value();
    const auto handles_before = handles();

    const auto outcome = start();
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_EQ(outcome->transactions, 0U);
    EXPECT_EQ(outcome->elements_added, 0U);
    EXPECT_EQ(outcome->elements_deleted, 0U);
    EXPECT_EQ(outcome->differences, 0U);
    EXPECT_THAT(outcome->examples, IsEmpty());
    EXPECT_THAT(outcome->set_aside, IsEmpty());
    const auto after = saved_lines(*iptables_).value();
    EXPECT_THAT(missing_from(before, after), IsEmpty()) << "removed";
    EXPECT_THAT(missing_from(after, before), IsEmpty()) << "added";
    EXPECT_THAT(after, ElementsAreArray(before));
    EXPECT_EQ(handles(), handles_before);
}

// `got` as saved_lines() gives it.
void expect_as_recorded(std::vector<std::string> got, const Recording& recording, Family family) {
    EXPECT_EQ(std::erase(got, ":GHOSTIP-RULES - [0:0]"), 1U) << "what says that the rules are ours";
    const auto text = iptables_text(recording, family).value();
    std::vector<std::string> expected;
    for (const auto table : kTables) {
        expected.push_back(fmt::format("*{}", table));
        const auto lines = lines_of_table(text, table);
        expected.insert(expected.end(), lines.begin(), lines.end());
    }
    EXPECT_THAT(missing_from(expected, got), IsEmpty()) << "not written";
    EXPECT_THAT(missing_from(got, expected), IsEmpty()) << "kube-proxy has not";
    EXPECT_THAT(without_free_order(got), ElementsAreArray(without_free_order(expected)));
}

TEST_P(Adoption, AnEmptyKernelGetsTheSame) {
    const auto outcome = start();
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_GT(outcome->transactions, 0U);
    EXPECT_THAT(outcome->set_aside, IsEmpty());
    expect_as_recorded(saved_lines(*iptables_).value(), recording(), GetParam().family);
}

// What `ghostip render` shows, in the twin.
TEST_P(Adoption, ThatIsWhatIsRendered) {
    kernel::iptables::MemoryIptables twin(GetParam().variant, GetParam().family);
    const auto refused = twin.restore(mode_->render(plan_));
    ASSERT_TRUE(refused) << refused.error().message;
    ASSERT_FALSE(*refused) << (*refused)->reason;
    expect_as_recorded(saved_lines(twin).value(), recording(), GetParam().family);
}

std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const auto& recording : recordings())
        for (const auto family : recording.families)
            for (const auto variant : {Variant::kNft, Variant::kLegacy})
                cases.push_back({recording.name, variant, family});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Recordings, Adoption, ::testing::ValuesIn(cases()), [](const auto& case_info) {
    const auto& one = case_info.param;
    auto name = fmt::format("{}_{}_{}", one.recording, kernel::iptables::variant_name(one.variant),
                            one.family == Family::kIpv4 ? "ipv4" : "ipv6");
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

}  // namespace
}  // namespace ghostip::recorded
