// What the kernel holds that may be this mode's.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/ipvs/compare.h"

namespace ghostip::dataplane::ipvs {

struct Observed {
    std::map<kernel::ipvs::ServiceKey, kernel::ipvs::Service> services;  // of the family, foreign ones too; no marks
    std::array<std::optional<std::vector<kernel::ipset::Element>>, kSetCount> sets;  // sorted
    std::set<net::IpAddress> bound;                                                  // on the device
    std::set<net::IpAddress> node;                                                   // on other devices
    // That kNodePorts has, at whatever address; none where kube-proxy has served since.
    std::set<std::pair<net::Protocol, std::uint16_t>> own_node_ports;
    ObservedRules rules;

    [[nodiscard]] bool has(const SetEntry& entry) const;
    // Does an element of a set say of this very virtual server that it is ours?
    [[nodiscard]] bool is_named(const kernel::ipvs::ServiceKey& key) const;
    // Was it written by this mode, or by kube-proxy? The sets tell. kube-proxy's of node ports have no addresses, for
    // it has all ports at all addresses; a port that is ours stands in kNodePorts, and is somebody else's elsewhere.
    [[nodiscard]] bool is_ours(const kernel::ipvs::ServiceKey& key) const;
};

// Without rules.
[[nodiscard]] Result<Observed> observe_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets,
                                               kernel::link::Links& links, net::Family family);
[[nodiscard]] Result<Observed> observe(const Kernel& kernel, net::Family family);

}  // namespace ghostip::dataplane::ipvs
