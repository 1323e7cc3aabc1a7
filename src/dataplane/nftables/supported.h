// Can this host do it, and if not, exactly why. Found by asking the kernel to check a small ruleset of each kind and to
// keep nothing of it; no version is compared.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"

namespace ghostip::kernel::nft {
class Kernel;
}

namespace ghostip::dataplane::nftables {

// One sentence for each thing that is missing; empty = supported. Leaves the kernel as it was.
[[nodiscard]] std::vector<std::string> missing(net::Family family);
[[nodiscard]] std::vector<std::string> missing(kernel::nft::Kernel& kernel, net::Family family);

// Can elements of this kernel's sets count the packets that find them? Nothing else depends on it.
[[nodiscard]] bool can_count(kernel::nft::Kernel& kernel, net::Family family);

}  // namespace ghostip::dataplane::nftables
