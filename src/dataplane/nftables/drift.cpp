#include "dataplane/nftables/drift.h"

#include <iterator>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "dataplane/localhost_node_ports.h"
#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/element_text.h"
#include "dataplane/nftables/supported.h"
#include "kernel/nft/linux.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::Touched;

namespace {

constexpr std::size_t kKeysNamed = 3;  // of a set, in a log line
constexpr std::size_t kSetsNamed = 5;  // in a log line

std::string plural(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string key_text(const Touched& touched, net::Family family) {
    if (touched.key.empty()) return "*";
    if (const auto ref = parse_set_name(touched.set)) {
        auto set = declare(*ref);
        set.data.clear();
        if (touched.key.size() == fields_size(set.key, family)) return element_text(set, touched.key, family);
    }
    return fmt::format("{:02x}", fmt::join(touched.key, ""));
}

// Elements that went the same way, in one set.
struct Group {
    std::uint64_t count = 0;
    std::string keys = {};
};

class NftDriftWatch final : public DriftWatch {
  public:
    explicit NftDriftWatch(std::unique_ptr<kernel::nft::Watch> watch) : watch_(std::move(watch)) {}

    Result<std::vector<ForeignWrite>> wait(int stop_fd) override {
        ASSIGN_OR_RETURN(auto writes, watch_->wait(stop_fd, std::nullopt));
        std::vector<ForeignWrite> result;
        for (auto& write : writes) {
            ForeignWrite out{write.family, write.process_id, write.process_name, describe(write), nullptr};
            out.where = std::make_shared<const kernel::nft::ForeignWrite>(std::move(write));
            result.push_back(std::move(out));
        }
        return result;
    }

    Result<void> pause() override { return watch_->pause(); }
    Result<bool> resume(std::uint32_t own_transactions) override { return watch_->resume(own_transactions); }

  private:
    std::unique_ptr<kernel::nft::Watch> watch_;
};

void add_key(const Touched& touched, net::Family family, Suspicion& suspicion) {
    const auto ref = parse_set_name(touched.set);
    // A set of another layout, or one that rules write to: its elements say nothing about the plan.
    if (!ref) return;
    if (touched.key.empty()) suspicion.everything = true;  // the element for every key; no look-up shows it
    if (ref->role == SetRole::kStuck) return;
    const auto set = declare(*ref);
    const auto key_bytes = fields_size(set.key, family);
    if (touched.key.size() != key_bytes) return;
    auto& keys = suspicion.focus[*ref];
    keys.set = set.name;
    keys.key_bytes = static_cast<std::uint16_t>(key_bytes);
    keys.bytes.insert(keys.bytes.end(), touched.key.begin(), touched.key.end());
}

}  // namespace

std::string describe(const kernel::nft::ForeignWrite& write) {
    std::vector<std::string> parts;
    if (write.lost) parts.emplace_back("notifications were lost, so everything may have changed");
    if (write.table) parts.emplace_back("the table was added, deleted or changed");
    if (write.structure) parts.emplace_back("rules or declarations changed");
    std::map<std::pair<std::string, Touched::How>, Group> groups;
    for (const auto& touched : write.elements) {
        Group& group = groups[{touched.set, touched.how}];
        if (++group.count <= kKeysNamed)
            group.keys += (group.keys.empty() ? "" : ", ") + key_text(touched, write.family);
        else if (group.count == kKeysNamed + 1)
            group.keys += ", …";
    }
    std::size_t named = 0;
    for (const auto& [what, group] : groups) {
        if (named++ == kSetsNamed) break;
        parts.push_back(fmt::format("{} {} {} ({})", plural(group.count, "element"),
                                    what.second == Touched::How::kAdded ? "added to" : "deleted from", what.first,
                                    group.keys));
    }
    if (groups.size() > kSetsNamed || write.overflow)
        parts.push_back(fmt::format("{} elements added and {} deleted in all", write.added, write.deleted));
    return fmt::format("{}", fmt::join(parts, ", "));
}

Suspicion suspicion_of(std::span<const ForeignWrite> writes, net::Family family) {
    Suspicion suspicion;
    for (const auto& write : writes) {
        if (write.family != family) continue;
        const auto* where = static_cast<const kernel::nft::ForeignWrite*>(write.where.get());
        if (where == nullptr || where->lost || where->table || where->overflow) {
            suspicion.everything = true;
            continue;
        }
        suspicion.structure = suspicion.structure || where->structure;
        for (const auto& touched : where->elements) add_key(touched, family, suspicion);
    }
    return suspicion;
}

Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options) {
    ASSIGN_OR_RETURN(auto kernel, kernel::nft::LinuxKernel::open());
    ASSIGN_OR_RETURN(auto background, kernel::nft::LinuxKernel::open());
    std::shared_ptr<kernel::nft::Kernel> counts;
    if (options.count_services && can_count(*kernel, family)) {
        ASSIGN_OR_RETURN(counts, kernel::nft::LinuxKernel::open());
    }
    std::unique_ptr<Dataplane> dataplane = std::unique_ptr<Dataplane>(std::make_unique<NftablesDataplane>(
        family, std::move(kernel), std::move(background), Limits{}, std::move(counts)));
    if (!options.relay.localhost_node_ports) return dataplane;
    return LocalhostNodePorts::before(std::move(dataplane), family, options.relay);
}

Result<std::unique_ptr<DriftWatch>> watch_drift(std::span<Dataplane* const> instances) {
    ASSIGN_OR_RETURN(auto watch, kernel::nft::LinuxWatch::open(std::string(kTableName)));
    for (const auto* instance : instances)
        if (const auto* ours = dynamic_cast<const NftablesDataplane*>(instance))
            for (const auto port : ours->port_ids()) RETURN_IF_ERROR(watch->ignore(port));
    return drift_watch(std::move(watch));
}

std::unique_ptr<DriftWatch> drift_watch(std::unique_ptr<kernel::nft::Watch> watch) {
    return std::make_unique<NftDriftWatch>(std::move(watch));
}

}  // namespace ghostip::dataplane::nftables
