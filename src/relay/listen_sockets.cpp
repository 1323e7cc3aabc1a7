#include "relay/listen_sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "relay/socket_options.h"

namespace ghostip::relay {
namespace {

// Where there is no room for these, what comes in bursts is lost. Above net.core.rmem_max the kernel takes less.
constexpr int kUdpBuffer = 4 << 20;

int family_of(const SocketAddress& address) { return address.address.is_ipv4() ? AF_INET : AF_INET6; }

std::string describe(const ListenerSpec& spec) {
    return fmt::format("{} {}", net::protocol_name(spec.protocol), spec.address.text());
}

// Options that also a socket from elsewhere gets. What TCP has here, accepted sockets inherit.
Result<void> configure(int socket, const ListenerSpec& spec, const Timeouts& timeouts) {
    const bool v4 = spec.address.address.is_ipv4();
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (spec.destinations == Destinations::kTransparent &&
        !set_option(socket, level, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1))
        return fail_errno("listen on {} transparently", describe(spec));
    if (spec.protocol == net::Protocol::kTcp) {
        set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(socket, SOL_SOCKET, SO_OOBINLINE, 1);
        set_keepalive(socket, timeouts);
        return {};
    }
    // Beyond the host's limit where this process may: nobody takes datagrams while clients are handed over.
    if (!set_option(socket, SOL_SOCKET, SO_RCVBUFFORCE, kUdpBuffer))
        set_option(socket, SOL_SOCKET, SO_RCVBUF, kUdpBuffer);
    set_option(socket, SOL_SOCKET, SO_SNDBUF, kUdpBuffer);
    // By these an answer finds the address that the client has asked.
    bool told = set_option(socket, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1);
    if (spec.destinations == Destinations::kTransparent)
        told = told && set_option(socket, level, v4 ? IP_RECVORIGDSTADDR : IPV6_RECVORIGDSTADDR, 1);
    if (!told) return fail_errno("ask for the destinations of datagrams to {}", describe(spec));
    return {};
}

// `beside`: others may have the port already.
Result<Fd> open_one(const ListenerSpec& spec, PortUse beside, const Limits& limits, const Timeouts& timeouts) {
    const bool tcp = spec.protocol == net::Protocol::kTcp;
    Fd socket(::socket(family_of(spec.address), (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno("open a socket for {}", describe(spec));
    // Only past connections that are not quite over: a port where somebody listens is refused all the same.
    if (tcp) set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    // Before bind() it would share the port with any program of this user that does so too, each with a part of the
    // clients; the kernel even counts such ports among the free ones.
    if (beside == PortUse::kShared) set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (!spec.address.address.is_ipv4()) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    RETURN_IF_ERROR(configure(socket.get(), spec, timeouts));
    const KernelAddress address(spec.address);
    if (::bind(socket.get(), address.get(), address.size) < 0) return fail_errno("bind {}", describe(spec));
    // After it, for the next socket of this listener: what counts is who has the port when another one is bound.
    set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (tcp && ::listen(socket.get(), limits.backlog) < 0) return fail_errno("listen on {}", describe(spec));
    return socket;
}

Result<int> read_option(int socket, int name, std::string_view what) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(socket, SOL_SOCKET, name, &value, &size) < 0)
        return fail_errno("read {} of adopted socket {}", what, socket);
    return value;
}

Result<SocketAddress> check_adopted(const ListenerSpec& spec, int socket) {
    const bool tcp = spec.protocol == net::Protocol::kTcp;
    ASSIGN_OR_RETURN(const int protocol, read_option(socket, SO_PROTOCOL, "the protocol"));
    if (protocol != static_cast<int>(spec.protocol))
        return fail("adopted socket {}: its protocol is number {}, not {}", socket, protocol,
                    net::protocol_name(spec.protocol));
    ASSIGN_OR_RETURN(const int listens, read_option(socket, SO_ACCEPTCONN, "the state"));
    if (tcp && listens == 0) return fail("adopted socket {}: does not listen", socket);
    const auto address = own_address(socket);
    if (!address || address->port == 0) return fail("adopted socket {}: has no IP address and port", socket);
    return *address;
}

}  // namespace

Result<std::vector<Fd>> open_sockets(ListenerSpec& spec, unsigned count, const Limits& limits,
                                     const Timeouts& timeouts) {
    if (spec.protocol != net::Protocol::kTcp && spec.protocol != net::Protocol::kUdp)
        return fail("listen on {}: a relay carries TCP and UDP only", describe(spec));
    std::vector<Fd> sockets;
    auto beside = spec.address.port == 0 ? PortUse::kOwn : spec.port;
    while (sockets.size() < count) {
        ASSIGN_OR_RETURN(Fd socket, open_one(spec, beside, limits, timeouts));
        beside = PortUse::kShared;
        if (sockets.empty()) {
            const auto bound = own_address(socket.get());
            if (!bound) return fail_errno("read the address bound for {}", describe(spec));
            spec.address = *bound;
        }
        sockets.push_back(std::move(socket));
    }
    return sockets;
}

Result<void> prepare_adopted(ListenerSpec& spec, const std::vector<Fd>& sockets, const Limits& limits,
                             const Timeouts& timeouts) {
    if (sockets.empty()) return fail("adopt a listener for {}: there is no socket", describe(spec));
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        const int socket = sockets[i].get();
        ASSIGN_OR_RETURN(const auto address, check_adopted(spec, socket));
        if (i > 0 && address != spec.address)
            return fail("adopted socket {}: is at {}, others at {}", socket, address.text(), spec.address.text());
        spec.address = address;
        RETURN_IF_ERROR(configure(socket, spec, timeouts));
        // Who made it had another backlog; this changes nothing else of a socket that listens.
        if (spec.protocol == net::Protocol::kTcp && ::listen(socket, limits.backlog) < 0)
            return fail_errno("adopted socket {}: set the backlog of {}", socket, describe(spec));
        const int flags = ::fcntl(socket, F_GETFL);
        if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(socket, F_SETFD, FD_CLOEXEC) < 0)
            return fail_errno("adopted socket {}: set its flags", socket);
    }
    return {};
}

}  // namespace ghostip::relay
