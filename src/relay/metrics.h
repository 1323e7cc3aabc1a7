// What a relay has counted: values, copied out of counters that each thread keeps for itself. Counters never go back;
// those of a service are gone with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ghostip::relay {

// Why a client got no endpoint. A connection that only waits is not refused.
enum class Refusal : std::uint8_t {
    kNoEndpoint,     // the pool is empty
    kDialFailed,     // no endpoint took the connection
    kServiceLimit,   // connections of the service
    kNoDescriptors,  // none was left for the way to the endpoint, until the last attempt
    kPolicy,         // the owner said refuse
    kDropped,        // the owner said drop
};
inline constexpr std::array<std::string_view, 6> kRefusalNames{"no_endpoint",    "dial_failed", "service_limit",
                                                               "no_descriptors", "policy",      "dropped"};

// Why a datagram went nowhere.
enum class DatagramLoss : std::uint8_t {
    kNoEndpoint,    // the pool is empty, or no endpoint's port was open
    kSessionLimit,  // of the relay, or of the client's address
    kNoResources,   // no descriptor or memory for a session
    kPolicy,        // the owner said refuse or drop
    kNotSent,       // the kernel did not take it
};
inline constexpr std::array<std::string_view, 5> kDatagramLossNames{"no_endpoint", "session_limit", "no_resources",
                                                                    "policy", "not_sent"};

// Upper bounds of the buckets, in seconds; one more has what took longer.
inline constexpr std::array<double, 12> kDurationBounds{0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 21600};

struct ServiceMetrics {
    std::uint64_t connections_opened = 0;   // an endpoint was reached
    std::uint64_t connections_open = 0;     // now; also those for which an endpoint is being dialled
    std::uint64_t connections_drained = 0;  // cut because their endpoint had left, or their service
    std::array<std::uint64_t, kRefusalNames.size()> refused{};  // by Refusal
    std::uint64_t dial_failures = 0;                            // attempts; time-outs too
    std::uint64_t dial_timeouts = 0;
    std::uint64_t bytes_to_endpoints = 0;  // TCP and UDP payload
    std::uint64_t bytes_to_clients = 0;
    std::array<std::uint64_t, kDurationBounds.size() + 1> durations{};  // of connections that ended; not cumulative
    double duration_seconds = 0;                                        // their sum

    std::uint64_t sessions_opened = 0;
    std::uint64_t sessions_open = 0;  // now
    std::uint64_t datagrams_to_endpoints = 0;
    std::uint64_t datagrams_to_clients = 0;
    std::array<std::uint64_t, kDatagramLossNames.size()> datagrams_lost{};  // by DatagramLoss
};

// Of the whole relay.
struct RelayMetrics {
    std::uint64_t connections_open = 0;
    std::uint64_t sessions_open = 0;
    std::uint64_t held_connections = 0;
    std::uint64_t accept_pauses_limit = 0;        // Limits::connections was reached
    std::uint64_t accept_pauses_descriptors = 0;  // no descriptors or memory were left
};

}  // namespace ghostip::relay
