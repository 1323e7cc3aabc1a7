#include "dataplane/iptables/desired.h"

namespace ghostip::dataplane::iptables {

std::uint64_t known_endpoints(const plan::Plan& plan) {
    std::uint64_t total = 0;
    for (const auto& [name, service_port] : plan.service_ports) total += service_port->known_endpoints;
    return total;
}

std::uint16_t health_check_port(const plan::Plan& plan, const plan::ServicePortName& name) {
    const auto found = plan.health_checks.find(name.service);
    return found == plan.health_checks.end() ? std::uint16_t{0} : found->second.node_port;
}

Context context_for(const plan::NodeRules& node, net::Family family, const Abilities& abilities,
                    std::uint64_t known_endpoints, kernel::iptables::Form form) {
    return {node, family, abilities, known_endpoints <= kLargeCluster, form};
}

}  // namespace ghostip::dataplane::iptables
