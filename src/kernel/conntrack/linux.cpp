#include "kernel/conntrack/linux.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "kernel/netlink/messages.h"
namespace ghostip::kernel::conntrack {
namespace {

constexpr std::size_t kReceiveBytes = 1 << 16;  // the kernel fills at most 32 KiB at a time
constexpr int kReceiveBuffer = 1 << 20;
constexpr timeval kSilence{10, 0};  // an answer comes at once, or never
constexpr int kDumpAttempts = 5;
constexpr int kMaxLeftovers = 1 << 16;  // receives; more than the largest table has

using Request = std::array<char, kRequestBytes>;

// The errno value in an NLMSG_ERROR or NLMSG_DONE; 0 = success.
int code_of(const nlmsghdr* message) {
    int code = 0;
    if (mnl_nlmsg_get_payload_len(message) >= sizeof code)
        std::memcpy(&code, mnl_nlmsg_get_payload(message), sizeof code);
    return -code;
}

bool worth_repeating(int code) { return code == EINTR || code == ENOBUFS || code == EBUSY; }

}  // namespace

Result<std::unique_ptr<LinuxConntrack>> LinuxConntrack::open() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    const int on = 1;
    ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kSilence, sizeof kSilence);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netfilter netlink socket");
    std::unique_ptr<LinuxConntrack> conntrack(new LinuxConntrack(std::move(socket)));
    conntrack->receive_buffer_.resize(kReceiveBytes);
    return conntrack;
}

Result<void> LinuxConntrack::send(const void* bytes, std::size_t size) {
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    ssize_t sent = 0;
    do {
        sent = ::sendto(socket_.get(), bytes, size, 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return fail_errno("ask conntrack");
    return {};
}

Result<std::size_t> LinuxConntrack::receive() {
    while (true) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), 0);
        if (received >= 0) return static_cast<std::size_t>(received);
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return errno_error(ETIMEDOUT, "read conntrack's answer");
        return fail_errno("read conntrack's answer");
    }
}

// A dump goes on as it is read, and until its end the socket can begin no other (EBUSY).
void LinuxConntrack::discard_leftovers() {
    for (int i = 0; leftovers_ && i < kMaxLeftovers; ++i)
        if (::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), MSG_DONTWAIT) < 0 &&
            (errno == EAGAIN || errno == EWOULDBLOCK))
            leftovers_ = false;
}

Result<std::vector<Entry>> LinuxConntrack::dump(const Filter& filter, const Wanted& wanted) {
    for (int attempt = 1;; ++attempt) {
        auto entries = dump_once(filter, wanted, filtered_by_);
        if (entries) return entries;
        const int code = entries.error().code;
        if (filtered_by_ == FilteredBy::kKernel && (code == EOPNOTSUPP || code == EINVAL))
            filtered_by_ = FilteredBy::kNobody;  // slower, and never wrong: matches() has the last word
        else if (!worth_repeating(code) || attempt >= kDumpAttempts)
            return entries;
    }
}

Result<std::vector<Entry>> LinuxConntrack::dump_once(const Filter& filter, const Wanted& wanted, FilteredBy by) {
    discard_leftovers();
    alignas(nlmsghdr) Request request{};
    const auto* header = put_dump(request.data(), ++sequence_, filter, by);
    RETURN_IF_ERROR(send(header, header->nlmsg_len));
    std::vector<Entry> entries;
    leftovers_ = true;
    bool interrupted = false;
    while (true) {
        ASSIGN_OR_RETURN(const std::size_t size, receive());
        for (const nlmsghdr* message : netlink::messages(receive_buffer_.data(), size)) {
            if (message->nlmsg_seq != sequence_) continue;
            interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
                leftovers_ = false;
                const int code = code_of(message);
                if (code != 0 || interrupted) return errno_error(code != 0 ? code : EINTR, "list tracked flows");
                return entries;
            }
            ++entries_received_;
            const auto entry = read_entry(message);
            if (entry && matches(filter, *entry) && wanted(*entry)) entries.push_back(*entry);
        }
    }
}

Result<bool> LinuxConntrack::remove(const Entry& entry) {
    discard_leftovers();
    alignas(nlmsghdr) Request request{};
    const auto* header = put_removal(request.data(), ++sequence_, entry);
    RETURN_IF_ERROR(send(header, header->nlmsg_len));
    leftovers_ = true;
    while (true) {
        ASSIGN_OR_RETURN(const std::size_t size, receive());
        const nlmsghdr* answer = nullptr;
        for (const nlmsghdr* message : netlink::messages(receive_buffer_.data(), size))
            if (message->nlmsg_seq == sequence_ && message->nlmsg_type == NLMSG_ERROR) answer = message;
        if (answer == nullptr) continue;
        leftovers_ = false;
        const int code = code_of(answer);
        if (code == 0) return true;
        if (code == ENOENT) return false;
        return errno_error(
            code, fmt::format("remove the tracked flow to {}",
                              net::host_port(entry.original.destination.address, entry.original.destination.port)));
    }
}

}  // namespace ghostip::kernel::conntrack
