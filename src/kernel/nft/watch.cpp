#include "kernel/nft/watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cstddef>

#include "kernel/nft/wait_readable.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kMaxOwnPorts = 200;  // a jump in classic BPF reaches 255 instructions
constexpr int kDatagramsAtOnce = 256;      // then the stop is looked at again

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

}  // namespace

LinuxWatch::LinuxWatch(Notifications notifications, Generation generation, std::string table)
    : notifications_(std::move(notifications)), generation_(std::move(generation)), writes_(std::move(table)) {}

Result<std::unique_ptr<LinuxWatch>> LinuxWatch::open(std::string table, int receive_buffer_bytes) {
    ASSIGN_OR_RETURN(auto notifications, Notifications::open(receive_buffer_bytes));
    ASSIGN_OR_RETURN(auto generation, Generation::open());
    return std::unique_ptr<LinuxWatch>(
        new LinuxWatch(std::move(notifications), std::move(generation), std::move(table)));
}

// Every transaction is either announced in full or counted. One that the count does not see yet when it is read here
// counts later; one that it sees may still be announcing itself, so the subscription ends only after that.
Result<void> LinuxWatch::pause() {
    ASSIGN_OR_RETURN(const std::uint32_t generation, generation_.read());
    RETURN_IF_ERROR(generation_.settle());
    RETURN_IF_ERROR(notifications_.leave());
    const std::lock_guard lock(mutex_);
    paused_at_ = generation;
    return {};
}

Result<bool> LinuxWatch::resume(std::uint32_t own_transactions) {
    RETURN_IF_ERROR(notifications_.subscribe());
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
    return notifications_.filter(own_ports_filter(own_ports_));
}

Result<std::vector<ForeignWrite>> LinuxWatch::wait(int stop_fd, std::optional<std::chrono::milliseconds> timeout) {
    const WaitUntil until(timeout);
    std::vector<ForeignWrite> out;
    while (out.empty()) {
        ASSIGN_OR_RETURN(const Woken woken, wait_readable(fd(), stop_fd, until));
        if (woken != Woken::kReadable) break;
        RETURN_IF_ERROR(read(out));
    }
    return out;
}

Result<void> LinuxWatch::read(std::vector<ForeignWrite>& out) {
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(const bool empty,
                     notifications_.read(kDatagramsAtOnce, {[&](auto datagram) { writes_.take(datagram, out); },
                                                            [&] { writes_.lost(); }}));
    if (empty) writes_.drained(out);
    return {};
}

}  // namespace ghostip::kernel::nft
