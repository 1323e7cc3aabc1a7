#include "dataplane/ipvs/cleanup.h"

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "dataplane/iptables_removal.h"
#include "dataplane/ipvs/names.h"
#include "dataplane/ipvs/observed.h"
#include "kernel/ipset/linux.h"
#include "kernel/iptables/linux.h"
#include "kernel/ipvs/linux.h"
#include "kernel/ipvs/removal.h"
#include "kernel/link/linux.h"

namespace ghostip::dataplane::ipvs {

using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;

namespace {

constexpr Set kMark = Set::kNodePorts;  // which kube-proxy does not have

bool is_only_ours(std::string_view name) { return name.starts_with("GHOSTIP-"); }

Result<void> clean_table(kernel::iptables::Iptables& iptables, const char* table, bool only_ours,
                         std::vector<std::string>& kept) {
    TableRemoval of_table(table, [table, only_ours](std::string_view chain) {
        return is_own_chain(table, chain) && (!only_ours || is_only_ours(chain));
    });
    RETURN_IF_ERROR(iptables.save(table, [&](std::string_view line) { of_table.take(line); }));
    Removal removal;
    of_table.add_to(removal);
    kept.insert(kept.end(), removal.kept.begin(), removal.kept.end());
    if (removal.restore.empty()) return {};
    ASSIGN_OR_RETURN(const auto refused, iptables.restore(removal.restore));
    if (refused)
        return fail("remove chains of table {} ({}, {}): {}", table, net::family_name(iptables.family()),
                    variant_name(iptables.variant()), refused->reason);
    return {};
}

// Each part goes as far as it can; the first failure is told.
class Parts {
  public:
    void run(Result<void> done) {
        if (!done && first_) first_ = std::move(done);
    }
    [[nodiscard]] bool failed() const { return !first_; }
    [[nodiscard]] Result<void> take() { return std::move(first_); }

  private:
    Result<void> first_;
};

// Whether kube-proxy serves.
bool clean_programs(Parts& parts, std::vector<std::string>& kept) {
    bool kube_proxys = false;
    for (const auto variant : {Variant::kNft, Variant::kLegacy})
        for (const auto family : net::kFamilies) {
            auto iptables = LinuxIptables::open(variant, family);
            if (!iptables && iptables.error().code == ENOENT) continue;  // who has no programs has written nothing
            if (!iptables) {
                parts.run(iptables.error());
                continue;
            }
            parts.run(clean_rules(**iptables, kept));
            const auto theirs = is_kube_proxys(**iptables);
            kube_proxys = kube_proxys || (theirs && *theirs);
        }
    return kube_proxys;
}

Result<void> clean_device() {
    ASSIGN_OR_RETURN(const bool there, kernel::ipvs::dummy_device_exists(kDevice));
    if (!there) return {};  // nor is a device of another kind ours
    auto deleted = kernel::ipvs::delete_dummy_device(kDevice);
    if (!deleted) return deleted.error();
    return {};
}

void sleep(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

Result<void> clean_kernel(bool kube_proxys) {
    if (!kernel::ipvs::sets_available()) return {};  // nor is anything ours without them
    ASSIGN_OR_RETURN(const auto sets, kernel::ipset::LinuxSets::open());
    ASSIGN_OR_RETURN(const bool ours, are_ours(*sets));
    if (!ours) return {};
    if (kube_proxys) return clean_sets(*sets, WhichSets::kOnlyOurs, sleep);
    RETURN_IF_ERROR(clean_device());
    if (kernel::ipvs::available()) {
        ASSIGN_OR_RETURN(const auto ipvs, kernel::ipvs::LinuxIpvs::open());
        ASSIGN_OR_RETURN(const auto links, kernel::link::LinuxLinks::open());
        RETURN_IF_ERROR(clean_servers(*ipvs, *sets, *links));
    }
    return clean_sets(*sets, WhichSets::kAll, sleep);
}

}  // namespace

// The chain that tells is in the last table.
Result<void> clean_rules(kernel::iptables::Iptables& iptables, std::vector<std::string>& kept) {
    bool ours = false;
    const std::string mark = fmt::format(":{} ", chains::kExternalLocal);
    RETURN_IF_ERROR(iptables.save(tables::kNat, [&](std::string_view line) { ours |= line.starts_with(mark); }));
    if (!ours) return {};
    ASSIGN_OR_RETURN(const bool only_ours, is_kube_proxys(iptables));
    Parts parts;
    for (const char* table : {tables::kMangle, tables::kFilter})
        parts.run(clean_table(iptables, table, only_ours, kept));
    auto done = parts.take();
    return done ? clean_table(iptables, tables::kNat, only_ours, kept) : done;
}

Result<bool> is_kube_proxys(kernel::iptables::Iptables& iptables) {
    IpvsOwner owner;
    RETURN_IF_ERROR(iptables.save(tables::kNat, [&](std::string_view line) { owner.take(line); }));
    return owner.is_kube_proxy();
}

Result<bool> are_ours(kernel::ipset::Sets& sets) {
    ASSIGN_OR_RETURN(const auto headers, sets.headers());
    return std::any_of(headers.begin(), headers.end(), [](const auto& header) {
        return header.name == set_name(kMark, net::Family::kIpv4) || header.name == set_name(kMark, net::Family::kIpv6);
    });
}

Result<std::vector<kernel::ipvs::Service>> own_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets,
                                                       kernel::link::Links& links) {
    std::vector<kernel::ipvs::Service> own;
    for (const auto family : net::kFamilies) {
        ASSIGN_OR_RETURN(const auto observed, observe_servers(ipvs, sets, links, family));
        for (const auto& [key, service] : observed.services)
            if (observed.is_ours(key)) own.push_back(service);
    }
    return own;
}

Result<void> clean_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets, kernel::link::Links& links) {
    ASSIGN_OR_RETURN(const auto own, own_servers(ipvs, sets, links));
    std::vector<kernel::ipvs::Command> commands;
    commands.reserve(own.size());
    for (const auto& service : own) commands.push_back({kernel::ipvs::Verb::kDeleteService, service, {}});
    if (commands.empty()) return {};
    ASSIGN_OR_RETURN(const auto refusals, ipvs.apply(commands));
    for (const auto& refusal : refusals)
        if (refusal.error.code != ESRCH) return refusal.error;
    return {};
}

// While another one is left, what tells that it is ours stays too.
Result<void> clean_sets(kernel::ipset::Sets& sets, WhichSets which, const Pause& pause) {
    Parts parts;
    kernel::ipset::Patience patience(pause);
    const auto destroy = [&](const std::string& name) -> Result<void> {
        RETURN_IF_ERROR(patience.destroy([&] { return sets.destroy(name); }));
        return {};
    };
    for (const auto family : net::kFamilies) {
        parts.run(destroy(spare_set_name(family)));
        for (const auto& row : set_rows())
            if (row.set != kMark && (which == WhichSets::kAll || is_only_ours(row.name)))
                parts.run(destroy(set_name(row.set, family)));
    }
    if (parts.failed()) return parts.take();
    for (const auto family : net::kFamilies) parts.run(destroy(set_name(kMark, family)));
    return parts.take();
}

Result<void> cleanup(std::vector<std::string>& kept) {
    Parts parts;
    const bool kube_proxys = clean_programs(parts, kept);
    parts.run(clean_kernel(kube_proxys));
    return parts.take();
}

}  // namespace ghostip::dataplane::ipvs
