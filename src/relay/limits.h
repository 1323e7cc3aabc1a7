// What a relay may take of the machine. All of these hold whatever clients do; what happens beyond each is said here,
// and counted (metrics.h).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ghostip::relay {

struct Limits {
    // TCP connections of all services together. Beyond: nothing is accepted; clients wait in the backlog. Each takes
    // two descriptors, and two more for each direction in which bulk data flows just now.
    std::uint32_t connections = 65'536;
    // Of one service, where ServiceLimits does not say. Beyond: reset. 0: only the limit above.
    std::uint32_t connections_per_service = 0;
    // In each direction of a connection, between the two sockets' own buffers; pipes hold the next lower power of
    // two of pages. Beyond: the sender waits.
    std::size_t buffer_bytes = std::size_t{256} << 10U;
    // Of each listening socket, before the kernel's own limit (net.core.somaxconn). Beyond: the kernel drops SYNs.
    int backlog = 4096;
    // Clients (address and port) with a session. Beyond: datagrams of new ones are dropped.
    std::uint32_t udp_sessions = 16'384;
    std::uint32_t udp_sessions_per_client = 1'024;  // of one address
    // Clients that one service remembers for affinity. Beyond: the one not seen for longest is forgotten.
    std::uint32_t affinity_clients = 65'536;
    // Connections that are to be dropped, and so are held without an answer. Beyond: the oldest is reset.
    std::uint32_t held_connections = 1'024;

    friend bool operator==(const Limits&, const Limits&) = default;
};

struct ServiceLimits {
    std::uint32_t connections = 0;  // 0: Limits::connections_per_service

    friend bool operator==(const ServiceLimits&, const ServiceLimits&) = default;
};

struct Timeouts {
    // One attempt each, the next endpoint every time.
    std::array<std::chrono::milliseconds, 4> dial{std::chrono::milliseconds(250), std::chrono::milliseconds(500),
                                                  std::chrono::milliseconds(1000), std::chrono::milliseconds(2000)};
    // A UDP session ends when neither side has sent for so long.
    std::chrono::milliseconds udp_idle = std::chrono::seconds(30);
    // How long a connection that is to be dropped gets no answer, before it is reset.
    std::chrono::milliseconds hold = std::chrono::seconds(60);
    // A peer that is silent for so long is asked whether it is still there, and then so often, so many times.
    std::chrono::seconds keepalive_idle = std::chrono::seconds(120);
    std::chrono::seconds keepalive_interval = std::chrono::seconds(15);
    int keepalive_probes = 8;
};

}  // namespace ghostip::relay
