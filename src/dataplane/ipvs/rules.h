// Rules of this mode as they stand in the tables, and the text that makes of them what they should be.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/ipvs/render_rules.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::ipvs {

struct InTable {
    std::string table;
    std::string chain;

    friend auto operator<=>(const InTable&, const InTable&) = default;
};

struct ObservedRules {
    std::map<InTable, std::string> chains;  // ours; the rules as Chain::rules
    std::set<std::string> jumps;            // "nat OUTPUT -m comment ..."; of built-in chains, into ours
};
[[nodiscard]] Result<ObservedRules> observe_rules(kernel::iptables::Iptables& iptables);

struct RuleChange {
    std::string text;                  // for iptables-restore --noflush; empty: nothing differs
    std::vector<std::string> differs;  // "chain KUBE-SERVICES of table nat"
};
// Chains that differ are written as a whole, each table in one go.
[[nodiscard]] RuleChange change_of(const std::vector<Chain>& wanted, const std::vector<Jump>& jumps,
                                   const ObservedRules& observed);
// The same between two renderings, of which the first is in the kernel.
[[nodiscard]] RuleChange change_of(const std::vector<Chain>& before, const std::vector<Chain>& after);
// Error EBUSY: another program holds the lock.
[[nodiscard]] Result<void> restore(kernel::iptables::Iptables& iptables, const std::string& text);

}  // namespace ghostip::dataplane::ipvs
