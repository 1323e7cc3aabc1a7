// Session affinity: a client goes where it went before.
//
//   stuck-T      client . destination : endpoint, written by rules, each entry forgotten after T seconds
//   members-T    destination . endpoint: who may be stuck to
//
// A connection looks the client up before an endpoint is picked. It is remembered after translation, when the packet
// carries the endpoint's address: the first packet of each connection refreshes its entry. Only members are remembered,
// so that nobody sticks to an endpoint that left while the packet was on its way.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {

void render_affinity(const StructureInput& input, std::vector<kernel::nft::Chain>& chains) {
    namespace select = kernel::nft::select;
    using kernel::nft::BaseChain;
    using kernel::nft::Chain;
    using kernel::nft::ChainType;
    using kernel::nft::Hook;
    using kernel::nft::Key;

    Chain learn{"affinity-learn", std::nullopt, {}};
    for (const Lane lane : kLanes) {
        for (const std::uint32_t seconds : input.classes.affinity_seconds[static_cast<std::size_t>(lane)]) {
            Chain stuck{stuck_chain(lane, seconds), std::nullopt, {}};
            stuck.rules.push_back(
                rule(input).dnat_from(Key{select::kSource} + dialled(lane), name_of(SetRole::kStuck, lane, seconds)));
            chains.push_back(std::move(stuck));
            for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
                const Key endpoint{select::kDestination, select::kDestinationPort};
                auto builder = rule(input);
                builder.protocol(protocol)
                    .in_set(originally_dialled(lane) + endpoint, name_of(SetRole::kMembers, lane, seconds))
                    .update_map(Key{select::kOriginalSource} + originally_dialled(lane),
                                name_of(SetRole::kStuck, lane, seconds));
                learn.rules.push_back(std::move(builder).done());
            }
        }
    }
    if (learn.rules.empty()) return;
    chains.push_back(std::move(learn));
    for (const auto hook : {Hook::kPostrouting, Hook::kInput}) {
        Chain base{hook == Hook::kPostrouting ? "affinity-postrouting" : "affinity-input",
                   BaseChain{ChainType::kNat, hook, kLearnPriority},
                   {}};
        base.rules.push_back(std::move(rule(input).connection_is_dnat()).jump("affinity-learn"));
        chains.push_back(std::move(base));
    }
}

}  // namespace ghostip::dataplane::nftables
