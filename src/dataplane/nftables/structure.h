// The part of the ruleset that does not grow with services: chains, rules and the declarations of sets. It depends on
// the node's rules and on which classes of things occur at all (a size class of pools, a time-out, a prefix length).
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "dataplane/nftables/names.h"
#include "kernel/nft/model.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// What occurs. Classes come when first needed and stay until the next replace().
struct Classes {
    std::array<std::set<std::uint32_t>, 4> pool_sizes;        // by Lane: powers of two
    std::array<std::set<std::uint32_t>, 4> affinity_seconds;  // by Lane
    std::set<std::uint32_t> source_lengths;                   // prefix lengths of allowed sources, bits

    friend bool operator==(const Classes&, const Classes&) = default;
};

void add_classes(const Classes& more, Classes& to);

// The class of a pool: the power of two at or above its size.
[[nodiscard]] std::uint32_t size_class(std::size_t endpoints);

struct Structure {
    std::vector<kernel::nft::Set> sets;
    std::vector<kernel::nft::Chain> chains;  // those that others refer to come first; base chains last
};

// Whether packets and bytes are counted for each destination.
enum class Counting : std::uint8_t { kOff, kOn };

// Everything a renderer needs to know.
struct StructureInput {
    net::Family family;
    const plan::NodeRules& node;
    const Classes& classes;
    Counting counting = Counting::kOff;
};

[[nodiscard]] Structure render_structure(const StructureInput& input);

// One renderer a concern; each adds its chains.
void render_dispatch(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_endpoints(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_affinity(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_masquerade(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_firewall(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_no_endpoints(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);
void render_counters(const StructureInput& input, std::vector<kernel::nft::Chain>& chains);

}  // namespace ghostip::dataplane::nftables
