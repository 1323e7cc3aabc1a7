// Addresses that mean something only to the host or the link where they are used, so that no other host's traffic may
// be sent there.
#pragma once

#include <cstdint>
#include <string_view>

#include "net/address.h"

namespace ghostip::net {

enum class SpecialRange : std::uint8_t {
    kNone,
    kUnspecified,         // 0.0.0.0, ::
    kLoopback,            // 127.0.0.0/8, ::1
    kLinkLocal,           // 169.254.0.0/16, fe80::/10
    kLinkLocalMulticast,  // 224.0.0.0/24; ff02::/16, whatever its flags (RFC 4291, section 2.7)
};

// An IPv4-mapped IPv6 address (::ffff:0:0/96) is where its IPv4 address is: a socket of Linux connects to that.
[[nodiscard]] SpecialRange special_range(const IpAddress& address);

// "a loopback address"; empty for kNone.
[[nodiscard]] std::string_view special_range_text(SpecialRange range);

}  // namespace ghostip::net
