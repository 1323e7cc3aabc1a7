// Who may answer a service's clients, and how one of them is picked. A value: the owner replaces it as a whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "relay/proxy_protocol.h"
#include "relay/socket_address.h"

namespace ghostip::relay {

enum class Pick : std::uint8_t {
    kRoundRobin,  // exact over all threads, in an order shuffled whenever the set of endpoints changes
    kRandom,
};

struct Pool {
    std::vector<SocketAddress> endpoints = {};  // a repeated one counts once
    Pick pick = Pick::kRoundRobin;
    // A client address goes where it went last, if that is at most so long ago (sessionAffinity: ClientIP). Absent: no.
    std::optional<std::chrono::seconds> affinity = std::nullopt;
    ProxyProtocol proxy_protocol = ProxyProtocol::kNone;  // TCP only

    friend bool operator==(const Pool&, const Pool&) = default;
};

}  // namespace ghostip::relay
