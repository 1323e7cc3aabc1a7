#include "plan/service_range.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace ghostip::plan {
namespace {

// The least address of the range among these, whatever their order: the answer depends on what is there alone.
std::optional<net::IpAddress> least_inside(const net::Prefix& range, const std::vector<net::IpAddress>& addresses) {
    std::optional<net::IpAddress> least;
    for (const auto& address : addresses)
        if (range.contains(address) && (!least || address < *least)) least = address;
    return least;
}

std::optional<net::Prefix> overlapping(const net::Prefix& range, const std::vector<net::Prefix>& others) {
    const auto found = std::find_if(others.begin(), others.end(), [&](const auto& other) {
        return range.contains(other.address) || other.contains(range.address);
    });
    if (found == others.end()) return std::nullopt;
    return *found;
}

std::optional<net::IpAddress> first_inside(const net::Prefix& range, const LocalPods* pods) {
    if (pods == nullptr) return std::nullopt;
    const auto found = pods->lower_bound(range.address);
    if (found == pods->end() || !range.contains(found->first)) return std::nullopt;
    return found->first;
}

std::string_view occupant_text(Occupant occupant) {
    switch (occupant) {
        case Occupant::kNode: return "an address of this node";
        case Occupant::kGateway: return "a gateway of this node";
        case Occupant::kApiServer: return "an address of the API server";
        case Occupant::kPodRange: return "a pod range of this node";
        case Occupant::kPod: return "a pod on this node";
    }
    return "?";
}

}  // namespace

std::string UndroppedRange::text() const {
    const bool one = example.length == net::address_bits(example.family());
    return fmt::format(
        "service range {} overlaps with {} ({}): packets to its addresses that no Service has are not dropped",
        range.text(), one ? example.address.text() : example.text(), occupant_text(occupant));
}

std::optional<UndroppedRange> find_occupant(const net::Prefix& range, const RangeOccupants& occupants) {
    const auto by = [&](Occupant occupant, const std::optional<net::IpAddress>& address) {
        return UndroppedRange{range, occupant, net::Prefix::host(*address)};
    };
    if (const auto found = least_inside(range, occupants.node)) return by(Occupant::kNode, found);
    if (const auto found = least_inside(range, occupants.gateways)) return by(Occupant::kGateway, found);
    if (const auto found = least_inside(range, occupants.api_servers)) return by(Occupant::kApiServer, found);
    if (const auto found = overlapping(range, occupants.pod_ranges))
        return UndroppedRange{range, Occupant::kPodRange, *found};
    if (const auto found = first_inside(range, occupants.pods)) return by(Occupant::kPod, found);
    return std::nullopt;
}

}  // namespace ghostip::plan
