#include "dataplane/iptables/counters.h"

#include "dataplane/iptables/names.h"
#include "kernel/nfacct/linux.h"

namespace ghostip::dataplane::iptables {

Result<Counters> read_counters(kernel::nfacct::Nfacct& counters) {
    ASSIGN_OR_RETURN(const auto dropped, counters.read(kInvalidDropped));
    ASSIGN_OR_RETURN(const auto accepted, counters.read(kLoopbackNodePorts));
    return Counters{dropped ? dropped->packets : 0, accepted ? accepted->packets : 0};
}

Result<Counters> read_counters() {
    ASSIGN_OR_RETURN(const auto counters, kernel::nfacct::LinuxNfacct::open());
    return read_counters(*counters);
}

std::vector<PacketCount> packet_counts() {
    const auto counters = read_counters();
    if (!counters) return {};
    return {{kInvalidDropped, counters->invalid_dropped}, {kLoopbackNodePorts, counters->loopback_node_ports}};
}

}  // namespace ghostip::dataplane::iptables
