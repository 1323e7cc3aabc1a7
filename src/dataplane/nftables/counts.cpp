#include "dataplane/nftables/counts.h"

#include <cerrno>

#include "dataplane/nftables/names.h"
#include "dataplane/nftables/reconcile.h"

namespace ghostip::dataplane::nftables {

Result<DestinationCounts> read_counts(kernel::nft::Kernel& kernel, net::Family family) {
    DestinationCounts result;
    for (const Lane lane : {Lane::kAddress, Lane::kNodePort}) {
        const SetRef set{SetRole::kCounted, lane};
        const auto dump = kernel.read_counts(table(family), declare(set));
        if (!dump && dump.error().code == ENOENT) {
            result.complete = false;
            continue;
        }
        if (!dump) return dump.error();
        result.complete = result.complete && dump->consistent;
        for (std::size_t i = 0; i < dump->elements.count(); ++i)
            result.counts.push_back(
                {destination_from(lane, dump->elements.at(i), family), dump->counts[i].packets, dump->counts[i].bytes});
    }
    return result;
}

}  // namespace ghostip::dataplane::nftables
