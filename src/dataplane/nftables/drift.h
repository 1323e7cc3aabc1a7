// Foreign writes to table `ghostip`: from the kernel's notifications to what has to be looked at.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/reconcile.h"
#include "kernel/nft/watch.h"

namespace ghostip::dataplane::nftables {

// "2 elements deleted from cluster-ips (10.96.0.1, 10.96.0.2), rules or declarations changed"
[[nodiscard]] std::string describe(const kernel::nft::ForeignWrite& write);

// Where the kernel may differ from what was written.
struct Suspicion {
    bool everything = false;
    bool structure = false;  // chains, rules, declarations of sets
    Focus focus;
};

[[nodiscard]] Suspicion suspicion_of(std::span<const ForeignWrite> writes, net::Family family);

// Opens the dataplane on the kernel of this network namespace.
[[nodiscard]] Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options);
// Mode::watch.
[[nodiscard]] Result<std::unique_ptr<DriftWatch>> watch_drift(std::span<Dataplane* const> instances);
// The same on any watch.
[[nodiscard]] std::unique_ptr<DriftWatch> drift_watch(std::unique_ptr<kernel::nft::Watch> watch);

}  // namespace ghostip::dataplane::nftables
