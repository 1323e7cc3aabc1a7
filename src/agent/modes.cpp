#include "agent/modes.h"

#include <array>

#include "dataplane/iptables/dataplane.h"
#include "dataplane/ipvs/dataplane.h"
#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/sighting.h"
#include "dataplane/userspace/dataplane.h"

namespace ghostip::agent {

std::span<const dataplane::Mode> modes() {
    static const std::array<dataplane::Mode, 4> table{
        dataplane::nftables::mode(), dataplane::iptables::mode(), dataplane::ipvs::mode(),
        dataplane::userspace::mode(dataplane::nftables::mode(), dataplane::nftables::leads)};
    return table;
}

const dataplane::Mode* find_mode(std::string_view name) {
    for (const auto& mode : modes())
        if (mode.name == name) return &mode;
    return nullptr;
}

}  // namespace ghostip::agent
