// New connections at full speed: one UDP packet each, written to a raw socket, from any address and port; and a
// receiver that tells to which address a packet was sent on. Nothing answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"
#include "support/namespace.h"

namespace ghostip::packets {

inline constexpr std::size_t kRawUdpBytes = 64;  // room for one packet of either family

// An IP packet that holds an empty UDP datagram; returns its size, at most kRawUdpBytes.
[[nodiscard]] std::size_t write_packet(std::uint8_t* at, const net::IpAddress& source, std::uint16_t source_port,
                                       const net::IpAddress& destination, std::uint16_t port);

// A raw socket in that namespace which takes whole packets.
[[nodiscard]] Result<Fd> open_raw_sender(const testnet::Namespace& where, net::Family family);

// A non-blocking UDP socket on every address of that namespace.
[[nodiscard]] Result<Fd> open_receiver(const testnet::Namespace& where, net::Family family, std::uint16_t port);
// The destination address of the next packet, if one is there.
[[nodiscard]] std::optional<net::IpAddress> receive(const Fd& receiver, net::Family family);

}  // namespace ghostip::packets
