// What the rules of this mode have counted, for metrics.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "kernel/nfacct/nfacct.h"

namespace ghostip::dataplane::iptables {

// Packets since the counters were made. Both families count in the same.
struct Counters {
    std::uint64_t invalid_dropped = 0;      // of connections whose state conntrack finds invalid
    std::uint64_t loopback_node_ports = 0;  // first ones, to a node port on loopback
};
// A counter that is not there stands at 0.
[[nodiscard]] Result<Counters> read_counters(kernel::nfacct::Nfacct& counters);
// In the network namespace of the calling thread.
[[nodiscard]] Result<Counters> read_counters();

// Mode::packet_counts: by their names in the kernel; none where they cannot be read.
[[nodiscard]] std::vector<PacketCount> packet_counts();

}  // namespace ghostip::dataplane::iptables
