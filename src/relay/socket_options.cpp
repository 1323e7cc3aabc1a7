#include "relay/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace ghostip::relay {
namespace {

// linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h, which do not go well with netinet/in.h.
constexpr int kOriginalDestination = 80;

}  // namespace

bool exhausted(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

bool set_option(int socket, int level, int name, int value) {
    return ::setsockopt(socket, level, name, &value, sizeof value) == 0;
}

bool set_mark(int socket, std::uint32_t mark) {
    return ::setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
}

void set_keepalive(int socket, const Timeouts& timeouts) {
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(timeouts.keepalive_idle.count()));
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(timeouts.keepalive_interval.count()));
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, timeouts.keepalive_probes);
}

SocketAddress original_destination(int socket, const SocketAddress& own) {
    KernelAddress address;
    const int level = own.address.is_ipv4() ? IPPROTO_IP : IPPROTO_IPV6;
    if (::getsockopt(socket, level, kOriginalDestination, address.get(), &address.size) < 0) return own;
    return address.value().value_or(own);
}

}  // namespace ghostip::relay
