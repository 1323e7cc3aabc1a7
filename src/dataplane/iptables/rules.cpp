#include "dataplane/iptables/rules.h"

#include <algorithm>

namespace ghostip::dataplane::iptables {

std::string_view table_of(Place place) {
    return place == Place::kServices || place == Place::kNodePorts ? tables::kNat : tables::kFilter;
}

std::string_view chain_of(Place place) {
    switch (place) {
        case Place::kServices:
        case Place::kRefusals: return chains::kServices;
        case Place::kNodePorts:
        case Place::kHealthChecks: return chains::kNodePorts;
        case Place::kExternal: return chains::kExternalServices;
        case Place::kFirewall: return chains::kProxyFirewall;
    }
    return "";
}

const Chain* Rules::find(std::string_view table, std::string_view chain) const {
    const auto found = std::find_if(chains.begin(), chains.end(),
                                    [&](const auto& one) { return one.table == table && one.name == chain; });
    return found == chains.end() ? nullptr : &*found;
}

RuleCounts Rules::count() const {
    RuleCounts counts;
    for (const auto& chain : chains)
        (chain.table == tables::kNat ? counts.nat : counts.filter) +=
            static_cast<std::uint64_t>(std::count(chain.rules.begin(), chain.rules.end(), '\n'));
    for (const auto& one : dispatch) ++(table_of(one.place) == tables::kNat ? counts.nat : counts.filter);
    return counts;
}

}  // namespace ghostip::dataplane::iptables
