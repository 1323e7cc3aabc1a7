#include "dataplane/iptables/drift.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "dataplane/iptables/canary.h"
#include "dataplane/iptables/dataplane.h"
#include "dataplane/iptables/names.h"
#include "dataplane/iptables/render_fixed.h"
#include "kernel/nft/rule_watch.h"

namespace ghostip::dataplane::iptables {

using kernel::nft::Announcement;
using kernel::nft::RuleChange;
using What = Announcement::What;

namespace {

constexpr std::size_t kChangesNamed = 5;  // in a log line

bool is_our_table(std::string_view table) {
    return std::find(tables::kAll.begin(), tables::kAll.end(), table) != tables::kAll.end();
}

// The kubelet has rules of its own in it.
bool is_shared_chain(std::string_view table, std::string_view chain) {
    return table == tables::kFilter && chain == chains::kFirewall;
}

bool may_lead_to_us(const Announcement& said) {
    if (!has_jump(said.table, said.chain)) return false;
    return !said.target || is_own_chain(said.table, *said.target) || is_shared_chain(said.table, *said.target);
}

std::string text_of(const RuleChange& change) {
    const auto chain = fmt::format("chain {} of table {}", change.chain, change.table);
    const auto rules = [&](std::string_view verb) {
        return fmt::format("{} rule{} {} {} of table {}{}", change.count, change.count == 1 ? "" : "s", verb,
                           change.chain, change.table,
                           change.target.empty() ? "" : fmt::format(" (to {})", change.target));
    };
    switch (change.what) {
        case What::kTableDeleted: return fmt::format("table {} deleted", change.table);
        case What::kChainAdded: return chain + " added";
        case What::kChainRenamed: return fmt::format("a chain of table {} renamed to {}", change.table, change.chain);
        case What::kChainDeleted: return chain + " deleted";
        case What::kRuleAdded: return rules("added to");
        case What::kRuleDeleted: return rules("deleted from");
        default: return fmt::format("table {} changed", change.table);
    }
}

class NotifiedDriftWatch final : public DriftWatch {
  public:
    explicit NotifiedDriftWatch(std::unique_ptr<kernel::nft::RuleWatch> watch) : watch_(std::move(watch)) {}

    Result<std::vector<ForeignWrite>> wait(int stop_fd) override {
        ASSIGN_OR_RETURN(const auto writes, watch_->wait(stop_fd));
        std::vector<ForeignWrite> result;
        result.reserve(writes.size());
        for (const auto& write : writes)
            result.push_back({write.family, write.process_id, write.process_name, describe(write), nullptr});
        return result;
    }

  private:
    const std::unique_ptr<kernel::nft::RuleWatch> watch_;
};

}  // namespace

bool concerns_us(const Announcement& said) {
    if (!is_our_table(said.table)) return false;
    const bool own = is_own_chain(said.table, said.chain);
    switch (said.what) {
        case What::kTableDeleted:
        case What::kChainRenamed: return true;  // it may have been one of ours
        case What::kChainAdded:
        case What::kChainChanged:
        case What::kRuleAdded: return own;
        case What::kChainDeleted:
            return own || is_shared_chain(said.table, said.chain) || has_jump(said.table, said.chain);
        case What::kRuleDeleted: return own || is_shared_chain(said.table, said.chain) || may_lead_to_us(said);
        case What::kTableAdded:
        case What::kOtherChanged:
        case What::kElementsAdded:
        case What::kElementsDeleted:
        case What::kEnd: return false;
    }
    return false;
}

std::string describe(const kernel::nft::RuleWrite& write) {
    std::vector<std::string> parts;
    if (write.lost) parts.emplace_back("notifications were lost, so everything may have changed");
    std::uint64_t more = write.more;
    for (std::size_t i = 0; i < write.changes.size(); ++i) {
        if (i < kChangesNamed)
            parts.push_back(text_of(write.changes[i]));
        else
            more += write.changes[i].count;
    }
    if (more > 0) parts.push_back(fmt::format("{} more changes", more));
    return fmt::format("{}", fmt::join(parts, ", "));
}

Result<std::unique_ptr<DriftWatch>> watch_notifications(std::vector<std::shared_ptr<RunningPrograms>> writers) {
    ASSIGN_OR_RETURN(auto watch, kernel::nft::RuleWatch::open(concerns_us, std::move(writers)));
    return std::unique_ptr<DriftWatch>(std::make_unique<NotifiedDriftWatch>(std::move(watch)));
}

// All instances of a process are of one variant.
Result<std::unique_ptr<DriftWatch>> watch_drift(std::span<Dataplane* const> instances) {
    std::vector<std::shared_ptr<RunningPrograms>> writers;
    for (const auto* instance : instances) {
        const auto* own = dynamic_cast<const IptablesDataplane*>(instance);
        if (own == nullptr || own->kernel_variant() != kernel::iptables::Variant::kNft || !own->writers())
            return watch_canaries(instances);
        writers.push_back(own->writers());
    }
    return watch_notifications(std::move(writers));
}

}  // namespace ghostip::dataplane::iptables
