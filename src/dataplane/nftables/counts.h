// What the counters of destinations say. Any thread that has a kernel of its own; the dataplane is not asked.
#pragma once

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

// Empty and incomplete where the sets that count are not there (yet).
[[nodiscard]] Result<DestinationCounts> read_counts(kernel::nft::Kernel& kernel, net::Family family);

// Mode::packet_counts: what was refused at node ports of localhost, by protocol.
[[nodiscard]] std::vector<PacketCount> packet_counts();
[[nodiscard]] Result<std::vector<PacketCount>> read_packet_counts(kernel::nft::Kernel& kernel, net::Family family);

}  // namespace ghostip::dataplane::nftables
