#include "kernel/nfacct/linux.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>

#include "kernel/netlink/messages.h"
#include "kernel/nfacct/messages.h"

namespace ghostip::kernel::nfacct {
namespace {

struct Answer {
    int code = 0;  // errno value; 0: done
    std::optional<Counter> counter;
};

// Up to the acknowledgement of this request.
Result<Answer> ask(const Fd& socket, const nlmsghdr* request) {
    if (::send(socket.get(), request, request->nlmsg_len, 0) < 0) return fail_errno("send to netfilter");
    Answer answer;
    std::array<char, 8192> buffer{};
    while (true) {
        const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("receive from netfilter");
        for (const nlmsghdr* message : netlink::messages(buffer.data(), static_cast<std::size_t>(got))) {
            if (message->nlmsg_seq != request->nlmsg_seq) continue;
            if (message->nlmsg_type == NLMSG_ERROR) {
                answer.code = netlink::error_code(message);
                return answer;
            }
            if (const auto counter = read_counter(message)) answer.counter = counter;
        }
    }
}

Result<void> check_name(std::string_view name) {
    if (name.empty() || name.size() > kLongestName || name.find('\0') != std::string_view::npos)
        return errno_error(EINVAL, fmt::format("counter `{}'", name));
    return {};
}

}  // namespace

Result<std::unique_ptr<LinuxNfacct>> LinuxNfacct::open() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    return std::unique_ptr<LinuxNfacct>(new LinuxNfacct(std::move(socket)));
}

Result<void> LinuxNfacct::create(std::string_view name) {
    RETURN_IF_ERROR(check_name(name));
    alignas(nlmsghdr) std::array<char, kRequestBytes> buffer{};
    ASSIGN_OR_RETURN(const Answer answer, ask(socket_, put_create(buffer.data(), ++sequence_, name)));
    // The kernel answers EBUSY for one that exists, where others say EEXIST.
    if (answer.code == 0 || answer.code == EBUSY || answer.code == EEXIST) return {};
    return errno_error(answer.code, fmt::format("create counter {}", name));
}

Result<std::optional<Counter>> LinuxNfacct::read(std::string_view name) {
    RETURN_IF_ERROR(check_name(name));
    alignas(nlmsghdr) std::array<char, kRequestBytes> buffer{};
    ASSIGN_OR_RETURN(const Answer answer, ask(socket_, put_read(buffer.data(), ++sequence_, name)));
    if (answer.code == ENOENT) return std::optional<Counter>();
    if (answer.code != 0) return errno_error(answer.code, fmt::format("read counter {}", name));
    if (!answer.counter) return fail("read counter {}: the kernel did not say", name);
    return answer.counter;
}

}  // namespace ghostip::kernel::nfacct
