// What is asked of a mode that carries traffic in this process, beside a plan.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "plan/service_port.h"
#include "relay/limits.h"
#include "relay/pool.h"

namespace ghostip::dataplane {

class Carrier;

// A listener that somebody asked for: clients there are those of a Service's cluster IP.
struct ListenRequest {
    plan::ServiceName service;
    std::string port;  // of the Service: its name or number; empty: each
    relay::SocketAddress at;

    // `default/web:http=127.0.0.1:8080`
    [[nodiscard]] std::string text() const;
    friend bool operator==(const ListenRequest&, const ListenRequest&) = default;
};

struct RelayOptions {
    unsigned threads = 0;  // 0: one a core that this process may use
    relay::Limits limits = {};
    relay::Timeouts timeouts = {};
    // How long a connection goes on when its endpoint has left. Absent: until it ends.
    std::optional<std::chrono::milliseconds> drain = std::nullopt;
    relay::Pick pick = relay::Pick::kRoundRobin;
    std::vector<ListenRequest> listen = {};
    // In the mark of all that the relay sends to endpoints, where this process may set one (CAP_NET_ADMIN). One bit,
    // another one than NodeRules::masquerade_mark.
    std::uint32_t mark = 0x10;
    // False: nothing is redirected to the relay, as if this process might not program the kernel.
    bool redirect = true;
    // Node ports also at 127.0.0.1 and ::1, by a relay (KEP-6032).
    bool localhost_node_ports = false;
    // The process's; null: a mode that needs one makes its own.
    std::shared_ptr<Carrier> carrier = nullptr;
};

// The bit that is used beside this one (NodeSettings::masquerade_bit).
[[nodiscard]] std::uint32_t relay_mark_beside(std::uint8_t masquerade_bit);

}  // namespace ghostip::dataplane
