// Can this host do it, and if not, exactly why. Found by giving the kernel a rule of each kind in a chain of its own,
// which is removed again; no version is compared.
#pragma once

#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "kernel/iptables/iptables.h"
#include "net/address.h"

namespace ghostip::dataplane::iptables {

// One sentence for each thing that is missing; empty = supported. Session affinity and counters do not count: services
// go on without them.
[[nodiscard]] std::vector<std::string> missing(net::Family family, const Options& options);
[[nodiscard]] std::vector<std::string> missing(kernel::iptables::Iptables& iptables);

}  // namespace ghostip::dataplane::iptables
