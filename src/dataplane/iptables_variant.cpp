#include "dataplane/iptables_variant.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "kernel/iptables/linux.h"

namespace ghostip::dataplane {

using kernel::iptables::Iptables;
using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;

namespace {

constexpr std::array<Variant, 2> kVariants{Variant::kNft, Variant::kLegacy};

}  // namespace

Variant choose(std::span<const Evidence> evidence) {
    const auto strength = [](const Evidence& one) {
        return std::tuple(one.kubelet, one.services, one.rules, one.variant == Variant::kNft);
    };
    const auto best = std::max_element(evidence.begin(), evidence.end(),
                                       [&](const auto& a, const auto& b) { return strength(a) < strength(b); });
    return best->variant;
}

Result<void> gather(Iptables& iptables, Evidence& evidence) {
    for (const char* chain : {"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"}) {
        ASSIGN_OR_RETURN(const bool there, iptables.has_chain("mangle", chain));
        evidence.kubelet = evidence.kubelet || there;
    }
    ASSIGN_OR_RETURN(const bool services, iptables.has_chain("nat", "KUBE-SERVICES"));
    evidence.services = evidence.services || services;
    if (evidence.kubelet || evidence.services) return {};  // nobody counts then
    for (const char* table : {"nat", "filter", "mangle"})
        RETURN_IF_ERROR(iptables.save(table, [&](std::string_view line) {
            if (line.starts_with('-')) ++evidence.rules;
        }));
    return {};
}

Result<Variant> choose_variant(const Options& options) {
    for (const auto variant : kVariants)
        if (options.variant == variant_name(variant)) return variant;
    if (!options.variant.empty()) return fail("there is no variant {} of iptables", options.variant);
    std::vector<Evidence> all;
    for (const auto variant : kVariants) {
        Evidence evidence{variant};
        bool exists = false;
        for (const auto family : net::kFamilies) {
            auto iptables = LinuxIptables::open(variant, family);
            if (!iptables && iptables.error().code == ENOENT) continue;
            if (!iptables) return iptables.error();
            exists = true;
            RETURN_IF_ERROR(gather(**iptables, evidence));
        }
        if (exists) all.push_back(evidence);
    }
    if (all.empty())
        return Error{"there are no programs iptables-restore and iptables-save: install the package iptables", ENOENT};
    return choose(all);
}

}  // namespace ghostip::dataplane
