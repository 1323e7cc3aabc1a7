// Listening TCP sockets.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip {

struct Listener {
    Fd socket;
    std::uint16_t port = 0;  // the one that was bound
};

enum class Accepts : std::uint8_t { kBothFamilies, kOwnFamily };

// `address` is IPv4 or IPv6 text; port 0 takes any free one. An IPv6 wildcard takes IPv4 connections too, as Go's does,
// unless told otherwise.
[[nodiscard]] Result<Listener> listen_tcp(const std::string& address, std::uint16_t port,
                                          Accepts accepts = Accepts::kBothFamilies);

}  // namespace ghostip
