// Whether the addresses of a service range that no Service has may be dropped. Not where the range is also somebody
// else's: a range that was set wrongly must cost nobody the way to this node, its pods, its gateway or the API server.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::plan {

// Addresses of pods on this node, with the number of slices' entries that name one. Ordered, so that whether a range
// holds any of them takes one look.
using LocalPods = std::map<net::IpAddress, std::uint32_t>;

// In the order in which they are looked for: those that change least come first.
enum class Occupant : std::uint8_t { kNode, kGateway, kApiServer, kPodRange, kPod };

struct RangeOccupants {
    std::vector<net::IpAddress> node;
    std::vector<net::IpAddress> gateways;
    std::vector<net::IpAddress> api_servers;
    std::vector<net::Prefix> pod_ranges;  // Node spec.podCIDRs
    const LocalPods* pods = nullptr;      // null: none
};

// A service range whose unowned addresses are left alone.
struct UndroppedRange {
    net::Prefix range;
    Occupant occupant = Occupant::kNode;
    net::Prefix example;  // what was found in it; a whole prefix is one address

    // One sentence for a log.
    [[nodiscard]] std::string text() const;
    // Without the example: pods come and go, and none of it changes what is done.
    friend bool operator==(const UndroppedRange& a, const UndroppedRange& b) {
        return a.range == b.range && a.occupant == b.occupant;
    }
};

// Nothing if the range is the Services' own.
[[nodiscard]] std::optional<UndroppedRange> find_occupant(const net::Prefix& range, const RangeOccupants& occupants);

}  // namespace ghostip::plan
