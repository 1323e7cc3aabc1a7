#include "base/net_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace ghostip {
namespace {

// A queue that overflows makes clients wait for seconds.
constexpr int kBacklog = SOMAXCONN;

}  // namespace

Result<Listener> listen_tcp(const std::string& address, std::uint16_t port, Accepts accepts) {
    sockaddr_in6 v6{};
    sockaddr_in v4{};
    const bool is_v4 = ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1;
    if (!is_v4 && ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) != 1)
        return fail("not an IP address: \"{}\"", address);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    auto* bound = is_v4 ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
    socklen_t size = is_v4 ? sizeof v4 : sizeof v6;

    Fd socket(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("open a socket for {} port {}", address, port);
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!is_v4) {
        const int alone = accepts == Accepts::kOwnFamily ? 1 : 0;
        ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &alone, sizeof alone);
    }
    if (::bind(socket.get(), bound, size) < 0) return fail_errno("bind {} port {}", address, port);
    if (::listen(socket.get(), kBacklog) < 0) return fail_errno("listen on {} port {}", address, port);
    if (::getsockname(socket.get(), bound, &size) < 0) return fail_errno("read the port bound on {}", address);
    return Listener{std::move(socket), ntohs(is_v4 ? v4.sin_port : v6.sin6_port)};
}

}  // namespace ghostip
