#include "packets/half_open.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "support/wire.h"

namespace ghostip::packets {
namespace {

// RFC 1071, over the pseudo header of IPv4 and the segment. The kernel does it for IPv6.
std::uint16_t checksum(const net::IpAddress& from, const net::IpAddress& to, std::span<const std::uint8_t> segment) {
    std::uint32_t sum = IPPROTO_TCP + static_cast<std::uint32_t>(segment.size());
    const auto add = [&](std::span<const std::uint8_t> bytes) {
        for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
            sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
    };
    add(from.bytes());
    add(to.bytes());
    add(segment);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return htons(static_cast<std::uint16_t>(~sum));
}

}  // namespace

Result<HalfOpen> HalfOpen::create(const testnet::Namespace& place, const net::IpAddress& from) {
    constexpr std::string_view kSilent =
        "table inet half-open {\n chain output {\n  type filter hook output priority 0;\n"
        "  tcp flags rst drop\n }\n}\n";
    ASSIGN_OR_RETURN(const auto printed, place.must_run({"nft", "-f", "-"}, kSilent));
    static_cast<void>(printed);
    const auto inside = place.enter();
    Fd socket(::socket(from.is_ipv4() ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!socket) return fail_errno("open a raw socket");
    const testnet::SocketAddress at(from, 0);
    if (::bind(socket.get(), at.raw(), at.length) < 0) return fail_errno("bind to {}", from.text());
    const int offset = offsetof(tcphdr, check);
    if (!from.is_ipv4() && ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof offset) < 0)
        return fail_errno("ask for checksums");
    return HalfOpen(std::move(socket), from);
}

Result<void> HalfOpen::send(const net::IpAddress& to, std::uint16_t port, std::uint16_t first_port, int count) {
    const testnet::SocketAddress destination(to, 0);  // a port there is refused for IPv6
    for (int i = 0; i < count; ++i) {
        tcphdr header{};
        header.th_sport = htons(static_cast<std::uint16_t>(first_port + i));
        header.th_dport = htons(port);
        header.th_seq = htonl(static_cast<std::uint32_t>(i));
        header.th_off = sizeof header / 4;
        header.th_flags = TH_SYN;
        header.th_win = htons(1024);
        std::array<std::uint8_t, sizeof header> segment{};
        std::memcpy(segment.data(), &header, sizeof header);
        if (from_.is_ipv4()) {
            header.th_sum = checksum(from_, to, segment);
            std::memcpy(segment.data(), &header, sizeof header);
        }
        if (::sendto(socket_.get(), segment.data(), segment.size(), 0, destination.raw(), destination.length) < 0)
            return fail_errno("send a SYN to {}", to.text());
    }
    return {};
}

}  // namespace ghostip::packets
