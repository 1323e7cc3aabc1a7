// Session affinity outlives the endpoints that it names: entries in the stuck-… maps are written by rules and known to
// nobody else. After a commit that takes endpoints from sticky pools, those entries are looked for and deleted.
//
// Between the commit and this clean-up (milliseconds) a stuck client can still be sent to the endpoint that just left;
// it cannot be remembered there again.
#pragma once

#include <vector>

#include "base/result.h"
#include "kernel/nft/kernel.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// Costs nothing if no sticky pool lost an endpoint; else one dump of each stuck-… map concerned.
[[nodiscard]] Result<void> forget_stuck_clients(kernel::nft::Kernel& kernel, net::Family family,
                                                const plan::Delta& delta);

// The entries in the kernel that `plan` would still allow, to be carried over when the table is replaced: a client goes
// where it went before, also when this process was restarted. Their time-outs begin anew.
[[nodiscard]] Result<std::vector<kernel::nft::Elements>> remembered_clients(kernel::nft::Kernel& kernel,
                                                                            const plan::Plan& plan);

}  // namespace ghostip::dataplane::nftables
