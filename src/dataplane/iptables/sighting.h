// What the kernel holds for one packet, read back and compared with the plan: `ghostip explain --live`.
#pragma once

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

// Looks at the chains that the packet passes, and in those that all service ports share only at its own rules.
[[nodiscard]] Result<Sighting> sight(kernel::iptables::Iptables& iptables, const plan::Plan& plan,
                                     const plan::Journey& journey);
// In the network namespace of the calling thread.
[[nodiscard]] Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options);

}  // namespace ghostip::dataplane::iptables
