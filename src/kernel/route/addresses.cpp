#include "kernel/route/addresses.h"

#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "kernel/netlink/messages.h"
#include "kernel/route/gateways.h"

namespace ghostip::kernel::route {
namespace {

bool is_address_of(const nlmsghdr* message, const std::string& device) {
    if (device.empty()) return false;
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    std::array<char, IF_NAMESIZE> name{};
    return ::if_indextoname(header->ifa_index, name.data()) != nullptr && device == name.data();
}

// Does the message say that addresses may have changed, or the gateways, of which `seen` are known?
bool matters(const nlmsghdr* message, const std::string& but, std::set<net::IpAddress>& seen) {
    if (message->nlmsg_type == RTM_NEWADDR || message->nlmsg_type == RTM_DELADDR) return !is_address_of(message, but);
    const auto news = route_news(message);
    if (!news) return false;
    if (news->removed) return news->is_default && !news->gateways.empty();
    constexpr std::size_t kMostRemembered = 4096;  // of all there ever were
    if (seen.size() > kMostRemembered) seen.clear();
    bool any_new = false;
    for (const auto& gateway : news->gateways) any_new = seen.insert(gateway).second || any_new;
    return any_new;
}

}  // namespace

Result<std::vector<net::IpAddress>> interface_addresses(std::string_view but) {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) < 0) return fail_errno("list interface addresses");
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    std::vector<net::IpAddress> addresses;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || (!but.empty() && but == entry->ifa_name)) continue;
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

Result<AddressWatch> AddressWatch::open(std::string but) {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!socket) return fail_errno("open a route netlink socket");
    // Room for a burst: a thousand pods that come at once are more than the default holds (Linux 6.1: 208 KiB), and
    // what is lost has to be taken for a change. Not being allowed to have it does no harm.
    constexpr int kBurstBytes = 4 << 20;
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBurstBytes, sizeof kBurstBytes);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    local.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("subscribe to changes of addresses and routes");
    return AddressWatch(std::move(socket), std::move(but));
}

// Everything that waits to be read, but no more than a thousand answers at once: who waits may have to stop.
bool AddressWatch::read_news() {
    constexpr int kMostAnswers = 1000;
    bool changed = false;
    alignas(nlmsghdr) std::array<char, 16384> buffer{};
    for (int i = 0; i < kMostAnswers; ++i) {
        const auto size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == ENOBUFS) {
            changed = true;  // something was lost: it may have been anything
            continue;
        }
        if (size <= 0) break;
        for (const nlmsghdr* message : netlink::messages(buffer.data(), static_cast<std::size_t>(size)))
            changed = matters(message, but_, gateways_) || changed;
    }
    return changed;
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
        if (read_news()) return true;
    }
}

}  // namespace ghostip::kernel::route
