// What the kernel holds of table `ghostip`, and in which elements that differs from what it should hold.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/nftables/element_changes.h"
#include "dataplane/nftables/names.h"
#include "dataplane/nftables/structure.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

struct Observed {
    kernel::nft::Contents structure;
    // Of all sets that are declared as this layout declares them, but for those that rules write to.
    std::map<SetRef, kernel::nft::Elements> elements;
    // Sets with an element that matches every key, which is somebody else's.
    std::set<SetRef> catch_alls;
    // False: something changed while elements were read, so some may be missing and some gone by now.
    bool consistent = true;
};

// Reads everything that is there, and of large maps of endpoints all that a packet could find: the slots of every
// destination that the plan or one of the classes has, looked up one by one. The kernel begins each part of a dump at
// the set's start, so that a dump costs the square of the size: a million elements take 40 s, their look-ups 3. Absent:
// there is no table.
[[nodiscard]] Result<std::optional<Observed>> observe(kernel::nft::Kernel& kernel, const plan::Plan& plan,
                                                      std::size_t largest_dump);
// Of the sets of this layout that are there.
[[nodiscard]] Result<std::set<SetRef>> find_catch_alls(kernel::nft::Kernel& kernel, net::Family family,
                                                       const kernel::nft::Contents& contents);
// How many elements the plan has in the map of endpoints of a lane.
[[nodiscard]] std::size_t endpoints_of(const plan::Plan& plan, Lane lane);
// Is the set there as declared? The comment does not matter.
[[nodiscard]] bool is_declared(const kernel::nft::Contents& contents, const kernel::nft::Set& set);
// The classes of this layout that have their sets there: what this program made, or an earlier run of it.
[[nodiscard]] Classes classes_in(const kernel::nft::Contents& contents, net::Family family);

// The endpoints of each destination by slot, in one of the maps `endpoints`.
class ObservedSlots {
  public:
    ObservedSlots(const Observed& observed, net::Family family);
    // In the order of slots; empty if there are none, or holes among them.
    [[nodiscard]] Slots of(Lane lane, const plan::DestinationKey& key) const;

  private:
    const net::Family family_;
    struct Map {
        const kernel::nft::Elements* elements = nullptr;
        std::vector<std::uint32_t> order;  // of elements, by their bytes
    };
    std::map<Lane, Map> maps_;
};

// Elements of one set that only one side has. A map's element whose data differs is in both.
struct Differing {
    kernel::nft::Elements only_observed;
    kernel::nft::Elements only_expected;
};
[[nodiscard]] Differing compare(const kernel::nft::Elements& observed, const kernel::nft::Elements& expected);
// The same, where `observed` cannot be trusted: what seems to differ is looked up one by one.
[[nodiscard]] Result<Differing> verify(kernel::nft::Kernel& kernel, net::Family family, const SetRef& set,
                                       const Differing& seeming);

}  // namespace ghostip::dataplane::nftables
