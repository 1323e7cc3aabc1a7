// What happens to packets that nobody translated although they carry an address of ours.
//
// Translated connections are none of these chains' business, also where an endpoint's own address and port are an
// external IP or a node port (an ingress in the host's network). External destinations that do have endpoints match
// only if the packet met a commit half way (its NAT look-up before, this one after): it is dropped, and the client's
// next try is translated. Left alone it would pass through untranslated and the connection would stay so. (An endpoint
// that is dialled at its own address and port is not translated either: the kernel sees nothing to change.)
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {

void render_no_endpoints(const StructureInput& input, std::vector<kernel::nft::Chain>& chains) {
    namespace select = kernel::nft::select;
    using kernel::nft::BaseChain;
    using kernel::nft::Chain;
    using kernel::nft::ChainType;
    using kernel::nft::Hook;
    using kernel::nft::RuleBuilder;

    const auto check = [&](std::string name, Lane lane) {
        Chain chain{std::move(name), std::nullopt, {}};
        const auto dialled_in = [&](SetRole role) { return rule(input).in_set(dialled(lane), name_of(role, lane)); };
        chain.rules.push_back(std::move(rule(input).connection_is_dnat()).return_());
        chain.rules.push_back(std::move(dialled_in(SetRole::kNoEndpointsReject)).reject());
        // Policy Local, and the endpoint with this very address is elsewhere: only outside sources find nobody.
        if (input.node.detector.available()) {
            RuleBuilder pods = dialled_in(SetRole::kOwnEndpoints);
            from_pod(pods, input.node.detector, true);
            chain.rules.push_back(std::move(pods).return_());
        }
        chain.rules.push_back(std::move(dialled_in(SetRole::kOwnEndpoints).source_is_local()).return_());
        chain.rules.push_back(std::move(dialled_in(SetRole::kNoEndpointsDrop)).drop());
        chain.rules.push_back(std::move(dialled_in(SetRole::kOwnEndpoints)).return_());
        chain.rules.push_back(std::move(dialled_in(SetRole::kExternalCluster).comment("between two commits")).drop());
        chain.rules.push_back(std::move(dialled_in(SetRole::kExternalLocal).comment("between two commits")).drop());
        chains.push_back(std::move(chain));
    };
    check("untranslated", Lane::kAddress);
    check("untranslated-nodeports", Lane::kNodePort);

    // An endpoint may have its address in the service range.
    Chain cluster_ips{kUnknownClusterIps, std::nullopt, {}};
    cluster_ips.rules.push_back(std::move(rule(input).connection_is_dnat()).return_());
    cluster_ips.rules.push_back(std::move(rule(input)
                                              .in_set({select::kDestination}, name_of(SetRole::kClusterIps))
                                              .comment("a cluster IP, but no port of it"))
                                    .reject());
    for (const auto& cidr : input.node.service_cidrs)
        cluster_ips.rules.push_back(
            std::move(rule(input).destination(cidr).comment("no Service has this cluster IP")).drop());
    chains.push_back(std::move(cluster_ips));

    // The relay listens there for what it carries. What the node itself sends comes by output only.
    if (input.node.relayed_localhost) {
        Chain localhost{kLocalhostNodePorts, std::nullopt, {}};
        for (const auto role : {SetRole::kExternalCluster, SetRole::kExternalLocal, SetRole::kNoEndpointsReject,
                                SetRole::kNoEndpointsDrop})
            localhost.rules.push_back(std::move(rule(input)
                                                    .in_set(dialled(Lane::kNodePort), name_of(role, Lane::kNodePort))
                                                    .in_set({select::kProtocol}, name_of(SetRole::kNotRelayed)))
                                          .reject());
        chains.push_back(std::move(localhost));
    }

    if (input.node.relay_mark != 0) {
        Chain relay_ports{"relay-ports", std::nullopt, {}};
        relay_ports.rules.push_back(std::move(rule(input).connection_is_dnat()).return_());
        relay_ports.rules.push_back(
            std::move(rule(input).in_set(dialled(Lane::kNodePort), name_of(SetRole::kRelayPorts))).reject());
        chains.push_back(std::move(relay_ports));
    }

    Chain filter_input{"filter-input", BaseChain{ChainType::kFilter, Hook::kInput, kFilterPriority}, {}};
    pass_relay(input, Hook::kInput, filter_input.rules);
    if (input.node.relay_mark != 0)
        filter_input.rules.push_back(std::move(rule(input).connection_is_new()).jump("relay-ports"));
    filter_input.rules.push_back(std::move(rule(input).connection_is_new()).jump("untranslated"));
    RuleBuilder to_node_port = rule(input);
    to_node_port_address(to_node_port.connection_is_new(), input);
    filter_input.rules.push_back(std::move(to_node_port).jump("untranslated-nodeports"));
    chains.push_back(std::move(filter_input));

    for (const auto hook : {Hook::kForward, Hook::kOutput}) {
        Chain base{hook == Hook::kForward ? "filter-forward" : "filter-output",
                   BaseChain{ChainType::kFilter, hook, kFilterPriority},
                   {}};
        if (hook == Hook::kOutput) pass_relay(input, hook, base.rules);
        base.rules.push_back(std::move(rule(input).connection_is_new()).jump("untranslated"));
        base.rules.push_back(std::move(rule(input).connection_is_new()).jump(kUnknownClusterIps));
        if (hook == Hook::kOutput && input.node.relayed_localhost)
            base.rules.push_back(std::move(rule(input).connection_is_new().destination(loopback(input.family)))
                                     .jump(kLocalhostNodePorts));
        chains.push_back(std::move(base));
    }
}

}  // namespace ghostip::dataplane::nftables
