// What a relay knows of clients, as values that go from one relay to the next, also in another process. Times are those
// that have passed, so that no two clocks have to agree.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "relay/listener.h"
#include "relay/socket_address.h"

namespace ghostip::relay {

// Where a client address goes, of a pool with affinity.
struct Affinity {
    net::IpAddress client;
    SocketAddress endpoint;
    std::chrono::milliseconds unused{};  // since it went there last; 0 to 2^32 - 1

    friend bool operator==(const Affinity&, const Affinity&) = default;
};

// Whose datagrams belong together, and where they go.
struct UdpFlow {
    std::uint16_t socket = 0;  // among those of the listener, in the order of Relay::duplicate() and adopt()
    SocketAddress client;
    std::uint32_t client_scope = 0;  // interface of a link-local client
    SocketAddress local;             // what the client has asked, and is answered from
    std::uint32_t local_scope = 0;
    SocketAddress endpoint;

    friend bool operator==(const UdpFlow&, const UdpFlow&) = default;
};

// A UDP session that no thread has. Answers that come meanwhile wait in its socket.
struct UdpClient {
    ListenerId listener{};
    UdpFlow flow;
    Fd socket;  // connected to the endpoint, which knows the client by its port
};

// --- by names that mean the same to both processes

struct NamedAffinity {
    std::string service;  // 1 to 255 bytes
    Affinity affinity;

    friend bool operator==(const NamedAffinity&, const NamedAffinity&) = default;
};

struct NamedFlow {
    std::string listener;
    UdpFlow flow;

    friend bool operator==(const NamedFlow&, const NamedFlow&) = default;
};

struct NamedSession {
    NamedFlow of;
    Fd socket;
};

struct Clients {
    std::vector<NamedAffinity> affinities;
    std::vector<NamedSession> sessions;

    // More than that do not go from one process to another.
    static constexpr std::size_t kMostAffinities = std::size_t{1} << 18;
    static constexpr std::size_t kMostSessions = std::size_t{1} << 16;
};

}  // namespace ghostip::relay
