// Where clients arrive: an address that the relay listens on, and what its owner is asked about each of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "net/protocol.h"
#include "relay/socket_address.h"

namespace ghostip::relay {

// Given by the relay; never 0, never used twice.
enum class ServiceId : std::uint64_t {};
enum class ListenerId : std::uint64_t {};

// A TCP connection that was accepted, or the first datagram of a UDP client.
struct Arrival {
    ListenerId listener{};
    net::Protocol protocol = net::Protocol::kTcp;
    SocketAddress client;
    SocketAddress local;  // what the packet was addressed to when it reached the socket
    // What the client dialled: before translation for TCP (SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST). The same as `local`
    // if nothing was translated, and always for UDP, where the kernel does not tell.
    SocketAddress destination;
};

struct Answer {
    enum class Verdict : std::uint8_t {
        kServe,
        kRefuse,  // TCP: reset. UDP: no answer; a process cannot send "port unreachable"
        kDrop,    // TCP: accepted by the kernel already, so held without a byte for Timeouts::hold, then reset. UDP: no
                  // answer
    };
    Verdict verdict = Verdict::kServe;
    ServiceId service{};  // by whose pool, and who counts it; 0 or unknown is the listener's

    [[nodiscard]] static Answer serve(ServiceId service) { return {Verdict::kServe, service}; }
    [[nodiscard]] static Answer refuse() { return {Verdict::kRefuse, {}}; }
    [[nodiscard]] static Answer drop() { return {Verdict::kDrop, {}}; }
};

// Asked on the relay's threads, several at a time; must not wait for anything and must not call the relay.
using Ask = std::function<Answer(const Arrival&)>;

// kTransparent: packets to any address are taken as if it were this host's, where a TPROXY rule leads them here, and
// are answered from it (IP_TRANSPARENT; needs CAP_NET_ADMIN).
enum class Destinations : std::uint8_t { kOwn, kTransparent };

// kHeld: another process serves at the adopted sockets, until Relay::resume().
enum class Begin : std::uint8_t { kServing, kHeld };

// kShared: sockets of this user that allow it (SO_REUSEPORT) may be at the same port, such as those of a predecessor
// which listens at an address that includes this one. kOwn: a port that anybody else has is refused.
enum class PortUse : std::uint8_t { kOwn, kShared };

struct ListenerSpec {
    net::Protocol protocol = net::Protocol::kTcp;  // TCP or UDP
    SocketAddress address = {};                    // port 0: any free one. An IPv6 wildcard takes IPv6 only
    ServiceId service{};                           // whose clients these are, where `ask` does not say otherwise
    Ask ask = nullptr;                             // null: all are served
    Destinations destinations = Destinations::kOwn;
    // Sockets that share the address (SO_REUSEPORT), each served by one thread. 0: one for each thread. Fewer save
    // descriptors where there are many listeners; TCP connections still spread over all threads then, UDP clients do
    // not.
    unsigned sockets = 0;
    Begin begin = Begin::kServing;
    PortUse port = PortUse::kOwn;
};

}  // namespace ghostip::relay
