// An IP address with a port, and its way to and from the kernel's sockaddr.
#pragma once

#include <sys/socket.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "net/address.h"

namespace ghostip::relay {

struct SocketAddress {
    net::IpAddress address;
    std::uint16_t port = 0;

    [[nodiscard]] std::string text() const { return net::host_port(address, port); }
    friend constexpr auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

// A sockaddr with its length, as system calls take it.
struct KernelAddress {
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_storage);

    KernelAddress() = default;
    explicit KernelAddress(const SocketAddress& address);
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    // Absent: neither IPv4 nor IPv6.
    [[nodiscard]] std::optional<SocketAddress> value() const;
    // The interface to which an IPv6 address belongs; 0: none, or IPv4.
    [[nodiscard]] std::uint32_t scope() const;
    void set_scope(std::uint32_t interface);
};

// Absent where the socket has none, or one of another family.
[[nodiscard]] std::optional<SocketAddress> own_address(int socket);

}  // namespace ghostip::relay

template <>
struct std::hash<ghostip::relay::SocketAddress> {
    std::size_t operator()(const ghostip::relay::SocketAddress& address) const noexcept {
        // The port moves all bits: clients behind one address differ in nothing else.
        return std::hash<ghostip::net::IpAddress>{}(address.address) ^ (address.port * 0x9e3779b97f4a7c15ULL);
    }
};
