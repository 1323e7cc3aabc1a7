#include "kernel/route/gateways.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <set>

#include "base/fd.h"
#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"

namespace ghostip::kernel::route {
namespace {

std::optional<net::IpAddress> address_from(int family, const void* bytes, std::size_t size) {
    const auto* octets = static_cast<const std::uint8_t*>(bytes);
    if (family == AF_INET && size >= 4) return net::IpAddress::from_bytes(net::Family::kIpv4, octets);
    if (family == AF_INET6 && size >= 16) return net::IpAddress::from_bytes(net::Family::kIpv6, octets);
    return std::nullopt;
}

// RTA_GATEWAY has the route's family, RTA_VIA names its own (an IPv4 route through an IPv6 router, Linux 5.2).
void add_gateway(int family, const nlattr* attribute, std::vector<net::IpAddress>& gateways) {
    const auto* payload = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
    const std::size_t size = mnl_attr_get_payload_len(attribute);
    std::optional<net::IpAddress> gateway;
    if (mnl_attr_get_type(attribute) == RTA_GATEWAY) {
        gateway = address_from(family, payload, size);
    } else if (mnl_attr_get_type(attribute) == RTA_VIA && size > offsetof(rtvia, rtvia_addr)) {
        const auto* via = reinterpret_cast<const rtvia*>(payload);
        gateway =
            address_from(via->rtvia_family, payload + offsetof(rtvia, rtvia_addr), size - offsetof(rtvia, rtvia_addr));
    }
    if (gateway) gateways.push_back(*gateway);
}

// A list of next hops, each a header with attributes of its own behind it.
void add_hops(int family, const nlattr* multipath, std::vector<net::IpAddress>& gateways) {
    const auto* at = static_cast<const char*>(mnl_attr_get_payload(multipath));
    std::size_t left = mnl_attr_get_payload_len(multipath);
    while (left >= sizeof(rtnexthop)) {
        const auto* hop = reinterpret_cast<const rtnexthop*>(at);
        if (hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > left) return;
        for (const nlattr* attribute : netlink::Attributes(at + sizeof(rtnexthop), at + hop->rtnh_len))
            add_gateway(family, attribute, gateways);
        const std::size_t step = RTNH_ALIGN(static_cast<std::size_t>(hop->rtnh_len));
        if (step >= left) return;
        at += step;
        left -= step;
    }
}

// Asks for all routes of a family and hands each message over. True: the kernel changed something meanwhile.
template <typename Visit>
Result<bool> dump_routes(int family, Visit visit) {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket) return fail_errno("open a route netlink socket");
    alignas(nlmsghdr) std::array<char, 32768> buffer{};  // the most that the kernel puts into one answer of a dump
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = RTM_GETROUTE;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)))->rtm_family =
        static_cast<unsigned char>(family);
    if (::send(socket.get(), request, request->nlmsg_len, 0) < 0) return fail_errno("ask for routes");
    bool interrupted = false;
    while (true) {
        const auto size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return fail_errno("read routes");
        if (size == 0) return fail("read routes: the kernel sent nothing");
        for (const nlmsghdr* message : netlink::messages(buffer.data(), static_cast<std::size_t>(size))) {
            interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (message->nlmsg_type == NLMSG_DONE) return interrupted;
            if (message->nlmsg_type == NLMSG_ERROR) {
                errno = netlink::error_code(message);
                return fail_errno("read routes");
            }
            visit(message);
        }
    }
}

}  // namespace

// Routes by way of next-hop objects (RTA_NH_ID) are told with their gateways as well, unless somebody sets
// net.ipv4.nexthop_compat_mode to 0; their gateways are not known then.
std::optional<RouteNews> route_news(const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWROUTE && message->nlmsg_type != RTM_DELROUTE) return std::nullopt;
    if (mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) return std::nullopt;
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    if (route->rtm_family != AF_INET && route->rtm_family != AF_INET6) return std::nullopt;
    RouteNews news;
    news.removed = message->nlmsg_type == RTM_DELROUTE;
    news.is_default = route->rtm_dst_len == 0;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(rtmsg))) {
        if (mnl_attr_get_type(attribute) == RTA_MULTIPATH)
            add_hops(route->rtm_family, attribute, news.gateways);
        else
            add_gateway(route->rtm_family, attribute, news.gateways);
    }
    return news;
}

Result<std::vector<net::IpAddress>> gateways() {
    constexpr int kMostTries = 3;  // a list that changed while it was read is better than none
    std::set<net::IpAddress> all;  // few, however many routes there are
    const auto collect = [&](const nlmsghdr* message) {
        const auto news = route_news(message);
        if (news) all.insert(news->gateways.begin(), news->gateways.end());
    };
    for (const int family : {AF_INET, AF_INET6}) {
        bool again = true;
        for (int tries = 0; again && tries < kMostTries; ++tries) {
            ASSIGN_OR_RETURN(again, dump_routes(family, collect));
        }
    }
    return std::vector<net::IpAddress>(all.begin(), all.end());
}

}  // namespace ghostip::kernel::route
