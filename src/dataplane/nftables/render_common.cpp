#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {

namespace select = kernel::nft::select;
using kernel::nft::Key;
using kernel::nft::RuleBuilder;

Key dialled(Lane lane) {
    const Key port{select::kProtocol, select::kDestinationPort};
    return is_node_port(lane) ? port : Key{select::kDestination} + port;
}

Key originally_dialled(Lane lane) {
    const Key port{select::kProtocol, select::kOriginalDestinationPort};
    return is_node_port(lane) ? port : Key{select::kOriginalDestination} + port;
}

void pass_relay(const StructureInput& input, kernel::nft::Hook hook, std::vector<kernel::nft::Rule>& rules) {
    if (input.node.relay_mark == 0) return;
    RuleBuilder builder = rule(input);
    if (hook == kernel::nft::Hook::kInput) builder.input_interface("lo");
    rules.push_back(std::move(builder.mark_has(input.node.relay_mark).comment("the relay's own")).return_());
}

net::Prefix loopback(net::Family family) {
    return *net::Prefix::parse_lenient(family == net::Family::kIpv4 ? "127.0.0.0/8" : "::1/128");
}

RuleBuilder& to_node_port_address(RuleBuilder& builder, const StructureInput& input) {
    if (!input.node.node_ports.all) return builder.in_set({select::kDestination}, name_of(SetRole::kNodePortIps));
    return builder.destination_is_local().destination(loopback(input.family), false);
}

RuleBuilder& from_pod(RuleBuilder& builder, const plan::LocalDetector& detector, bool matches) {
    switch (detector.kind) {
        case plan::LocalDetector::Kind::kNone: break;
        case plan::LocalDetector::Kind::kCidr: return builder.source(detector.cidr, matches);
        case plan::LocalDetector::Kind::kInterface: return builder.input_interface(detector.interface, matches);
        case plan::LocalDetector::Kind::kInterfacePrefix:
            return builder.input_interface_prefix(detector.interface, matches);
    }
    return builder;
}

}  // namespace ghostip::dataplane::nftables
