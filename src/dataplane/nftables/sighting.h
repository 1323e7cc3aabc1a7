// What the kernel holds for one packet, read back and compared with the plan: `ghostip explain --live`.
//
// Looks at chains as a whole, and of what grows only at the elements that this packet can meet.
#pragma once

#include "base/result.h"
#include "dataplane/dataplane.h"

namespace ghostip::kernel::nft {
class Kernel;
}

namespace ghostip::dataplane::nftables {

[[nodiscard]] Result<Sighting> sight(kernel::nft::Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey);
// In the network namespace of the calling thread.
[[nodiscard]] Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options);

}  // namespace ghostip::dataplane::nftables
