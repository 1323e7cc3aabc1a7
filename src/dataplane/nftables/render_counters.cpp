// Packets and bytes for each destination, in both directions.
//
// A packet of a connection that was translated is looked up by what the client dialled, which conntrack knows for
// replies too, and the element that is found counts it. So that each packet is counted once, on its way out of this
// node or at its end here:
//
//   forwarded, either direction        postrouting
//   from this node to elsewhere        postrouting
//   from elsewhere to this node        input
//   from this node to itself           postrouting (it comes to input by the loopback, and is passed over there)
//
// What was dropped before is not counted. A node port's address is only known by conntrack, too, and there is no asking
// whether it is local; where all local addresses take node ports, every address that is not a service's is taken for
// one, since nobody else translates connections to that port.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Chain;
namespace select = kernel::nft::select;

// One rule a protocol: a connection's port has no type without one.
void count_in(const StructureInput& input, Lane lane, Chain& chain) {
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
        auto builder = rule(input);
        builder.protocol(protocol).in_set(originally_dialled(lane), name_of(SetRole::kCounted, lane));
        chain.rules.push_back(std::move(builder).return_());
    }
}

kernel::nft::RuleBuilder dialled_a_node_port_address(const StructureInput& input) {
    auto builder = rule(input);
    if (!input.node.node_ports.all)
        return builder.in_set({select::kOriginalDestination}, name_of(SetRole::kNodePortIps));
    return builder.original_destination(loopback(input.family), false);
}

}  // namespace

void render_counters(const StructureInput& input, std::vector<Chain>& chains) {
    using kernel::nft::BaseChain;
    using kernel::nft::ChainType;
    using kernel::nft::Hook;
    if (input.counting == Counting::kOff) return;

    Chain node_ports{"count-nodeports", std::nullopt, {}};
    count_in(input, Lane::kNodePort, node_ports);
    chains.push_back(std::move(node_ports));
    Chain count{"count-packets", std::nullopt, {}};
    count_in(input, Lane::kAddress, count);
    count.rules.push_back(dialled_a_node_port_address(input).go_to("count-nodeports"));
    chains.push_back(std::move(count));

    Chain postrouting{"count-postrouting", BaseChain{ChainType::kFilter, Hook::kPostrouting, kCountPriority}, {}};
    postrouting.rules.push_back(std::move(rule(input).connection_is_dnat()).jump("count-packets"));
    chains.push_back(std::move(postrouting));
    Chain arrived{"count-input", BaseChain{ChainType::kFilter, Hook::kInput, kCountPriority}, {}};
    arrived.rules.push_back(
        std::move(rule(input).connection_is_dnat().input_interface("lo", false)).jump("count-packets"));
    chains.push_back(std::move(arrived));
}

}  // namespace ghostip::dataplane::nftables
