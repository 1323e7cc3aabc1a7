#include "dataplane/nftables/counts.h"

#include <cerrno>

#include "dataplane/nftables/names.h"
#include "dataplane/nftables/reconcile.h"
#include "kernel/nft/linux.h"

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

Result<std::vector<PacketCount>> read_packet_counts(kernel::nft::Kernel& kernel, net::Family family) {
    std::vector<PacketCount> counts;
    ASSIGN_OR_RETURN(const auto dump, kernel.read_counts(table(family), declare({SetRole::kNotRelayed})));
    for (std::size_t i = 0; i < dump.elements.count(); ++i)
        counts.push_back({.name = std::string(kLocalhostNodePortsRejected),
                          .packets = dump.counts[i].packets,
                          .family = family,
                          .protocol = static_cast<net::Protocol>(dump.elements.at(i)[0])});
    return counts;
}

std::vector<PacketCount> packet_counts() {
    std::vector<PacketCount> all;
    for (const auto family : net::kFamilies) {
        auto kernel = kernel::nft::LinuxKernel::open();
        if (!kernel) return {};
        if (const auto counts = read_packet_counts(**kernel, family))
            all.insert(all.end(), counts->begin(), counts->end());
    }
    return all;
}

}  // namespace ghostip::dataplane::nftables
