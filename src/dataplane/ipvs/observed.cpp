#include "dataplane/ipvs/observed.h"

#include <algorithm>

namespace ghostip::dataplane::ipvs {

using kernel::ipset::Element;

bool Observed::has(const SetEntry& entry) const {
    const auto& there = sets[static_cast<std::size_t>(entry.set)];
    return there && std::binary_search(there->begin(), there->end(), entry.element);
}

bool Observed::is_ours(const kernel::ipvs::ServiceKey& key) const {
    const Element element{key.address, key.protocol, key.port, std::nullopt};
    for (const auto set :
         {Set::kClusterIp, Set::kLoadBalancer, Set::kExternalIp, Set::kExternalIpLocal, Set::kNodePortSctp})
        if (has({set, element})) return true;
    if (key.protocol == net::Protocol::kSctp) return false;
    Element port;
    port.port = key.port;
    if (!has({key.protocol == net::Protocol::kTcp ? Set::kNodePortTcp : Set::kNodePortUdp, port})) return false;
    return node.contains(key.address) || has(address_entry(Set::kNodeAddresses, key.address));
}

Result<Observed> observe_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets, kernel::link::Links& links,
                                 net::Family family) {
    Observed observed;
    for (const auto& row : set_rows()) {
        ASSIGN_OR_RETURN(auto contents, sets.contents(set_name(row.set, family)));
        if (!contents) continue;
        std::sort(contents->elements.begin(), contents->elements.end());
        observed.sets[static_cast<std::size_t>(row.set)] = std::move(contents->elements);
    }
    ASSIGN_OR_RETURN(auto services, ipvs.services());
    for (auto& service : services)
        if (service.key.mark == 0 && service.key.address.family() == family) {
            const auto key = service.key;
            observed.services.emplace(key, std::move(service));
        }
    ASSIGN_OR_RETURN(const auto addresses, links.addresses());
    for (const auto& one : addresses) {
        if (one.address.family() != family) continue;
        // Its own link-local one is the kernel's.
        if (one.device != kDevice)
            observed.node.insert(one.address);
        else if (one.address.is_ipv4() || !one.address.is_link_local())
            observed.bound.insert(one.address);
    }
    return observed;
}

Result<Observed> observe(const Kernel& kernel, net::Family family) {
    ASSIGN_OR_RETURN(auto observed, observe_servers(*kernel.ipvs, *kernel.sets, *kernel.links, family));
    ASSIGN_OR_RETURN(observed.rules, observe_rules(*kernel.iptables));
    return observed;
}

}  // namespace ghostip::dataplane::ipvs
