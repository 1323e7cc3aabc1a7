#include "agent/iptables_traces.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace ghostip::agent {

using dataplane::TableRemoval;

namespace {

struct TableChain {
    std::string_view table;
    std::string_view chain;
    bool of_iptables_mode = true;  // of today
    bool of_ipvs_mode = false;
};

// kube-proxy 1.24 to 1.36, and ghostip.
constexpr std::array<TableChain, 23> kChains{{
    {"nat", "KUBE-SERVICES", true, true},
    {"nat", "KUBE-NODEPORTS", true, false},
    {"nat", "KUBE-POSTROUTING", true, true},
    {"nat", "KUBE-MARK-MASQ", true, true},
    {"nat", "KUBE-PROXY-CANARY", true, false},
    {"nat", "KUBE-NODE-PORT", false, true},
    {"nat", "KUBE-LOAD-BALANCER", false, true},
    {"nat", "GHOSTIP-EXTERNAL-LOCAL", false, true},
    {"nat", "GHOSTIP-SHORT-CIRCUIT", false, true},
    {"filter", "KUBE-SERVICES", true, false},
    {"filter", "KUBE-EXTERNAL-SERVICES", true, false},
    {"filter", "KUBE-FORWARD", true, true},
    {"filter", "KUBE-NODEPORTS", true, false},
    {"filter", "KUBE-PROXY-FIREWALL", true, true},
    {"filter", "KUBE-PROXY-CANARY", true, false},
    {"filter", "KUBE-NODE-PORT", false, true},
    {"filter", "KUBE-SOURCE-RANGES-FIREWALL", false, true},
    {"filter", "KUBE-IPVS-FILTER", false, true},
    {"filter", "KUBE-IPVS-OUT-FILTER", false, true},
    {"mangle", "KUBE-PROXY-CANARY", true, false},
    {"mangle", "GHOSTIP-OWN-TRAFFIC", false, true},
    {"mangle", "GHOSTIP-OWN-RANGES", false, true},
    {"mangle", kOwnChain, true, true},
}};
// In nat, followed by a hash.
constexpr std::array<TableChain, 6> kPrefixes{{
    {"nat", "KUBE-SVC-"},
    {"nat", "KUBE-SVL-"},
    {"nat", "KUBE-EXT-"},
    {"nat", "KUBE-FW-"},
    {"nat", "KUBE-SEP-"},
    {"nat", "KUBE-XLB-", false},  // 1.23 and before
}};

}  // namespace

bool is_kube_proxy_chain(std::string_view table, std::string_view chain, Chains chains) {
    const auto wanted = [&](const TableChain& one) {
        const bool serves = (chains == Chains::kNotIptables && one.of_iptables_mode) ||
                            (chains == Chains::kNotIpvs && one.of_ipvs_mode);
        return one.table == table && !serves;
    };
    const auto listed = [&](const TableChain& one) { return wanted(one) && one.chain == chain; };
    if (std::any_of(kChains.begin(), kChains.end(), listed)) return true;
    const auto hashed = [&](const TableChain& prefix) {
        return wanted(prefix) && chain.size() > prefix.chain.size() && chain.starts_with(prefix.chain);
    };
    return std::any_of(kPrefixes.begin(), kPrefixes.end(), hashed);
}

bool are_own_rules(std::string_view save) {
    return save.find(fmt::format("\n:{} ", kOwnChain)) != std::string_view::npos;
}

IptablesRemoval iptables_removal(std::string_view save, Chains chains) {
    IptablesRemoval removal;
    std::optional<TableRemoval> table;
    while (!save.empty()) {
        const auto end = std::min(save.find('\n'), save.size());
        const std::string_view line = save.substr(0, end);
        save.remove_prefix(std::min(end + 1, save.size()));
        if (line.starts_with('*')) {
            const std::string name(line.substr(1));
            table.emplace(name,
                          [name, chains](std::string_view chain) { return is_kube_proxy_chain(name, chain, chains); });
        } else if (line == "COMMIT") {
            if (table) table->add_to(removal);
            table.reset();
        } else if (table) {
            table->take(line);
        }
    }
    return removal;
}

}  // namespace ghostip::agent
