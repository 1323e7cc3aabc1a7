#include "kernel/nft/notifications.h"

#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kDatagramBytes = 1 << 16;  // the kernel's are 8 KiB at most (NLMSG_GOODSIZE)

Result<void> membership(int socket, int option) {
    const int group = NFNLGRP_NFTABLES;
    if (::setsockopt(socket, SOL_NETLINK, option, &group, sizeof group) < 0)
        return fail_errno("{} nf_tables' notifications", option == NETLINK_ADD_MEMBERSHIP ? "subscribe to" : "leave");
    return {};
}

}  // namespace

Notifications::Notifications(Fd socket) : socket_(std::move(socket)), buffer_(kDatagramBytes) {}

Result<Notifications> Notifications::open(int receive_buffer_bytes) {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer_bytes, sizeof receive_buffer_bytes) < 0)
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netfilter netlink socket");
    RETURN_IF_ERROR(membership(socket.get(), NETLINK_ADD_MEMBERSHIP));
    return Notifications(std::move(socket));
}

Result<void> Notifications::subscribe() const { return membership(socket_.get(), NETLINK_ADD_MEMBERSHIP); }

Result<void> Notifications::leave() const { return membership(socket_.get(), NETLINK_DROP_MEMBERSHIP); }

Result<void> Notifications::filter(std::vector<sock_filter> program) const {
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        return fail_errno("attach a filter to a netlink socket");
    return {};
}

Result<bool> Notifications::read(int most_datagrams, const Sink& sink) {
    for (int i = 0; i < most_datagrams; ++i) {
        sockaddr_nl from{};
        socklen_t from_bytes = sizeof from;
        const ssize_t received = ::recvfrom(socket_.get(), buffer_.data(), buffer_.size(), 0,
                                            reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (received >= 0) {
            // Whoever has CAP_NET_ADMIN may send to the group; only the kernel's own word counts.
            if (from.nl_pid == 0) sink.take({buffer_.data(), static_cast<std::size_t>(received)});
        } else if (errno == ENOBUFS) {
            sink.lost();
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return true;
        } else if (errno != EINTR) {
            return fail_errno("read nf_tables' notifications");
        }
    }
    return false;
}

}  // namespace ghostip::kernel::nft
