#include "agent/kube_proxy_traces.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "agent/iptables_traces.h"
#include "kernel/ipset/ipset.h"

namespace ghostip::agent {
namespace {

constexpr std::string_view kKubeProxyTable = "kube-proxy";
constexpr std::string_view kOwnTable = "ghostip";
constexpr std::string_view kNftablesMode = "nftables";
constexpr std::string_view kIptablesMode = "iptables";
constexpr std::string_view kIpvsMode = "ipvs";
constexpr const char* kIpvsDevice = "kube-ipvs0";
constexpr std::size_t kLongestSetName = 31;
// Which kube-proxy does not have; of a family that the node has not there is none.
constexpr std::array<const char*, 2> kOwnSets{"GHOSTIP-NODE-PORTS", "GHOSTIP-6-NODE-PORTS"};
constexpr std::array<std::string_view, 20> kSets{
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-LOAD-BALANCER",
    "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    "KUBE-NODE-PORT-TCP",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    "KUBE-NODE-PORT-UDP",
    "KUBE-NODE-PORT-LOCAL-TCP",
    "KUBE-IPVS-IPS",
    "KUBE-NODE-PORT-LOCAL-UDP",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "GHOSTIP-DROP",
    "GHOSTIP-DROP-OWN",
    "GHOSTIP-WIDER",
};

// Two programs stand behind the name iptables, with rules of their own each.
enum class Variant : std::uint8_t { kNft, kLegacy };

std::string_view variant_name(Variant variant) { return variant == Variant::kNft ? "nft" : "legacy"; }
std::string_view family_prefix(net::Family family) { return family == net::Family::kIpv4 ? "ip" : "ip6"; }

std::string program_name(net::Family family, Variant variant, std::string_view what) {
    return fmt::format("{}tables-{}-{}", family_prefix(family), variant_name(variant), what);
}

bool is_of(const kernel::nft::ChainName& chain, net::Family family) {
    const auto wanted = family == net::Family::kIpv4 ? kernel::nft::TableFamily::kIp : kernel::nft::TableFamily::kIp6;
    return chain.family == wanted;
}

// What of a variant's rules is to go; nothing: none.
std::optional<Chains> chains_to_go(const TraceScope& scope, Variant variant) {
    if (scope.mode != kIptablesMode && scope.mode != kIpvsMode) return Chains::kAll;
    // While it is not known where the rules stand that serve, none are touched.
    if (scope.variant.empty()) return std::nullopt;
    if (scope.variant != variant_name(variant)) return Chains::kAll;
    // Our two modes say of their chains in the same way that they are ours.
    return scope.mode == kIptablesMode ? Chains::kNotIptables : Chains::kNotIpvs;
}

// The program of that variant, or of no variant in its name where it says that it is that one.
Result<std::string> find_program(TraceHost& host, net::Family family, Variant variant, std::string_view what) {
    const auto named = program_name(family, variant, what);
    const auto there = host.run({{named, "--version"}});
    if (there && there->status == 0) return named;
    const auto plain = fmt::format("{}tables-{}", family_prefix(family), what);
    const auto version = host.run({{plain, "--version"}});
    const bool is_nft = version && version->out.find("(nf_tables)") != std::string::npos;
    if (version && version->status == 0 && is_nft == (variant == Variant::kNft)) return plain;
    return errno_error(ENOENT, "run " + named);
}

Result<void> ended_well(const std::string& program, const Result<Finished>& finished) {
    if (!finished) return finished.error();
    if (finished->status != 0) return fail("{}: {}", program, last_words(*finished));
    return {};
}

// What was saved can be old when it comes back: somebody else's change in between makes the kernel refuse all of it.
Result<void> clean_iptables(TraceHost& host, net::Family family, Variant variant, Whose whose, Chains chains,
                            Removed& removed) {
    constexpr int kTries = 3;
    ASSIGN_OR_RETURN(const auto save, find_program(host, family, variant, "save"));
    ASSIGN_OR_RETURN(const auto restore, find_program(host, family, variant, "restore"));
    Result<void> done;
    for (int attempt = 0; attempt < kTries; ++attempt) {
        const auto saved = host.run({{save}});
        RETURN_IF_ERROR(ended_well(save, saved));
        if (whose == Whose::kOurs && !are_own_rules(saved->out)) return {};
        const auto removal = iptables_removal(saved->out, chains);
        removed.kept.insert(removed.kept.end(), removal.kept.begin(), removal.kept.end());
        if (removal.restore.empty()) return {};
        done = ended_well(restore, host.run({{restore, "--noflush", "-w", "5"}, removal.restore}));
        if (!done) {
            removed.kept.resize(removed.kept.size() - removal.kept.size());
            continue;
        }
        removed.removed.push_back(fmt::format("{} chains and {} jumps of {}tables-{}", removal.chains, removal.jumps,
                                              family_prefix(family), variant_name(variant)));
        return {};
    }
    return done;
}

void clean_iptables(TraceHost& host, std::span<const kernel::nft::ChainName> known, net::Family family, Variant variant,
                    const TraceScope& scope, Removed& removed) {
    const auto chains = chains_to_go(scope, variant);
    if (!chains) return;
    const bool everybodys = scope.whose == Whose::kEverybodys;
    const auto legacy = host.legacy_tables(family);
    const bool there = variant == Variant::kNft
                           ? std::any_of(known.begin(), known.end(),
                                         [&](const auto& chain) {
                                             if (!is_of(chain, family)) return false;
                                             // Ours have another one beside them that says so.
                                             if (!everybodys) return chain.name == kOwnChain;
                                             return is_kube_proxy_chain(chain.table, chain.name, *chains);
                                         })
                           : std::any_of(legacy.begin(), legacy.end(), [](const std::string& table) {
                                 return table == "nat" || table == "filter" || table == "mangle";
                             });
    if (!there) return;  // nor is any program needed
    const auto done = clean_iptables(host, family, variant, scope.whose, *chains, removed);
    if (done) return;
    // Without the program, ghostip had no rules there.
    if (!everybodys && variant == Variant::kLegacy && done.error().code == ENOENT) return;
    // In legacy tables only the program could tell whether there is anything to remove.
    const auto what = fmt::format("{}tables-{}", family_prefix(family), variant_name(variant));
    removed.failed.push_back(done.error().within(variant == Variant::kNft
                                                     ? "rules of kube-proxy in " + what + " stay"
                                                     : "rules in " + what + " were not looked through"));
}

void clean_nft_table(TraceHost& host, net::Family family, std::string_view table, Removed& removed) {
    const auto name = fmt::format("table {} {}", family_prefix(family), table);
    const auto done = host.delete_nft_table(family, std::string(table));
    if (!done) {
        removed.failed.push_back(done.error().within(name));
    } else if (*done) {
        removed.removed.push_back(name);
    }
}

// A host can balance with IPVS for other ends: what the sets do not name is somebody else's. True: none is left.
bool clean_servers(TraceHost& host, Ipvs when, Removed& removed) {
    const auto servers = host.ipvs_servers();
    if (!servers) {
        removed.failed.push_back(servers.error());
        return false;
    }
    const bool some = *servers && (*servers)->virtual_servers > 0;
    if (some && when == Ipvs::kIdle && (*servers)->connections > 0) {
        removed.ipvs_connections = (*servers)->connections;
        return false;
    }
    if (!some) return true;
    const auto deleted = host.delete_ipvs_servers();
    if (!deleted) {
        removed.failed.push_back(deleted.error());
        return false;
    }
    removed.removed.push_back(fmt::format("{} virtual servers of IPVS", (*servers)->virtual_servers));
    return true;
}

void clean_device(TraceHost& host, Removed& removed) {
    const auto there = host.dummy_device_exists(kIpvsDevice);
    if (!there) removed.failed.push_back(there.error());
    if (!there || !*there) return;
    const auto deleted = host.delete_dummy_device(kIpvsDevice);
    if (!deleted) {
        removed.failed.push_back(deleted.error());
    } else if (*deleted) {
        removed.removed.push_back(std::string("device ") + kIpvsDevice);
    }
}

void clean_sets(TraceHost& host, Removed& removed) {
    if (!host.sets_available()) return;
    std::size_t sets = 0;
    bool all = true;
    kernel::ipset::Patience patience([&](auto time) { host.pause(time); });
    const auto destroy = [&](const std::string& name) {
        const auto destroyed = patience.destroy([&] { return host.destroy_set(name); });
        if (!destroyed) removed.failed.push_back(destroyed.error());
        all = all && destroyed;
        if (destroyed && *destroyed) ++sets;
    };
    for (const std::string_view base : kSets) {
        const auto dash = base.find('-') + 1;
        const auto six = std::string(base.substr(0, dash)) + "6-" + std::string(base.substr(dash));
        for (const auto& name : {std::string(base), six.substr(0, kLongestSetName)}) destroy(name);
    }
    // While another one is left, what tells that it is ours stays too.
    if (all)
        for (const auto* name : kOwnSets) destroy(name);
    if (sets > 0) removed.removed.push_back(fmt::format("{} sets of ip_set", sets));
}

// The sets name what is to go, and go last.
void clean_ipvs(TraceHost& host, const TraceScope& scope, Removed& removed) {
    if (scope.mode == kIpvsMode) return;
    if (scope.whose == Whose::kOurs) {
        if (!host.sets_available()) return;
        bool some = false;
        for (const auto* name : kOwnSets) {
            const auto ours = host.set_exists(name);
            if (!ours) removed.failed.push_back(ours.error());
            some = some || (ours && *ours);
        }
        if (!some) return;
    }
    if (!clean_servers(host, scope.ipvs, removed)) return;
    clean_device(host, removed);
    clean_sets(host, removed);
}

}  // namespace

Removed remove_traces(TraceHost& host, const TraceScope& scope) {
    Removed removed;
    const bool everybodys = scope.whose == Whose::kEverybodys;
    for (const auto family : net::kFamilies) {
        if (everybodys) clean_nft_table(host, family, kKubeProxyTable, removed);
        if (!scope.mode.empty() && scope.mode != kNftablesMode) clean_nft_table(host, family, kOwnTable, removed);
    }
    const auto chains = host.nft_chains();
    if (!chains) removed.failed.push_back(chains.error());
    const auto known = chains.value_or({});
    for (const auto family : net::kFamilies)
        for (const auto variant : {Variant::kNft, Variant::kLegacy})
            clean_iptables(host, known, family, variant, scope, removed);
    clean_ipvs(host, scope, removed);
    return removed;
}

}  // namespace ghostip::agent
