// Session affinity outlives the endpoints that it names: entries in the stuck-… maps are written by rules and known to
// nobody else. After a commit that takes endpoints from sticky pools, those entries are looked for and deleted.
//
// Between the commit and this clean-up (milliseconds) a stuck client can still be sent to the endpoint that just left;
// it cannot be remembered there again.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/nftables/names.h"
#include "dataplane/nftables/structure.h"
#include "kernel/nft/kernel.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// By map: destination -> endpoints that clients may be stuck to. Destinations that are not listed are left alone, or,
// in a list of everything, forgotten.
struct StaleClients {
    using Bytes = std::string;  // a byte string that orders and compares
    using Valid = std::map<Bytes, std::set<Bytes>>;
    std::map<SetRef, Valid> valid;
    bool lists_everything = false;

    [[nodiscard]] bool empty() const { return valid.empty(); }
};

// Whom a delta makes stale: nothing if no sticky pool lost an endpoint.
[[nodiscard]] StaleClients stale_clients(net::Family family, const plan::Delta& delta);
// Everybody whom the plan does not allow, in the maps of these classes.
[[nodiscard]] StaleClients stale_clients(const plan::Plan& plan, const Classes& classes);

// One dump of each map concerned, and the deletion of what is stale.
[[nodiscard]] Result<void> forget_stuck_clients(kernel::nft::Kernel& kernel, net::Family family,
                                                const StaleClients& stale);

// The entries in the kernel that `plan` would still allow, to be carried over when the table is made anew: a client
// goes where it went before. Their time-outs begin anew.
[[nodiscard]] Result<std::vector<kernel::nft::Elements>> remembered_clients(kernel::nft::Kernel& kernel,
                                                                            const plan::Plan& plan);

}  // namespace ghostip::dataplane::nftables
