#include "dataplane/ipvs/observed.h"

#include <algorithm>
#include <string>

namespace ghostip::dataplane::ipvs {

using kernel::ipset::Element;

namespace {

// A listing can leave one out while another one goes (LinuxIpvs::services()), and the dataplane of the other family
// writes when it likes. What two listings say is so.
Result<std::map<kernel::ipvs::ServiceKey, kernel::ipvs::Service>> list_services(kernel::ipvs::Ipvs& ipvs,
                                                                                net::Family family) {
    constexpr int kMost = 5;
    const auto list = [&]() -> Result<std::map<kernel::ipvs::ServiceKey, kernel::ipvs::Service>> {
        ASSIGN_OR_RETURN(auto services, ipvs.services());
        std::map<kernel::ipvs::ServiceKey, kernel::ipvs::Service> listed;
        for (auto& service : services)
            if (service.key.mark == 0 && service.key.address.family() == family) {
                const auto key = service.key;
                listed.emplace(key, std::move(service));
            }
        return listed;
    };
    ASSIGN_OR_RETURN(auto last, list());
    for (int times = 1; times < kMost; ++times) {
        ASSIGN_OR_RETURN(auto again, list());
        const bool same = again == last;
        last = std::move(again);
        if (same) break;
    }
    return last;  // one that never stood still: who meets what is missing here looks again
}

// kube-proxy has served here since, whose rules know none of our chains: what kNodePorts has is from before.
bool are_kube_proxys(const ObservedRules& rules) {
    const auto services = rules.chains.find({tables::kNat, chains::kServices});
    return services != rules.chains.end() && !services->second.empty() &&
           services->second.find(chains::kExternalLocal) == std::string::npos;
}

}  // namespace

bool Observed::has(const SetEntry& entry) const {
    const auto& there = sets[static_cast<std::size_t>(entry.set)];
    return there && std::binary_search(there->begin(), there->end(), entry.element);
}

bool Observed::is_named(const kernel::ipvs::ServiceKey& key) const {
    const Element element{key.address, key.protocol, key.port, std::nullopt};
    return std::any_of(kNamingSets.begin(), kNamingSets.end(), [&](const auto set) { return has({set, element}); });
}

bool Observed::is_ours(const kernel::ipvs::ServiceKey& key) const {
    if (is_named(key)) return true;
    if (key.protocol == net::Protocol::kSctp || own_node_ports.contains({key.protocol, key.port})) return false;
    Element port;
    port.port = key.port;
    return has({key.protocol == net::Protocol::kTcp ? Set::kNodePortTcp : Set::kNodePortUdp, port}) &&
           node.contains(key.address);
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
    if (const auto& node_ports = observed.sets[static_cast<std::size_t>(Set::kNodePorts)])
        for (const auto& one : *node_ports) observed.own_node_ports.emplace(one.protocol, one.port);
    ASSIGN_OR_RETURN(observed.services, list_services(ipvs, family));
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
    if (are_kube_proxys(observed.rules)) observed.own_node_ports.clear();
    return observed;
}

}  // namespace ghostip::dataplane::ipvs
