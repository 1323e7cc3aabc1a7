#include "relay/socket_address.h"

#include <netinet/in.h>

#include <cstring>

namespace ghostip::relay {

KernelAddress::KernelAddress(const SocketAddress& address) {
    const auto bytes = address.address.bytes();
    if (address.address.is_ipv4()) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(address.port);
        std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
        size = sizeof v4;
    } else {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(address.port);
        std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
        size = sizeof v6;
    }
}

std::optional<SocketAddress> KernelAddress::value() const {
    if (storage.ss_family == AF_INET && size >= sizeof(sockaddr_in)) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
        return SocketAddress{
            net::IpAddress::from_bytes(net::Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&v4.sin_addr)),
            ntohs(v4.sin_port)};
    }
    if (storage.ss_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
        return SocketAddress{
            net::IpAddress::from_bytes(net::Family::kIpv6, reinterpret_cast<const std::uint8_t*>(&v6.sin6_addr)),
            ntohs(v6.sin6_port)};
    }
    return std::nullopt;
}

std::uint32_t KernelAddress::scope() const {
    return storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_scope_id : 0;
}

void KernelAddress::set_scope(std::uint32_t interface) {
    if (storage.ss_family == AF_INET6) reinterpret_cast<sockaddr_in6&>(storage).sin6_scope_id = interface;
}

std::optional<SocketAddress> own_address(int socket) {
    KernelAddress address;
    if (::getsockname(socket, address.get(), &address.size) < 0) return std::nullopt;
    return address.value();
}

}  // namespace ghostip::relay
