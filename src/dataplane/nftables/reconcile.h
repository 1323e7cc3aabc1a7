// From what the kernel holds to what it should hold: the least that has to be written, in an order that no packet
// minds.
//
//   before    sets and chains that are missing, of which no packet knows yet
//   pieces    what differs in elements, a destination at a time; cluster IPs, which lead there, at the end
//   after     rules that differ, base chains, and at last what nobody needs any more
//
// So when the layout changes from one version to the next, the new is in place before the old goes. Where the layout is
// ours and only lacks rules (for pools or source ranges of a length that is new), those come first instead: the
// elements need them.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/observed.h"
#include "dataplane/nftables/piece.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// Service ports whose slots are not in the order of their pool.
using SlotOrders = std::unordered_map<plan::ServicePortName, ServicePortSlots>;

// Keys to look at, by set.
using Focus = std::map<SetRef, kernel::nft::Elements>;

struct Repair {
    // Something that is there cannot be turned into what should be there (a set of another type): the table has to be
    // made anew.
    bool impossible = false;
    std::vector<kernel::nft::Operation> before;
    std::vector<Piece> pieces;
    std::vector<kernel::nft::Operation> after;
    std::vector<kernel::nft::Operation> needed;  // `after` without the removal of what is not ours
    bool only_grows = false;                     // `after` serves what is there as well: it comes before the pieces
    std::uint64_t differences = 0;
    std::vector<std::string> examples;

    [[nodiscard]] bool empty() const { return before.empty() && pieces.empty() && after.empty(); }
};

// Describes the difference and keeps the first few descriptions.
void note_difference(Repair& repair, const std::string& text);

// Adds what differs in sets, chains and rules.
void compare_structure(const kernel::nft::Contents& there, const Structure& wanted, Repair& repair);

// The orders that the kernel's slots suggest for the pools of the plan: what is right stays where it is.
[[nodiscard]] SlotOrders adopt_slots(const Observed& observed, const plan::Plan& plan);

// All elements that the plan wants, but for those of sets that rules write to.
void render_everything(const plan::Plan& plan, const SlotOrders& slots, Counting counting, ElementSink& sink);
[[nodiscard]] std::map<SetRef, kernel::nft::Elements> expected_elements(const plan::Plan& plan, const SlotOrders& slots,
                                                                        Counting counting);

// Adds the pieces for what differs in one set; what is absent on a side counts as empty there.
void compare_elements(const SetRef& set, const Differing& differing, net::Family family,
                      std::map<std::string, Piece>& by_destination, Repair& repair);

// The destination with which a key of this lane begins.
[[nodiscard]] plan::DestinationKey destination_from(Lane lane, std::span<const std::uint8_t> bytes, net::Family family);
// The destination that all elements of a piece lead to; absent for pieces of another kind.
[[nodiscard]] std::optional<plan::DestinationKey> destination_of(const Piece& piece, net::Family family);

}  // namespace ghostip::dataplane::nftables
