// Session affinity outlives the endpoints that it names: entries in the stuck-… maps are written by rules and known to
// nobody else. After a commit that takes endpoints from sticky pools, those entries are looked for and deleted.
//
// Between the commit and this clean-up (milliseconds) a stuck client can still be sent to the endpoint that just left;
// it cannot be remembered there again.
#pragma once

#include <map>
#include <mutex>
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

// Who may be stuck where, for every sticky destination that a delta touches.
struct StickyChange {
    StaleClients now;
    bool somebody_left = false;  // some client may be stuck to an endpoint that left
};
[[nodiscard]] StickyChange sticky_change(const plan::Delta& delta);
// Everybody whom the plan does not allow, in the maps of these classes.
[[nodiscard]] StaleClients stale_clients(const plan::Plan& plan, const Classes& classes);

// Looks for stale clients: one dump of each map concerned, which takes seconds where there are hundreds of thousands.
// One sweep at a time and one that waits; what changes meanwhile is taken into account, so that nobody is forgotten who
// may stay by now. add() belongs to the dataplane's thread, run() to another.
class ClientSweep {
  public:
    // True: a run() has to be asked for; else one that waits will do it, or there is nothing to do.
    [[nodiscard]] bool add(const StickyChange& change);
    [[nodiscard]] Result<void> run(kernel::nft::Kernel& kernel, net::Family family);

  private:
    void merge(const StaleClients& more);
    [[nodiscard]] StaleClients::Valid with_news(const SetRef& map, StaleClients::Valid valid);

    std::mutex mutex_;
    StaleClients words_;    // guarded by mutex_; what the next run has to look at, and news for the one under way
    bool waiting_ = false;  // guarded by mutex_
    bool running_ = false;  // guarded by mutex_
};

// The entries in the kernel that `plan` would still allow, to be carried over when the table is made anew: a client
// goes where it went before. Their time-outs begin anew.
[[nodiscard]] Result<std::vector<kernel::nft::Elements>> remembered_clients(kernel::nft::Kernel& kernel,
                                                                            const plan::Plan& plan);

}  // namespace ghostip::dataplane::nftables
