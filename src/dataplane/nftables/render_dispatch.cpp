// From a packet's destination to the chain that picks an endpoint. First packets of connections only: these are NAT
// chains. Addresses of services come before node ports, also where an external IP is one of the node's own.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::BaseChain;
using kernel::nft::Chain;
using kernel::nft::ChainType;
using kernel::nft::Hook;
using kernel::nft::Rule;
using kernel::nft::RuleBuilder;
namespace select = kernel::nft::select;

// Policy Local: pods and the node itself are served as by the cluster IP; others only by endpoints of this node.
Chain policy_local(const StructureInput& input, Lane everybody, Lane outside, std::string name) {
    Chain chain{std::move(name), std::nullopt, {}};
    if (input.node.detector.available()) {
        RuleBuilder builder = rule(input);
        from_pod(builder, input.node.detector, true).comment("pods reach every endpoint");
        chain.rules.push_back(std::move(builder).go_to(pick_chain(everybody)));
    }
    chain.rules.push_back(
        std::move(rule(input).source_is_local().set_mark(input.node.masquerade_mark).comment("so does the node itself"))
            .go_to(pick_chain(everybody)));
    chain.rules.push_back(std::move(rule(input)).go_to(pick_chain(outside)));
    return chain;
}

// A cluster IP that is dialled from outside the pods is answered through this node.
void masquerade_cluster_ips(const StructureInput& input, std::vector<Rule>& rules) {
    if (!input.node.masquerade_all && !input.node.detector.available()) return;
    RuleBuilder builder = rule(input);
    builder.in_set({select::kDestination}, name_of(SetRole::kClusterIps));
    if (!input.node.masquerade_all) from_pod(builder, input.node.detector, false);
    builder.set_mark(input.node.masquerade_mark).comment("masquerade");
    rules.push_back(std::move(builder).done());
}

}  // namespace

void render_dispatch(const StructureInput& input, std::vector<Chain>& chains) {
    chains.push_back(policy_local(input, Lane::kAddress, Lane::kAddressLocal, "policy-local"));
    chains.push_back(policy_local(input, Lane::kNodePort, Lane::kNodePortLocal, "nodeport-policy-local"));

    // The policy may have changed from Cluster to Local between this packet's two look-ups.
    const auto again = [&](Lane lane) {
        return rule(input).in_set(dialled(lane), name_of(SetRole::kExternalLocal, lane)).comment("between two commits");
    };
    Chain node_ports{"nodeports", std::nullopt, {}};
    node_ports.rules.push_back(
        std::move(rule(input).in_set(dialled(Lane::kNodePort), name_of(SetRole::kExternalLocal, Lane::kNodePort)))
            .go_to("nodeport-policy-local"));
    node_ports.rules.push_back(
        std::move(rule(input)
                      .in_set(dialled(Lane::kNodePort), name_of(SetRole::kExternalCluster, Lane::kNodePort))
                      .set_mark(input.node.masquerade_mark))
            .go_to(pick_chain(Lane::kNodePort)));
    node_ports.rules.push_back(std::move(again(Lane::kNodePort)).go_to("nodeport-policy-local"));
    chains.push_back(std::move(node_ports));

    Chain services{"services", std::nullopt, {}};
    services.rules.push_back(
        std::move(rule(input).in_set(dialled(Lane::kAddress), name_of(SetRole::kExternalLocal))).go_to("policy-local"));
    services.rules.push_back(std::move(rule(input)
                                           .in_set(dialled(Lane::kAddress), name_of(SetRole::kExternalCluster))
                                           .set_mark(input.node.masquerade_mark))
                                 .go_to(pick_chain(Lane::kAddress)));
    masquerade_cluster_ips(input, services.rules);
    services.rules.push_back(std::move(rule(input).in_set({select::kDestination}, name_of(SetRole::kClusterIps)))
                                 .go_to(pick_chain(Lane::kAddress)));
    services.rules.push_back(std::move(again(Lane::kAddress)).go_to("policy-local"));
    RuleBuilder to_node_port = rule(input);
    to_node_port_address(to_node_port, input);
    services.rules.push_back(std::move(to_node_port).go_to("nodeports"));
    chains.push_back(std::move(services));

    for (const auto hook : {Hook::kPrerouting, Hook::kOutput}) {
        Chain base{hook == Hook::kPrerouting ? "nat-prerouting" : "nat-output",
                   BaseChain{ChainType::kNat, hook, kDnatPriority},
                   {}};
        if (hook == Hook::kOutput) pass_relay(input, hook, base.rules);
        if (!input.classes.source_lengths.empty())
            base.rules.push_back(
                std::move(rule(input).in_set(dialled(Lane::kAddress), name_of(SetRole::kFilteredSources)))
                    .jump("allowed-sources"));
        base.rules.push_back(std::move(rule(input)).jump("services"));
        chains.push_back(std::move(base));
    }
}

}  // namespace ghostip::dataplane::nftables
