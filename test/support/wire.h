// What probes and responders say to each other, and the little of SCTP that a probe needs.
//
// A request is 16 bytes and names its probe; the answer says who took it and whom that one saw. Over TCP and UDP these
// are the data; over SCTP the initiate tag is the request and the state cookie of the INIT ACK is the answer, because
// kernels without SCTP sockets still track and translate SCTP.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "net/address.h"

namespace ghostip::testnet {

// An address and port for system calls.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    SocketAddress() = default;
    SocketAddress(const net::IpAddress& address, std::uint16_t port);
    [[nodiscard]] sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    [[nodiscard]] net::IpAddress address() const;
    [[nodiscard]] std::uint16_t port() const;
};

inline constexpr std::size_t kRequestSize = 16;
inline constexpr std::size_t kAnswerSize = 64;

struct Request {
    std::uint64_t nonce = 0;
    [[nodiscard]] std::array<std::uint8_t, kRequestSize> encode() const;
    [[nodiscard]] static std::optional<Request> decode(std::span<const std::uint8_t> bytes);
};

struct Answer {
    std::uint64_t nonce = 0;
    std::uint8_t place = 0;
    net::IpAddress endpoint;  // as the responder was addressed
    std::uint16_t endpoint_port = 0;
    net::IpAddress source;  // as the responder saw it
    std::uint16_t source_port = 0;
    [[nodiscard]] std::array<std::uint8_t, kAnswerSize> encode() const;
    [[nodiscard]] static std::optional<Answer> decode(std::span<const std::uint8_t> bytes);
};

namespace sctp {

enum class Chunk : std::uint8_t { kInit = 1, kInitAck = 2, kAbort = 6 };

// RFC 9260 section 3: common header and first chunk.
struct Packet {
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    std::uint32_t verification_tag = 0;
    Chunk chunk = Chunk::kInit;
    std::uint32_t initiate_tag = 0;
    std::string cookie;  // INIT ACK only

    [[nodiscard]] std::string encode() const;
    // Nothing if the checksum is wrong: the network did not repair it.
    [[nodiscard]] static std::optional<Packet> decode(std::span<const std::uint8_t> bytes);
};

}  // namespace sctp
}  // namespace ghostip::testnet
