#include "dataplane/nftables/structure.h"

#include <algorithm>
#include <bit>

namespace ghostip::dataplane::nftables {

using kernel::nft::Chain;

std::uint32_t size_class(std::size_t endpoints) { return std::bit_ceil(static_cast<std::uint32_t>(endpoints)); }

void add_classes(const Classes& more, Classes& to) {
    for (const Lane lane : kLanes) {
        const auto i = static_cast<std::size_t>(lane);
        to.pool_sizes[i].insert(more.pool_sizes[i].begin(), more.pool_sizes[i].end());
        to.affinity_seconds[i].insert(more.affinity_seconds[i].begin(), more.affinity_seconds[i].end());
    }
    to.source_lengths.insert(more.source_lengths.begin(), more.source_lengths.end());
}

Structure render_structure(const StructureInput& input) {
    std::vector<SetRef> refs{{SetRole::kClusterIps}, {SetRole::kHairpins}};
    if (!input.node.node_ports.all) refs.push_back({SetRole::kNodePortIps});
    for (const Lane lane : {Lane::kAddress, Lane::kNodePort})
        for (const auto role : {SetRole::kExternalCluster, SetRole::kExternalLocal, SetRole::kNoEndpointsReject,
                                SetRole::kNoEndpointsDrop, SetRole::kOwnEndpoints})
            refs.push_back({role, lane});
    for (const Lane lane : kLanes) {
        const auto& sizes = input.classes.pool_sizes[static_cast<std::size_t>(lane)];
        if (!sizes.empty()) refs.push_back({SetRole::kEndpoints, lane});
        for (const std::uint32_t size : sizes) refs.push_back({SetRole::kUpTo, lane, size});
        for (const std::uint32_t seconds : input.classes.affinity_seconds[static_cast<std::size_t>(lane)])
            for (const auto role : {SetRole::kAffinity, SetRole::kMembers, SetRole::kStuck})
                refs.push_back({role, lane, seconds});
    }
    if (!input.classes.source_lengths.empty()) refs.push_back({SetRole::kFilteredSources});
    for (const std::uint32_t length : input.classes.source_lengths)
        refs.push_back({SetRole::kAllowedSources, Lane::kAddress, length});
    if (input.counting == Counting::kOn)
        for (const Lane lane : {Lane::kAddress, Lane::kNodePort}) refs.push_back({SetRole::kCounted, lane});
    if (input.node.relay_mark != 0) refs.push_back({SetRole::kRelayPorts});
    if (input.node.relayed_localhost) refs.push_back({SetRole::kNotRelayed});

    Structure structure;
    std::transform(refs.begin(), refs.end(), std::back_inserter(structure.sets), declare);
    render_endpoints(input, structure.chains);
    render_affinity(input, structure.chains);
    render_firewall(input, structure.chains);
    render_no_endpoints(input, structure.chains);
    render_masquerade(input, structure.chains);
    render_counters(input, structure.chains);
    render_dispatch(input, structure.chains);
    // Dispatch comes last of all, so that whatever is half done, no packet enters it before the rest is there.
    std::stable_partition(structure.chains.begin(), structure.chains.end(),
                          [](const Chain& chain) { return !chain.base; });
    return structure;
}

}  // namespace ghostip::dataplane::nftables
