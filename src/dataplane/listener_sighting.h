// Who listens where a client comes that no rule leads: the part of `ghostip explain --live` that modes share whose
// process carries traffic.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "kernel/sockets/listeners.h"

namespace ghostip::dataplane {

using ListenersAt = std::function<Result<std::vector<kernel::sockets::Listener>>(
    const net::IpAddress& address, net::Protocol protocol, std::uint16_t port)>;

// `192.168.0.2:30080/TCP: process 4711 (ghostip) listens`
[[nodiscard]] std::string listener_text(const kernel::sockets::Listener& listener, net::Protocol protocol);

// Of a node port at localhost, which a relay serves beside the mode's rules.
[[nodiscard]] Result<Sighting> sight_localhost(const plan::Journey& journey, const ListenersAt& listeners_at);

}  // namespace ghostip::dataplane
