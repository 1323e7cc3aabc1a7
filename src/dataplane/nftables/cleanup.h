// Removes every trace of the nftables mode.
#pragma once

#include "base/result.h"

namespace ghostip::kernel::nft {
class Kernel;
}

namespace ghostip::dataplane::nftables {

// Both families; fine when there is nothing. Connections that were translated stay so: conntrack knows them.
[[nodiscard]] Result<void> cleanup();
[[nodiscard]] Result<void> cleanup(kernel::nft::Kernel& kernel);

}  // namespace ghostip::dataplane::nftables
