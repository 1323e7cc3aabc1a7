// Whether this host can do it, found by trying it out; nothing of a trial is left behind.
#pragma once

#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "kernel/ipset/ipset.h"
#include "kernel/iptables/iptables.h"
#include "kernel/ipvs/ipvs.h"
#include "kernel/link/link.h"
#include "net/address.h"

namespace ghostip::dataplane::ipvs {

// One sentence for each thing that is missing; empty = supported.
[[nodiscard]] std::vector<std::string> missing(net::Family family, const Options& options);

// The parts; absent: it is not missing.
[[nodiscard]] std::optional<std::string> lacks_scheduler(kernel::ipvs::Ipvs& ipvs, net::Family family,
                                                         const std::string& scheduler);
[[nodiscard]] std::vector<std::string> lacks_sets(kernel::ipset::Sets& sets, net::Family family);
[[nodiscard]] std::optional<std::string> lacks_device(kernel::link::Links& links);
// Of rules that ask sets.
[[nodiscard]] std::vector<std::string> lacks_rules(kernel::iptables::Iptables& iptables, kernel::ipset::Sets& sets);

}  // namespace ghostip::dataplane::ipvs
