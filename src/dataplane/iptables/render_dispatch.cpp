// From what a client dials to the chain that answers.
#include <fmt/format.h>

#include "dataplane/iptables/render_service_port.h"

namespace ghostip::dataplane::iptables {
namespace {

using plan::DestinationKind;

const net::Prefix& loopback() {
    static const net::Prefix range = *net::Prefix::parse_lenient("127.0.0.0/8");
    return range;
}

void dispatch_address(const Subject& subject, const plan::Destination& destination, Rules& rules) {
    const auto& key = destination.key;
    std::string target;
    std::string_view what;
    switch (destination.kind) {
        case DestinationKind::kClusterIp:
            target = subject.pool_chain(destination.treatment(plan::SourceClass::kOutside).pool);
            what = "cluster IP";
            break;
        case DestinationKind::kLoadBalancerIp:
            target = subject.chain(destination.allowed_sources.empty() ? ChainKind::kExternal : ChainKind::kFirewall);
            what = "loadbalancer IP";
            break;
        case DestinationKind::kExternalIp:
        case DestinationKind::kNodePort:
            target = subject.chain(ChainKind::kExternal);
            what = "external IP";
            break;
    }
    auto& one = rules.dispatch.emplace_back(Dispatch{Place::kServices, {}});
    subject.rule(one.rule)
        .destination(net::Prefix::host(key.address))
        .protocol(key.protocol)
        .comment(fmt::format("{} {}", subject.name, what))
        .destination_port(key.protocol, key.port)
        .jump(target);
}

// The rule that counts stands before the one that does the same without counting.
void dispatch_node_port(const Subject& subject, const plan::DestinationKey& key, Rules& rules) {
    const bool counts = subject.context.node.node_ports.loopback && subject.context.abilities.counters &&
                        subject.context.family == net::Family::kIpv4;
    for (const bool counting : {true, false}) {
        if (counting && !counts) continue;
        auto& one = rules.dispatch.emplace_back(Dispatch{Place::kNodePorts, {}});
        auto rule = subject.rule(one.rule);
        if (counting) rule.destination(loopback());
        rule.protocol(key.protocol).comment(subject.name).destination_port(key.protocol, key.port);
        if (counting) rule.accounted(kLoopbackNodePorts);
        rule.jump(subject.chain(ChainKind::kExternal));
    }
}

}  // namespace

void render_dispatch(const Subject& subject, Rules& rules) {
    for (const auto& destination : subject.plan.destinations) {
        if (!balances(destination)) continue;
        if (destination.kind == DestinationKind::kNodePort)
            dispatch_node_port(subject, destination.key, rules);
        else
            dispatch_address(subject, destination, rules);
    }
    if (subject.health_check_port == 0) return;
    auto& accept = rules.dispatch.emplace_back(Dispatch{Place::kHealthChecks, {}});
    subject.rule(accept.rule)
        .protocol(net::Protocol::kTcp)
        .comment(subject.name + " health check node port")
        .destination_port(net::Protocol::kTcp, subject.health_check_port)
        .jump("ACCEPT");
}

}  // namespace ghostip::dataplane::iptables
