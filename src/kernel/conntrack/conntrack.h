// The UDP flows that the kernel tracks: list them, remove one. Nothing here can touch a flow of another protocol.
//
// Conntrack remembers a flow by two tuples: what the first packet said (original), and what an answer to it says before
// any translation is undone (reply). Who answers is therefore the reply's source, whether or not the flow's source is
// rewritten too. Owned by one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::conntrack {

struct End {
    net::IpAddress address;
    std::uint16_t port = 0;

    friend auto operator<=>(const End&, const End&) = default;
};

struct Tuple {
    End source;
    End destination;

    friend auto operator<=>(const Tuple&, const Tuple&) = default;
};

// A zone that holds for one direction only is told with that direction. 0 is the zone of who asks for none.
struct Zones {
    std::uint16_t both = 0;
    std::uint16_t original = 0;
    std::uint16_t reply = 0;

    friend auto operator<=>(const Zones&, const Zones&) = default;
};

struct Entry {
    Tuple original;
    Tuple reply;
    Zones zones;
    std::uint32_t id = 0;  // CTA_ID; another entry may get it later, see put_removal()

    friend auto operator<=>(const Entry&, const Entry&) = default;
};

// What the original direction must have; what is absent does not matter. All zones.
struct Filter {
    net::Family family = net::Family::kIpv4;
    std::optional<net::IpAddress> destination;
    std::optional<std::uint16_t> destination_port;

    friend bool operator==(const Filter&, const Filter&) = default;
};
[[nodiscard]] bool matches(const Filter& filter, const Entry& entry);

// Asked about each entry that the filter lets through; those that it refuses take no memory.
using Wanted = std::function<bool(const Entry&)>;

class Conntrack {
  public:
    virtual ~Conntrack() = default;

    // The entries of the filter that are wanted. One that stays through the dump is in it, maybe twice.
    [[nodiscard]] virtual Result<std::vector<Entry>> dump(const Filter& filter, const Wanted& wanted) = 0;
    // Removes exactly this entry. False: it is not there any more, which includes that a new flow has taken its place.
    [[nodiscard]] virtual Result<bool> remove(const Entry& entry) = 0;
};

}  // namespace ghostip::kernel::conntrack
