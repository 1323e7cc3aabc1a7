#include "packets/raw_udp.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "support/probe.h"

namespace ghostip::packets {
namespace {

// The sum of 16-bit words, for checksums.
std::uint32_t sum_words(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < size; i += 2) sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
    return sum;
}

}  // namespace

std::size_t write_packet(std::uint8_t* at, const net::IpAddress& source, std::uint16_t source_port,
                         const net::IpAddress& destination, std::uint16_t port) {
    udphdr udp{};
    udp.uh_sport = htons(source_port);
    udp.uh_dport = htons(port);
    udp.uh_ulen = htons(sizeof(udp));
    std::size_t header = 0;
    if (source.is_ipv4()) {
        ip ip4{};
        ip4.ip_v = 4;
        ip4.ip_hl = 5;
        ip4.ip_ttl = 64;
        ip4.ip_p = IPPROTO_UDP;
        ip4.ip_len = htons(sizeof(ip4) + sizeof(udp));
        std::memcpy(&ip4.ip_src, source.bytes().data(), 4);
        std::memcpy(&ip4.ip_dst, destination.bytes().data(), 4);
        std::memcpy(at, &ip4, sizeof(ip4));
        header = sizeof(ip4);
    } else {
        ip6_hdr ip6{};
        ip6.ip6_flow = htonl(0x60000000);
        ip6.ip6_plen = htons(sizeof(udp));
        ip6.ip6_nxt = IPPROTO_UDP;
        ip6.ip6_hlim = 64;
        std::memcpy(&ip6.ip6_src, source.bytes().data(), 16);
        std::memcpy(&ip6.ip6_dst, destination.bytes().data(), 16);
        std::memcpy(at, &ip6, sizeof(ip6));
        header = sizeof(ip6);
        std::uint32_t sum = sum_words(source.bytes().data(), 16) + sum_words(destination.bytes().data(), 16) +
                            IPPROTO_UDP + static_cast<std::uint32_t>(sizeof(udp)) + sum_words(&udp, sizeof(udp));
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        // Zero would mean: no checksum, which IPv6 does not take.
        const auto checksum = static_cast<std::uint16_t>(~sum);
        udp.uh_sum = htons(checksum == 0 ? 0xffff : checksum);
    }
    std::memcpy(at + header, &udp, sizeof(udp));
    return header + sizeof(udp);
}

Result<Fd> open_raw_sender(const testnet::Namespace& where, net::Family family) {
    const auto inside = where.enter();
    Fd raw{::socket(family == net::Family::kIpv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
    if (!raw) return fail_errno("open a raw socket");
    return raw;
}

Result<Fd> open_receiver(const testnet::Namespace& where, net::Family family, std::uint16_t port) {
    const auto inside = where.enter();
    const bool ipv4 = family == net::Family::kIpv4;
    Fd receiver{::socket(ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!receiver) return fail_errno("open a UDP socket");
    const int on = 1;
    const int size = 64 << 20;
    ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    ::setsockopt(receiver.get(), ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof(on));
    const testnet::SocketAddress any(net::IpAddress(family), port);
    if (::bind(receiver.get(), any.raw(), any.length) != 0) return fail_errno("bind port {}", port);
    return receiver;
}

std::optional<net::IpAddress> receive(const Fd& receiver, net::Family family) {
    std::array<char, 128> control{};
    msghdr message{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(receiver.get(), &message, 0) < 0) return std::nullopt;
    const auto* info = CMSG_FIRSTHDR(&message);
    // Both structures are found by their address field alone.
    const std::size_t offset = family == net::Family::kIpv4 ? offsetof(in_pktinfo, ipi_addr) : 0;
    return net::IpAddress::from_bytes(family, CMSG_DATA(info) + offset);
}

}  // namespace ghostip::packets
