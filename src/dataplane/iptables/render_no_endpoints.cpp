// Refusals. They match what nat has left as it was: a packet that was translated carries another destination by then.
#include "dataplane/iptables/render_service_port.h"

namespace ghostip::dataplane::iptables {

void render_no_endpoints(const Subject& subject, Rules& rules) {
    for (const auto& destination : subject.plan.destinations) {
        // Pods and the node itself may be served all the same: then nat has seen to them.
        const auto action = destination.treatment(plan::SourceClass::kOutside).action;
        if (action == plan::Action::kBalance) continue;
        const auto& key = destination.key;
        const bool cluster_ip = destination.kind == plan::DestinationKind::kClusterIp;
        auto& one = rules.dispatch.emplace_back(Dispatch{cluster_ip ? Place::kRefusals : Place::kExternal, {}});
        auto rule = subject.rule(one.rule);
        if (!key.node_port) rule.destination(net::Prefix::host(key.address));
        rule.protocol(key.protocol);
        rule.comment(subject.name +
                     (action == plan::Action::kReject ? " has no endpoints" : " has no local endpoints"));
        if (key.node_port) rule.destination_type_local();
        rule.destination_port(key.protocol, key.port);
        if (action == plan::Action::kReject)
            rule.reject();
        else
            rule.jump("DROP");
    }
}

}  // namespace ghostip::dataplane::iptables
