#include "relay/datagrams.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ghostip::relay {
namespace {

net::IpAddress ip(const in_addr& address) {
    return net::IpAddress::from_bytes(net::Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&address));
}
net::IpAddress ip(const in6_addr& address) {
    return net::IpAddress::from_bytes(net::Family::kIpv6, reinterpret_cast<const std::uint8_t*>(&address));
}

}  // namespace

Datagrams::Datagrams() : bytes_(kMost * kLargest) {}

std::size_t Datagrams::receive(int socket) {
    for (std::size_t i = 0; i < kMost; ++i) {
        in_parts_[i] = {bytes_.data() + i * kLargest, kLargest};
        from_[i].size = sizeof from_[i].storage;
        auto& header = in_[i].msg_hdr;
        header = {};
        header.msg_name = &from_[i].storage;
        header.msg_namelen = from_[i].size;
        header.msg_iov = &in_parts_[i];
        header.msg_iovlen = 1;
        header.msg_control = controls_[i].bytes.data();
        header.msg_controllen = controls_[i].bytes.size();
    }
    int count = 0;
    do count = ::recvmmsg(socket, in_.data(), kMost, MSG_DONTWAIT, nullptr);
    while (count < 0 && errno == EINTR);
    for (int i = 0; i < count; ++i) {
        const auto index = static_cast<std::size_t>(i);
        from_[index].size = in_[index].msg_hdr.msg_namelen;
    }
    return static_cast<std::size_t>(std::max(count, 0));
}

template <typename T>
std::optional<T> Datagrams::control(std::size_t index, int level, int type) const {
    auto* header = const_cast<msghdr*>(&in_[index].msg_hdr);
    for (auto* part = CMSG_FIRSTHDR(header); part != nullptr; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != level || part->cmsg_type != type || part->cmsg_len < CMSG_LEN(sizeof(T))) continue;
        T value;
        std::memcpy(&value, CMSG_DATA(part), sizeof value);
        return value;
    }
    return std::nullopt;
}

std::optional<ReplyFrom> Datagrams::addressed_to(std::size_t index) const {
    if (const auto v4 = control<in_pktinfo>(index, IPPROTO_IP, IP_PKTINFO)) return ReplyFrom{ip(v4->ipi_addr), 0};
    if (const auto v6 = control<in6_pktinfo>(index, IPPROTO_IPV6, IPV6_PKTINFO)) {
        const auto address = ip(v6->ipi6_addr);
        // Link-local addresses are only an interface's own.
        return ReplyFrom{address, address.is_link_local() ? v6->ipi6_ifindex : 0};
    }
    return std::nullopt;
}

std::optional<SocketAddress> Datagrams::original_destination(std::size_t index) const {
    if (const auto v4 = control<sockaddr_in>(index, IPPROTO_IP, IP_ORIGDSTADDR))
        return SocketAddress{ip(v4->sin_addr), ntohs(v4->sin_port)};
    if (const auto v6 = control<sockaddr_in6>(index, IPPROTO_IPV6, IPV6_ORIGDSTADDR))
        return SocketAddress{ip(v6->sin6_addr), ntohs(v6->sin6_port)};
    return std::nullopt;
}

std::size_t Datagrams::write_reply_from(Control& control, const ReplyFrom& from) {
    control = {};
    auto* header = reinterpret_cast<cmsghdr*>(control.bytes.data());
    const auto bytes = from.address.bytes();
    const auto write = [&](int level, int type, const auto& info) {
        header->cmsg_level = level;
        header->cmsg_type = type;
        header->cmsg_len = CMSG_LEN(sizeof info);
        std::memcpy(CMSG_DATA(header), &info, sizeof info);
        return CMSG_SPACE(sizeof info);
    };
    if (from.address.is_ipv4()) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, bytes.data(), bytes.size());
        return write(IPPROTO_IP, IP_PKTINFO, info);
    }
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, bytes.data(), bytes.size());
    info.ipi6_ifindex = from.interface;
    return write(IPPROTO_IPV6, IPV6_PKTINFO, info);
}

std::size_t Datagrams::send(int socket, std::size_t first, std::size_t count, const KernelAddress* to,
                            const ReplyFrom* reply_from) {
    Control control;
    const std::size_t control_size = reply_from == nullptr ? 0 : write_reply_from(control, *reply_from);
    for (std::size_t i = 0; i < count; ++i) {
        out_parts_[i] = {bytes_.data() + (first + i) * kLargest, size(first + i)};
        auto& header = out_[i].msg_hdr;
        header = {};
        header.msg_iov = &out_parts_[i];
        header.msg_iovlen = 1;
        if (to != nullptr) {
            header.msg_name = const_cast<sockaddr_storage*>(&to->storage);
            header.msg_namelen = to->size;
        }
        if (control_size > 0) {
            header.msg_control = control.bytes.data();
            header.msg_controllen = control_size;
        }
    }
    int sent = 0;
    do sent = ::sendmmsg(socket, out_.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return static_cast<std::size_t>(std::max(sent, 0));
}

}  // namespace ghostip::relay
