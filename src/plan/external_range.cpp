#include "plan/external_range.h"

#include <algorithm>

namespace ghostip::plan {

bool may_claim(const std::vector<ExternalRange>& ranges, std::string_view namespace_, const net::IpAddress& address) {
    if (ranges.empty()) return true;
    return std::any_of(ranges.begin(), ranges.end(), [&](const auto& allowed) {
        return (allowed.namespace_.empty() || allowed.namespace_ == namespace_) && allowed.range.contains(address);
    });
}

std::vector<Claimed> refuse(ServicePort& port, const std::vector<ExternalRange>& ranges) {
    std::vector<Claimed> refused;
    if (ranges.empty()) return refused;
    const auto take_out = [&](DestinationKind kind, std::vector<net::IpAddress>& addresses) {
        std::erase_if(addresses, [&](const auto& address) {
            if (may_claim(ranges, port.name.service.namespace_, address)) return false;
            refused.push_back({kind, {false, address, port.name.protocol, port.port}});
            return true;
        });
    };
    take_out(DestinationKind::kLoadBalancerIp, port.load_balancer_vips);
    take_out(DestinationKind::kExternalIp, port.external_ips);
    return refused;
}

}  // namespace ghostip::plan
