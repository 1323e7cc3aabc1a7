// The header by which a proxy tells a server who its client is: PROXY protocol, versions 1 (text) and 2 (binary), as
// HAProxy defines it (doc/proxy-protocol.txt).
#pragma once

#include <cstdint>
#include <string>

#include "relay/socket_address.h"

namespace ghostip::relay {

enum class ProxyProtocol : std::uint8_t { kNone, kV1, kV2 };

// For a TCP connection of `client`, which dialled `destination`; empty for kNone. Where their families differ, the IPv4
// one is written as an IPv4-mapped IPv6 address.
[[nodiscard]] std::string proxy_header(ProxyProtocol version, const SocketAddress& client,
                                       const SocketAddress& destination);

}  // namespace ghostip::relay
