// What the kernel holds for one packet, read back and compared with the plan: `ghostip explain --live`.
//
// Looks at chains as a whole, and of what grows only at the elements that this packet can meet.
#pragma once

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/leads.h"

namespace ghostip::kernel::nft {
class Kernel;
}

namespace ghostip::dataplane::nftables {

[[nodiscard]] Result<Sighting> sight(kernel::nft::Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey);
// In the network namespace of the calling thread.
[[nodiscard]] Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options);

// The first endpoint of each map that packets to this destination are looked up in.
[[nodiscard]] Result<Leads> leads(kernel::nft::Kernel& kernel, net::Family family,
                                  const plan::Destination* destination);
[[nodiscard]] Result<Leads> leads(net::Family family, const plan::Destination* destination);

}  // namespace ghostip::dataplane::nftables
