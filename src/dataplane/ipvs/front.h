// What a destination of the plan becomes: virtual servers with their destinations, elements of sets, an address of the
// device, and a way for pods and this node past it. Values; no kernel.
//
// A front is written as a whole or set aside as a whole; only a node port does without single addresses, where somebody
// else has the virtual server. What a mode decides about packets stands in the plan; here it is only spelled in another
// language.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/ipvs/names.h"
#include "kernel/ipset/ipset.h"
#include "kernel/ipvs/ipvs.h"
#include "plan/plan.h"

namespace ghostip::dataplane::ipvs {

struct Server {
    kernel::ipvs::Service service;
    std::vector<kernel::ipvs::Destination> destinations;  // sorted

    friend bool operator==(const Server&, const Server&) = default;
};

struct SetEntry {
    Set set = Set::kLoopBack;
    kernel::ipset::Element element;

    friend auto operator<=>(const SetEntry&, const SetEntry&) = default;
};

struct Front {
    plan::DestinationKey key;
    plan::DestinationKind kind = plan::DestinationKind::kClusterIp;
    plan::ServicePortName name;
    std::vector<Server> servers;            // sorted by key; a node port has one for each address of this node
    std::vector<SetEntry> entries;          // sorted
    std::optional<net::IpAddress> address;  // that the device has to have
    std::string short_circuit;              // a rule of chain kShortCircuit; empty: none

    [[nodiscard]] std::string text() const;  // "default/web:http (10.96.0.1:80/TCP)"
    friend bool operator==(const Front&, const Front&) = default;
};

// What this kernel was found not to do.
struct Limits {
    std::set<std::string> unknown_schedulers;                 // the one of the options serves instead
    std::map<net::IpAddress, std::string> refused_addresses;  // that the device did not take, and why
    std::map<net::IpAddress, std::string> refused_endpoints;  // that IPVS did not take, and why
    std::map<kernel::ipvs::ServiceKey, std::string> taken;    // of node ports: that somebody else has, and who
};

// What fronts are made from, beside the service port.
struct Context {
    const plan::NodeRules& node;
    net::Family family;
    const IpvsOptions& options;
    const Limits& limits;
};

// In the order of the plan's destinations. A node port is not among them where this node has no address for it.
[[nodiscard]] std::vector<Front> render_fronts(const plan::ServicePortPlan& plan, const Context& context);

// Without this one of its virtual servers and the entries for it; nothing is left of a front that had no other.
void leave_out(Front& front, const kernel::ipvs::ServiceKey& key);
[[nodiscard]] const Server* find_server(const Front& front, const kernel::ipvs::ServiceKey& key);

[[nodiscard]] bool is_excluded(const net::IpAddress& address, const IpvsOptions& options);
// Addresses that node ports have virtual servers at, sorted.
[[nodiscard]] std::vector<net::IpAddress> node_port_addresses(const plan::NodeRules& node, const IpvsOptions& options);

// Elements that belong to no front.
[[nodiscard]] SetEntry hairpin_entry(const plan::Hairpin& hairpin);
[[nodiscard]] SetEntry health_check_entry(std::uint16_t node_port);
[[nodiscard]] SetEntry address_entry(Set set, const net::IpAddress& address);
// sh and mh keep the place of a destination of weight 0 in their tables, and refuse what hashes to it unless they may
// fall back to another one. Without its second flag mh sends all of a client to one endpoint; kube-proxy sets only that
// one (kubernetes/kubernetes#139497).
[[nodiscard]] inline std::uint32_t scheduler_flags(const std::string& scheduler) {
    if (scheduler == "sh") return kernel::ipvs::kScheduler1;
    return scheduler == "mh" ? kernel::ipvs::kScheduler1 | kernel::ipvs::kScheduler2 : 0;
}
// dh does so too (ip_vs_dh_schedule()), and has no flag: what is to get nothing new must not be there at all.
[[nodiscard]] inline bool passes_over_weight_0(const std::string& scheduler) { return scheduler != "dh"; }
// UDP and SCTP have no connections that somebody would wait for (kube-proxy takes SCTP for one of these too).
[[nodiscard]] inline bool drains(const kernel::ipvs::Service& service) {
    return service.key.protocol == net::Protocol::kTcp && passes_over_weight_0(service.scheduler);
}

}  // namespace ghostip::dataplane::ipvs
