// What other software on this host does to traffic of Services, told from its base chains: sentences for operators.
//
// A packet passes every base chain of a hook; one that drops it has the last word, and no rule of ours can take that
// back (nf_tables: a verdict of accept ends one base chain only). So there is nothing to do but to say it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/nft/other_chains.h"
#include "net/address.h"

namespace ghostip::agent {

// What there is to look at.
struct NeighbourFacts {
    std::vector<kernel::nft::OtherChain> chains;
    // Families whose FORWARD chain of iptables-legacy drops by policy; nf_tables does not know of it.
    std::vector<net::Family> legacy_forward_drops;
};

// One sentence for each thing that deserves a warning, in a stable order, so that callers can tell what is new since
// they last asked. `served`: the families that this node proxies. Chains of our own table are passed over.
[[nodiscard]] std::vector<std::string> neighbour_warnings(const NeighbourFacts& facts,
                                                          std::span<const net::Family> served);

// Asks the kernel, for the network namespace of the calling thread; blocks for some milliseconds.
[[nodiscard]] Result<NeighbourFacts> neighbour_facts();

}  // namespace ghostip::agent
