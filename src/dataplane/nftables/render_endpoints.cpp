// Picking an endpoint of a pool at random.
//
// A pool's endpoints stand in slots 0 to n-1 of the map `endpoints`. The modulus of numgen is a constant of its rule,
// so pools share one chain for each power of two at or above their size, and a slot that is empty is a miss: the next
// rule tries again. Each try hits more than half of the time, so after the last try fewer than two in 100,000 are left
// for slot 0, which every pool has. That last rule also serves who was between two commits: a first look-up that saw
// the old ruleset and a second one that sees the new. It is there twice where it is the only one: kernels before 6.17
// can miss an element that is just being replaced, but not the next time.
#include "dataplane/nftables/render_common.h"

namespace ghostip::dataplane::nftables {
namespace {

constexpr int kTries = 16;

}  // namespace

void render_endpoints(const StructureInput& input, std::vector<kernel::nft::Chain>& chains) {
    namespace select = kernel::nft::select;
    for (const Lane lane : kLanes) {
        const auto& classes = input.classes.pool_sizes[static_cast<std::size_t>(lane)];
        const auto& affinities = input.classes.affinity_seconds[static_cast<std::size_t>(lane)];
        const auto pick = [&](std::uint32_t modulus) {
            return rule(input).dnat_from(dialled(lane) + kernel::nft::Key{select::random(modulus)},
                                         name_of(SetRole::kEndpoints, lane));
        };
        for (const std::uint32_t up_to : classes) {
            kernel::nft::Chain chain{pick_chain(lane, up_to), std::nullopt, {}};
            for (int i = 0; i < (up_to > 1 ? kTries : 1); ++i) chain.rules.push_back(pick(up_to));
            chain.rules.push_back(pick(1));
            chains.push_back(std::move(chain));
        }
        kernel::nft::Chain dispatch{pick_chain(lane), std::nullopt, {}};
        for (const std::uint32_t seconds : affinities)
            dispatch.rules.push_back(
                std::move(rule(input).in_set(dialled(lane), name_of(SetRole::kAffinity, lane, seconds)))
                    .jump(stuck_chain(lane, seconds)));
        for (const std::uint32_t up_to : classes)
            dispatch.rules.push_back(std::move(rule(input).in_set(dialled(lane), name_of(SetRole::kUpTo, lane, up_to)))
                                         .go_to(pick_chain(lane, up_to)));
        // A pool that moved to a smaller class while this packet was looking at the larger ones, or to one that these
        // rules do not know yet: a packet goes on with the rules that it began with, but finds the elements of today.
        if (!classes.empty()) dispatch.rules.push_back(pick(1));
        chains.push_back(std::move(dispatch));
    }
}

}  // namespace ghostip::dataplane::nftables
