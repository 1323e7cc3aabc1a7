#include "dataplane/iptables/cleanup.h"

#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "dataplane/iptables/names.h"
#include "dataplane/iptables/writer.h"
#include "dataplane/iptables_removal.h"
#include "kernel/iptables/linux.h"

namespace ghostip::dataplane::iptables {

using kernel::iptables::Iptables;
using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;

namespace {

// A table at a time: what one refuses does not hold up the others.
Result<void> clean_table(Iptables& iptables, std::string_view table, std::vector<std::string>& kept) {
    TableRemoval of_table(std::string(table), [table](std::string_view chain) { return is_own_chain(table, chain); });
    RETURN_IF_ERROR(iptables.save(table, [&](std::string_view line) { of_table.take(line); }));
    Removal removal;
    of_table.add_to(removal);
    kept.insert(kept.end(), removal.kept.begin(), removal.kept.end());
    if (removal.restore.empty()) return {};
    ASSIGN_OR_RETURN(const auto refused, restore_patiently(iptables, {}, removal.restore));
    if (refused)
        return fail("remove chains of table {} ({}, {}): {}", table, net::family_name(iptables.family()),
                    variant_name(iptables.variant()), refused->reason);
    return {};
}

}  // namespace

// The chain that says whose the rules are goes last, and only with all others: while some are left, they are ours.
Result<void> cleanup(Iptables& iptables, std::vector<std::string>& kept) {
    bool ours = false;
    const std::string mark = fmt::format(":{} ", chains::kOwn);
    RETURN_IF_ERROR(iptables.save(tables::kMangle, [&](std::string_view line) { ours |= line.starts_with(mark); }));
    if (!ours) return {};
    IpvsOwner owner;
    RETURN_IF_ERROR(iptables.save(tables::kNat, [&](std::string_view line) { owner.take(line); }));
    if (owner.is_kube_proxy()) return {};  // the mark goes with what is left of the ipvs mode
    Result<void> first;
    for (const char* table : {tables::kNat, tables::kFilter})
        if (auto cleaned = clean_table(iptables, table, kept); !cleaned && first) first = std::move(cleaned);
    return first ? clean_table(iptables, tables::kMangle, kept) : first;
}

Result<void> cleanup(std::vector<std::string>& kept) {
    Result<void> first;
    for (const auto variant : {Variant::kNft, Variant::kLegacy})
        for (const auto family : net::kFamilies) {
            auto iptables = LinuxIptables::open(variant, family);
            if (!iptables && iptables.error().code == ENOENT) continue;  // who has no programs has written nothing
            auto cleaned = iptables ? cleanup(**iptables, kept) : Result<void>(iptables.error());
            if (!cleaned && first) first = std::move(cleaned);
        }
    return first;
}

}  // namespace ghostip::dataplane::iptables
