// Transport protocols that a service port may have (v1 Protocol).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ghostip::net {

// The values are the IP protocol numbers.
enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };

[[nodiscard]] std::string_view protocol_name(Protocol protocol);        // "TCP", as Kubernetes writes it
[[nodiscard]] std::string_view protocol_lower_name(Protocol protocol);  // "tcp"
// Exactly "TCP", "UDP" or "SCTP".
[[nodiscard]] std::optional<Protocol> parse_protocol(std::string_view text);
// The same in any case, for what people type.
[[nodiscard]] std::optional<Protocol> parse_protocol_any_case(std::string_view text);

}  // namespace ghostip::net
