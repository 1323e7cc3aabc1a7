#include "kernel/nft/watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "kernel/nft/wait_readable.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kDatagramBytes = 1 << 16;  // the kernel's are 8 KiB at most (NLMSG_GOODSIZE)
constexpr std::size_t kMaxOwnPorts = 200;        // a jump in classic BPF reaches 255 instructions
constexpr int kDatagramsAtOnce = 256;            // then the stop is looked at again

// Drops a datagram whose first message comes from one of these ports. One datagram never holds messages of two
// transactions (nft_commit_notify), so the first speaks for all. A filter runs before the receive buffer is charged.
std::vector<sock_filter> own_ports_filter(const std::vector<std::uint32_t>& ports) {
    constexpr std::uint32_t kPortOffset = offsetof(nlmsghdr, nlmsg_pid);
    const auto count = static_cast<std::uint8_t>(ports.size());
    std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPortOffset)};
    for (std::uint8_t i = 0; i < count; ++i)  // the load reads network order, the field is in the host's
        program.push_back(
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(ports[i]), static_cast<std::uint8_t>(count - i), 0));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffffffffU));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
    return program;
}

Result<void> membership(int socket, int option) {
    const int group = NFNLGRP_NFTABLES;
    if (::setsockopt(socket, SOL_NETLINK, option, &group, sizeof group) < 0)
        return fail_errno("{} nf_tables' notifications", option == NETLINK_ADD_MEMBERSHIP ? "subscribe to" : "leave");
    return {};
}

}  // namespace

LinuxWatch::LinuxWatch(Fd socket, Generation generation, std::string table)
    : socket_(std::move(socket)),
      generation_(std::move(generation)),
      writes_(std::move(table)),
      buffer_(kDatagramBytes) {}

Result<std::unique_ptr<LinuxWatch>> LinuxWatch::open(std::string table, int receive_buffer_bytes) {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer_bytes, sizeof receive_buffer_bytes) < 0)
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netfilter netlink socket");
    RETURN_IF_ERROR(membership(socket.get(), NETLINK_ADD_MEMBERSHIP));
    ASSIGN_OR_RETURN(auto generation, Generation::open());
    return std::unique_ptr<LinuxWatch>(new LinuxWatch(std::move(socket), std::move(generation), std::move(table)));
}

// Every transaction is either announced in full or counted. One that the count does not see yet when it is read here
// counts later; one that it sees may still be announcing itself, so the subscription ends only after that.
Result<void> LinuxWatch::pause() {
    ASSIGN_OR_RETURN(const std::uint32_t generation, generation_.read());
    RETURN_IF_ERROR(generation_.settle());
    RETURN_IF_ERROR(membership(socket_.get(), NETLINK_DROP_MEMBERSHIP));
    const std::lock_guard lock(mutex_);
    paused_at_ = generation;
    return {};
}

Result<bool> LinuxWatch::resume(std::uint32_t own_transactions) {
    RETURN_IF_ERROR(membership(socket_.get(), NETLINK_ADD_MEMBERSHIP));
    ASSIGN_OR_RETURN(const std::uint32_t generation, generation_.read());
    const std::lock_guard lock(mutex_);
    return generation - paused_at_ == own_transactions;
}

Result<void> LinuxWatch::ignore(std::uint32_t port_id) {
    const std::lock_guard lock(mutex_);
    if (std::find(own_ports_.begin(), own_ports_.end(), port_id) != own_ports_.end()) return {};
    if (own_ports_.size() == kMaxOwnPorts) return fail("more than {} sockets of our own", kMaxOwnPorts);
    own_ports_.push_back(port_id);
    writes_.ignore(port_id);  // for what is in the receive buffer already
    auto program = own_ports_filter(own_ports_);
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        return fail_errno("attach a filter to a netlink socket");
    return {};
}

Result<std::vector<ForeignWrite>> LinuxWatch::wait(int stop_fd, std::optional<std::chrono::milliseconds> timeout) {
    const WaitUntil until(timeout);
    std::vector<ForeignWrite> out;
    while (out.empty()) {
        ASSIGN_OR_RETURN(const Woken woken, wait_readable(socket_.get(), stop_fd, until));
        if (woken != Woken::kReadable) break;
        RETURN_IF_ERROR(read(out));
    }
    return out;
}

Result<void> LinuxWatch::read(std::vector<ForeignWrite>& out) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < kDatagramsAtOnce; ++i) {
        sockaddr_nl from{};
        socklen_t from_bytes = sizeof from;
        const ssize_t received = ::recvfrom(socket_.get(), buffer_.data(), buffer_.size(), 0,
                                            reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (received >= 0) {
            // Whoever has CAP_NET_ADMIN may send to the group; only the kernel's own word counts.
            if (from.nl_pid == 0) writes_.take({buffer_.data(), static_cast<std::size_t>(received)}, out);
        } else if (errno == ENOBUFS) {
            writes_.lost();
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            writes_.drained(out);
            return {};
        } else if (errno != EINTR) {
            return fail_errno("read nf_tables' notifications");
        }
    }
    return {};
}

}  // namespace ghostip::kernel::nft
