#include "kernel/netlink/socket.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "kernel/netlink/messages.h"

namespace ghostip::kernel::netlink {
namespace {

constexpr timeval kSilence{10, 0};  // an answer comes at once, or never
constexpr int kReceiveBuffer = 1 << 20;
// A refusal may quote the request, which is at most 64 KiB of one attribute and a little.
constexpr std::size_t kReceiveBytes = 80 << 10;
// How much goes out at once. Its answers have to fit into what a socket may hold by default (208 KiB, and the kernel
// counts up to 1.3 KiB for the shortest), or some would be lost.
constexpr std::size_t kMostMessages = 128;
constexpr std::size_t kMostBytes = 64 << 10;
constexpr int kMostLeftovers = 1 << 16;  // receives; more than the largest table has

// The value in an NLMSG_ERROR or NLMSG_DONE; 0: success.
int code_of(const nlmsghdr* message) {
    int code = 0;
    if (message->nlmsg_len >= NLMSG_HDRLEN + sizeof code)
        std::memcpy(&code, reinterpret_cast<const char*>(message) + NLMSG_HDRLEN, sizeof code);
    return -code;
}

}  // namespace

Result<Socket> Socket::open(int protocol) {
    Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    if (!fd) return fail_errno("open a netlink socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);  // short answers
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kSilence, sizeof kSilence);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netlink socket");
    Socket socket(std::move(fd));
    socket.buffer_.resize(kReceiveBytes);
    return socket;
}

Result<void> Socket::send(std::span<const char> bytes, std::string_view what) {
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    ssize_t sent = 0;
    do {
        sent = ::sendto(socket_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
                        sizeof kernel);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return fail_errno("{}", what);
    return {};
}

Result<std::span<const char>> Socket::receive(std::string_view what) {
    while (true) {
        const ssize_t size = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
        if (size >= 0) return std::span<const char>(buffer_).first(static_cast<std::size_t>(size));
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return errno_error(ETIMEDOUT, std::string(what));
        return fail_errno("{}", what);
    }
}

// A dump goes on as it is read, and until its end the socket can begin no other (EBUSY).
void Socket::discard_leftovers() {
    for (int i = 0; leftovers_ && i < kMostLeftovers; ++i)
        if (::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT) < 0 &&
            (errno == EAGAIN || errno == EWOULDBLOCK))
            leftovers_ = false;
}

Result<void> Socket::ask(nlmsghdr* request, std::string_view what, const Visit& visit) {
    discard_leftovers();
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    request->nlmsg_seq = ++sequence_;
    leftovers_ = true;
    RETURN_IF_ERROR(send({reinterpret_cast<const char*>(request), request->nlmsg_len}, what));
    while (true) {
        ASSIGN_OR_RETURN(const auto bytes, receive(what));
        for (const nlmsghdr* message : messages(bytes.data(), bytes.size())) {
            if (message->nlmsg_seq != sequence_) continue;
            if (message->nlmsg_type != NLMSG_ERROR) {
                if (visit) visit(message);
                continue;
            }
            leftovers_ = false;
            if (const int code = code_of(message); code != 0) return errno_error(code, std::string(what));
            return {};
        }
    }
}

Result<void> Socket::list(nlmsghdr* request, std::string_view what, const Visit& visit) {
    discard_leftovers();
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    request->nlmsg_seq = ++sequence_;
    leftovers_ = true;
    RETURN_IF_ERROR(send({reinterpret_cast<const char*>(request), request->nlmsg_len}, what));
    bool interrupted = false;
    while (true) {
        ASSIGN_OR_RETURN(const auto bytes, receive(what));
        for (const nlmsghdr* message : messages(bytes.data(), bytes.size())) {
            if (message->nlmsg_seq != sequence_) continue;
            interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (message->nlmsg_type != NLMSG_DONE && message->nlmsg_type != NLMSG_ERROR) {
                visit(message);
                continue;
            }
            leftovers_ = false;
            const int code = code_of(message);
            if (code != 0 || interrupted) return errno_error(code != 0 ? code : EINTR, std::string(what));
            return {};
        }
    }
}

Result<void> Socket::ask_all(Batch& batch, std::string_view what, const Refused& refused) {
    discard_leftovers();
    for (std::size_t first = 0; first < batch.size();) {
        std::size_t last = first + 1;
        while (last < batch.size() && last - first < kMostMessages &&
               batch.between(first, last + 1).size() <= kMostBytes)
            ++last;
        const auto bytes = batch.between(first, last);
        const std::uint32_t base = sequence_ + 1;
        char* at = bytes.data();
        for (std::size_t i = first; i < last; ++i) {
            auto* message = reinterpret_cast<nlmsghdr*>(at);
            message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
            message->nlmsg_seq = ++sequence_;
            at += NLMSG_ALIGN(std::size_t{message->nlmsg_len});
        }
        leftovers_ = true;
        RETURN_IF_ERROR(send(bytes, what));
        for (std::size_t answered = 0; answered < last - first;) {
            ASSIGN_OR_RETURN(const auto answers, receive(what));
            for (const nlmsghdr* message : messages(answers.data(), answers.size())) {
                const std::size_t index = message->nlmsg_seq - base;  // of an older answer: out of range
                if (message->nlmsg_type != NLMSG_ERROR || index >= last - first) continue;
                ++answered;
                if (const int code = code_of(message); code != 0) refused(first + index, code, message);
            }
        }
        leftovers_ = false;
        first = last;
    }
    return {};
}

}  // namespace ghostip::kernel::netlink
