// Rewriting the source: for what dispatch marked, and for an endpoint that reaches itself through its Service.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {

void render_masquerade(const StructureInput& input, std::vector<kernel::nft::Chain>& chains) {
    namespace select = kernel::nft::select;
    using kernel::nft::BaseChain;
    using kernel::nft::Chain;
    using kernel::nft::ChainType;
    using kernel::nft::Hook;
    const std::uint32_t mark = input.node.masquerade_mark;
    Chain postrouting{"nat-postrouting", BaseChain{ChainType::kNat, Hook::kPostrouting, kSnatPriority}, {}};
    // The relay is to know its clients.
    if (input.node.relay_mark != 0)
        postrouting.rules.push_back(
            std::move(rule(input).mark_has(mark).destination_is_local().clear_mark(mark).comment("ends on this node"))
                .return_());
    postrouting.rules.push_back(std::move(rule(input).mark_has(mark).clear_mark(mark)).masquerade());
    postrouting.rules.push_back(
        std::move(rule(input)
                      .connection_is_dnat()
                      .in_set({select::kSource, select::kDestination, select::kProtocol, select::kDestinationPort},
                              name_of(SetRole::kHairpins))
                      .comment("an endpoint that dialled itself"))
            .masquerade());
    chains.push_back(std::move(postrouting));
}

}  // namespace ghostip::dataplane::nftables
