// Removes every trace of this mode, of both families, and nothing of anybody else: virtual servers that no set names
// stay, and so does everything where what only we make (GHOSTIP-EXTERNAL-LOCAL, GHOSTIP-NODE-ADDRESSES) is missing: it
// is kube-proxy's. Sysctls stay as they are.
#pragma once

#include "base/result.h"
#include "kernel/ipset/ipset.h"
#include "kernel/iptables/iptables.h"
#include "kernel/ipvs/ipvs.h"
#include "kernel/link/link.h"

namespace ghostip::dataplane::ipvs {

// From the calling thread's network namespace.
[[nodiscard]] Result<void> cleanup();

// The parts, in the order in which they go; the sets last, because they say what is ours and rules ask them.
[[nodiscard]] Result<void> clean_rules(kernel::iptables::Iptables& iptables);
// Are the sets this program's, and so the device and the virtual servers that they name?
[[nodiscard]] Result<bool> are_ours(kernel::ipset::Sets& sets);
// Virtual servers that the sets name.
[[nodiscard]] Result<std::vector<kernel::ipvs::Service>> own_servers(kernel::ipvs::Ipvs& ipvs,
                                                                     kernel::ipset::Sets& sets,
                                                                     kernel::link::Links& links);
[[nodiscard]] Result<void> clean_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets,
                                         kernel::link::Links& links);
[[nodiscard]] Result<void> clean_sets(kernel::ipset::Sets& sets);

}  // namespace ghostip::dataplane::ipvs
