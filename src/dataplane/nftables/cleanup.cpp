#include "dataplane/nftables/cleanup.h"

#include <cerrno>

#include "dataplane/nftables/names.h"
#include "kernel/nft/linux.h"

namespace ghostip::dataplane::nftables {

Result<void> cleanup(kernel::nft::Kernel& kernel) {
    for (const auto family : net::kFamilies) {
        for (const auto& one : {table(family), handover_table(family)}) {
            const auto result = kernel.commit({one, {kernel::nft::DeleteTable{}}});
            if (!result && result.error().code != ENOENT) return result.error();
        }
    }
    return {};
}

Result<void> cleanup() {
    ASSIGN_OR_RETURN(const auto kernel, kernel::nft::LinuxKernel::open());
    return cleanup(*kernel);
}

}  // namespace ghostip::dataplane::nftables
