// Source ranges of load balancers: looked at right before our own translation, by first packets only, while the packet
// still carries what was dialled. What kube-proxy translated before us is no longer addressed to us.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {

void render_firewall(const StructureInput& input, std::vector<kernel::nft::Chain>& chains) {
    namespace select = kernel::nft::select;
    using kernel::nft::Chain;
    using kernel::nft::Key;
    using kernel::nft::Selector;
    if (input.classes.source_lengths.empty()) return;

    Chain ranges{"allowed-sources", std::nullopt, {}};
    const auto allow = [&](std::uint32_t length) {
        const bool whole = static_cast<int>(length) == net::address_bits(input.family);
        const Selector source = whole ? select::kSource : select::masked_source(static_cast<int>(length));
        ranges.rules.push_back(std::move(rule(input).in_set(dialled(Lane::kAddress) + Key{source},
                                                            name_of(SetRole::kAllowedSources, Lane::kAddress, length)))
                                   .return_());
    };
    // Twice: a range may move to a length that was looked at already, while the others are.
    for (int pass = 0; pass < 2; ++pass)
        for (const std::uint32_t length : input.classes.source_lengths) allow(length);
    ranges.rules.push_back(std::move(rule(input)).drop());
    chains.push_back(std::move(ranges));
}

}  // namespace ghostip::dataplane::nftables
