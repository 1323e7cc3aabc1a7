// Tries out rules in a chain that nothing leads to, and removes it again. For supported and abilities.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dataplane/iptables/writer.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

// One rule of each kind that is needed.
struct Trial {
    std::string_view table;
    std::string_view needs;  // what is missing if it fails, in words
    std::string rule;        // behind the chain's name
};
[[nodiscard]] std::vector<Trial> needed_rules(net::Family family);
[[nodiscard]] Trial affinity_rule(net::Family family);
// The counter has to be there.
[[nodiscard]] Trial counting_rule(net::Family family);

// Absent: they work, all together. Else what the program says. Error: it could not be tried (lock, no program).
[[nodiscard]] Result<kernel::iptables::Refused> try_out(kernel::iptables::Iptables& iptables, const Limits& limits,
                                                        const std::vector<Trial>& trials);

}  // namespace ghostip::dataplane::iptables
