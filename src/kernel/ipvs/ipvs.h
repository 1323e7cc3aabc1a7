// The virtual servers of a network namespace (IPVS): services, each with its destinations. List them, change many at
// once, the timeouts of connections. There is no call that removes everything, so that nobody takes away what is not
// theirs.
//
// The kernel has no transactions: each command is carried out or refused by itself. Owned by one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"

namespace ghostip::kernel::ipvs {

// What a packet is matched by: address, protocol and port, or a firewall mark.
struct ServiceKey {
    net::IpAddress address;  // of a mark: the unspecified address of its family
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;
    // Not 0: packets with this mark, whatever their protocol and port. Such services can be listed and taken away.
    std::uint32_t mark = 0;

    friend auto operator<=>(const ServiceKey&, const ServiceKey&) = default;
};
// "TCP 10.0.0.1:80", "mark 7 (IPv6)".
[[nodiscard]] std::string text(const ServiceKey& key);

// Of a service (linux/ip_vs.h). What the three of the scheduler mean is the scheduler's: sh takes the first for falling
// back to another destination and the second for hashing the port too; so does mh.
inline constexpr std::uint32_t kPersistent = 0x1;
inline constexpr std::uint32_t kOnePacket = 0x4;
inline constexpr std::uint32_t kScheduler1 = 0x8;
inline constexpr std::uint32_t kScheduler2 = 0x10;
inline constexpr std::uint32_t kScheduler3 = 0x20;
// The kernel adds it to each that can be found. It is nobody's wish and is left out of what is listed here.
inline constexpr std::uint32_t kHashed = 0x2;

inline constexpr int kAllBits = -1;

struct Service {
    ServiceKey key;
    std::string scheduler = "rr";
    std::uint32_t flags = 0;
    std::uint32_t timeout_seconds = 0;  // how long a client sticks, where kPersistent is set
    // Clients whose addresses have so many leading bits in common stick together: 0 (for IPv6: 1) to one less than an
    // address has, or kAllBits. A foreign mask that is no prefix is told by its leading bits.
    int client_bits = kAllBits;
    std::string engine;  // of persistence ("sip"); ours have none

    friend auto operator<=>(const Service&, const Service&) = default;
};

enum class Forwarding : std::uint8_t { kMasquerade = 0, kLocal = 1, kTunnel = 2, kRoute = 3, kBypass = 4 };

struct DestinationKey {
    net::IpAddress address;
    std::uint16_t port = 0;

    friend auto operator<=>(const DestinationKey&, const DestinationKey&) = default;
};

struct Destination {
    DestinationKey key;
    Forwarding forwarding = Forwarding::kMasquerade;
    std::uint32_t weight = 1;           // 0: nothing new; most 2^31 - 1
    std::uint32_t upper_threshold = 0;  // connections; 0: no limit
    std::uint32_t lower_threshold = 0;
    // What the kernel counts; not written.
    struct Connections {
        std::uint32_t active = 0;
        std::uint32_t inactive = 0;
        std::uint32_t persistent = 0;  // templates of persistence
        friend auto operator<=>(const Connections&, const Connections&) = default;
    } connections;

    friend auto operator<=>(const Destination&, const Destination&) = default;
};

enum class Verb : std::uint8_t {
    kNewService,         // EEXIST: it is there; ENOENT: the kernel knows no such scheduler
    kSetService,         // ESRCH: it is not there; ENOENT as above
    kDeleteService,      // with its destinations; ESRCH
    kNewDestination,     // EEXIST; ESRCH: no such service; EINVAL: the address is neither this host's nor unicast
    kSetDestination,     // ENOENT: it is not there; ESRCH
    kDeleteDestination,  // ENOENT; ESRCH. Connections to it stay until they end, and count for one like it that comes
};

struct Command {
    Verb verb = Verb::kNewService;
    Service service;          // only its key matters unless the verb is about a service's attributes
    Destination destination;  // only its key matters to kDeleteDestination
};
// "add destination 10.0.0.2:8080 to TCP 10.0.0.1:80".
[[nodiscard]] std::string text(const Command& command);

struct Refusal {
    std::size_t command = 0;  // which, from 0
    Error error;              // names the object; the code is the kernel's
};

struct ServiceState {
    Service service;
    std::vector<Destination> destinations;
};

struct Info {
    std::uint32_t version = 0;           // 0x10201: 1.2.1
    std::uint32_t connection_table = 0;  // size of its hash table
};

// For connections; seconds. 0 in set_timeouts() leaves one as it is.
struct Timeouts {
    std::uint32_t tcp = 0;
    std::uint32_t tcp_fin = 0;
    std::uint32_t udp = 0;

    friend bool operator==(const Timeouts&, const Timeouts&) = default;
};

class Ipvs {
  public:
    virtual ~Ipvs() = default;

    // Every call fails with ENOENT and the same words where the kernel has no IPVS.
    [[nodiscard]] virtual Result<Info> info() = 0;
    // All services, foreign ones too, in no order. One that is there all the time is in it once.
    [[nodiscard]] virtual Result<std::vector<Service>> services() = 0;
    // Is there such a service?
    [[nodiscard]] virtual Result<bool> contains(const ServiceKey& service) = 0;
    // The destinations of one service; none, too, if there is no such service.
    [[nodiscard]] virtual Result<std::vector<Destination>> destinations(const ServiceKey& service) = 0;
    // Carries out the commands in their order. What was refused is in the answer, in that order; all else was done. An
    // error means that it is not known what was done.
    [[nodiscard]] virtual Result<std::vector<Refusal>> apply(std::span<const Command> commands) = 0;
    [[nodiscard]] virtual Result<Timeouts> timeouts() = 0;
    [[nodiscard]] virtual Result<void> set_timeouts(const Timeouts& timeouts) = 0;

    // Services with their destinations.
    [[nodiscard]] Result<std::vector<ServiceState>> contents();
};

}  // namespace ghostip::kernel::ipvs
