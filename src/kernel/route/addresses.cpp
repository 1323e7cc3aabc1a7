#include "kernel/route/addresses.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

namespace ghostip::kernel::route {

Result<std::vector<net::IpAddress>> interface_addresses() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) < 0) return fail_errno("list interface addresses");
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    std::vector<net::IpAddress> addresses;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr) continue;
        if (entry->ifa_addr->sa_family == AF_INET) {
            const auto* address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
            addresses.push_back(net::IpAddress::from_bytes(net::Family::kIpv4,
                                                           reinterpret_cast<const std::uint8_t*>(&address->sin_addr)));
        } else if (entry->ifa_addr->sa_family == AF_INET6) {
            const auto* address = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
            addresses.push_back(net::IpAddress::from_bytes(net::Family::kIpv6, address->sin6_addr.s6_addr));
        }
    }
    return addresses;
}

Result<AddressWatch> AddressWatch::open() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!socket) return fail_errno("open a route netlink socket");
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    local.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("subscribe to address changes");
    return AddressWatch(std::move(socket));
}

bool AddressWatch::wait(int stop_fd) {
    while (true) {
        std::array<pollfd, 2> fds{{{socket_.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}}};
        if (::poll(fds.data(), fds.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        if (fds[1].revents != 0) return false;
        if (fds[0].revents == 0) continue;
        // What exactly changed does not matter; a lost notification (ENOBUFS) is a change too.
        std::array<char, 8192> buffer{};
        while (::recv(socket_.get(), buffer.data(), buffer.size(), 0) > 0) {
        }
        return true;
    }
}

}  // namespace ghostip::kernel::route
