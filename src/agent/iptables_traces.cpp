#include "agent/iptables_traces.h"

#include <algorithm>
#include <array>
#include <optional>

namespace ghostip::agent {

using dataplane::iptables::TableRemoval;

namespace {

struct TableChain {
    std::string_view table;
    std::string_view chain;
};

// kube-proxy 1.24 to 1.36. Those of the ipvs mode stand last in each table.
constexpr std::array<TableChain, 18> kChains{{
    {"nat", "KUBE-SERVICES"},
    {"nat", "KUBE-NODEPORTS"},
    {"nat", "KUBE-POSTROUTING"},
    {"nat", "KUBE-MARK-MASQ"},
    {"nat", "KUBE-PROXY-CANARY"},
    {"nat", "KUBE-NODE-PORT"},
    {"nat", "KUBE-LOAD-BALANCER"},
    {"filter", "KUBE-SERVICES"},
    {"filter", "KUBE-EXTERNAL-SERVICES"},
    {"filter", "KUBE-FORWARD"},
    {"filter", "KUBE-NODEPORTS"},
    {"filter", "KUBE-PROXY-FIREWALL"},
    {"filter", "KUBE-PROXY-CANARY"},
    {"filter", "KUBE-NODE-PORT"},
    {"filter", "KUBE-SOURCE-RANGES-FIREWALL"},
    {"filter", "KUBE-IPVS-FILTER"},
    {"filter", "KUBE-IPVS-OUT-FILTER"},
    {"mangle", "KUBE-PROXY-CANARY"},
}};
// In nat, followed by a hash. XLB: 1.23 and before.
constexpr std::array<std::string_view, 6> kPrefixes{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-",
                                                    "KUBE-FW-",  "KUBE-SEP-", "KUBE-XLB-"};

}  // namespace

bool is_kube_proxy_chain(std::string_view table, std::string_view chain) {
    const auto listed = [&](const TableChain& one) { return one.table == table && one.chain == chain; };
    if (std::any_of(kChains.begin(), kChains.end(), listed)) return true;
    const auto hashed = [&](std::string_view prefix) {
        return chain.size() > prefix.size() && chain.starts_with(prefix);
    };
    return table == "nat" && std::any_of(kPrefixes.begin(), kPrefixes.end(), hashed);
}

IptablesRemoval iptables_removal(std::string_view save) {
    IptablesRemoval removal;
    std::optional<TableRemoval> table;
    while (!save.empty()) {
        const auto end = std::min(save.find('\n'), save.size());
        const std::string_view line = save.substr(0, end);
        save.remove_prefix(std::min(end + 1, save.size()));
        if (line.starts_with('*')) {
            const std::string name(line.substr(1));
            table.emplace(name, [name](std::string_view chain) { return is_kube_proxy_chain(name, chain); });
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
