#include "kernel/link/linux.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <map>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::link {
namespace {

constexpr int kMostTries = 5;  // of a list that changes while it is read

// The text of an attribute; empty if it is none.
std::string text_of(const nlattr* attribute) {
    if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0) return {};
    return mnl_attr_get_str(attribute);
}

bool is_link(const nlmsghdr* message) {
    return message->nlmsg_type == RTM_NEWLINK && mnl_nlmsg_get_payload_len(message) >= sizeof(ifinfomsg);
}

Device read_device(const nlmsghdr* link) {
    Device device;
    device.up = (static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(link))->ifi_flags & IFF_UP) != 0;
    for (const nlattr* part : netlink::attributes(link, sizeof(ifinfomsg))) {
        if (mnl_attr_get_type(part) == IFLA_IFNAME) device.name = text_of(part);
        if (mnl_attr_get_type(part) != IFLA_LINKINFO) continue;
        for (const nlattr* about : netlink::nested(part))
            if (mnl_attr_get_type(about) == IFLA_INFO_KIND) device.kind = text_of(about);
    }
    return device;
}

// Of an IPv4 device at both ends of a line, IFA_ADDRESS is the other end's and IFA_LOCAL its own.
std::optional<DeviceAddress> read_address(const nlmsghdr* message, const std::map<int, std::string>& names) {
    if (message->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(message) < sizeof(ifaddrmsg))
        return std::nullopt;
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) return std::nullopt;
    const auto name = names.find(static_cast<int>(header->ifa_index));
    if (name == names.end()) return std::nullopt;  // came after the devices were listed
    const auto family = header->ifa_family == AF_INET ? net::Family::kIpv4 : net::Family::kIpv6;
    const nlattr* found = nullptr;
    for (const nlattr* part : netlink::attributes(message, sizeof(ifaddrmsg)))
        if (mnl_attr_get_type(part) == IFA_LOCAL || (mnl_attr_get_type(part) == IFA_ADDRESS && found == nullptr))
            found = part;
    if (found == nullptr || mnl_attr_get_payload_len(found) * 8 < net::address_bits(family)) return std::nullopt;
    const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(found));
    return DeviceAddress{name->second, net::IpAddress::from_bytes(family, bytes), header->ifa_prefixlen};
}

nlmsghdr* start_link(netlink::Request& request, std::uint16_t type, std::uint16_t flags, const std::string& name) {
    nlmsghdr* message = request.start(type, flags);
    mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
    // One byte more than a name may have is refused.
    if (!name.empty()) mnl_attr_put_strz(message, IFLA_IFNAME, name.substr(0, IFNAMSIZ).c_str());
    return message;
}

}  // namespace

Result<std::unique_ptr<LinuxLinks>> LinuxLinks::open() {
    ASSIGN_OR_RETURN(auto socket, netlink::Socket::open(NETLINK_ROUTE));
    return std::unique_ptr<LinuxLinks>(new LinuxLinks(std::move(socket)));
}

Result<std::optional<LinuxLinks::Found>> LinuxLinks::look_up(const std::string& name) {
    netlink::Request request;
    std::optional<Found> found;
    const auto what = "look at device " + name;
    const auto answer = socket_.ask(start_link(request, RTM_GETLINK, 0, name), what, [&](const nlmsghdr* link) {
        if (is_link(link))
            found = Found{static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(link))->ifi_index, read_device(link)};
    });
    if (!answer && answer.error().code == ENODEV) return std::optional<Found>();
    RETURN_IF_ERROR(answer);
    if (!found) return fail("{}: an answer without a device", what);
    return found;
}

Result<std::optional<Device>> LinuxLinks::find(const std::string& name) {
    ASSIGN_OR_RETURN(auto found, look_up(name));
    if (!found) return std::optional<Device>();
    return std::optional(std::move(found->device));
}

Result<void> LinuxLinks::create_dummy(const std::string& name) {
    const auto what = "create dummy device " + name;
    if (name.empty()) return errno_error(EINVAL, what);  // the kernel would choose one
    netlink::Request request;
    nlmsghdr* message = start_link(request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, name);
    auto* nest = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, std::string(kDummy).c_str());
    mnl_attr_nest_end(message, nest);
    auto made = socket_.ask(message, what);
    if (!made && made.error().code == ERANGE) return errno_error(EINVAL, what);  // how it is said of long names
    return made;
}

Result<bool> LinuxLinks::delete_dummy(const std::string& name) {
    ASSIGN_OR_RETURN(const auto found, look_up(name));
    if (!found) return false;
    if (found->device.kind != kDummy) return not_a_dummy(found->device);
    netlink::Request request;
    // By number: another device may have the name by now.
    nlmsghdr* message = start_link(request, RTM_DELLINK, 0, "");
    static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(message))->ifi_index = found->index;
    const auto done = socket_.ask(message, "delete device " + name);
    if (!done && done.error().code == ENODEV) return false;
    RETURN_IF_ERROR(done);
    return true;
}

Result<std::vector<DeviceAddress>> LinuxLinks::list_once() {
    netlink::Request request;
    std::map<int, std::string> names;
    RETURN_IF_ERROR(
        socket_.list(start_link(request, RTM_GETLINK, 0, ""), "list network devices", [&](const nlmsghdr* link) {
            if (is_link(link))
                names[static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(link))->ifi_index] = read_device(link).name;
        }));
    std::vector<DeviceAddress> all;
    nlmsghdr* message = request.start(RTM_GETADDR);
    mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg));
    RETURN_IF_ERROR(socket_.list(message, "list addresses of network devices", [&](const nlmsghdr* line) {
        if (auto address = read_address(line, names)) all.push_back(std::move(*address));
    }));
    return all;
}

Result<std::vector<DeviceAddress>> LinuxLinks::addresses() {
    for (int attempt = 1;; ++attempt) {
        auto all = list_once();
        if (all || all.error().code != EINTR || attempt >= kMostTries) return all;
    }
}

Result<std::vector<Refusal>> LinuxLinks::add_addresses(const std::string& dummy,
                                                       std::span<const net::IpAddress> addresses) {
    return change(Verb::kAdd, dummy, addresses);
}

Result<std::vector<Refusal>> LinuxLinks::remove_addresses(const std::string& dummy,
                                                          std::span<const net::IpAddress> addresses) {
    return change(Verb::kRemove, dummy, addresses);
}

Result<std::vector<Refusal>> LinuxLinks::change(Verb verb, const std::string& dummy,
                                                std::span<const net::IpAddress> addresses) {
    const bool add = verb == Verb::kAdd;
    const auto what = fmt::format("{} device {}", add ? "add addresses to" : "remove addresses from", dummy);
    ASSIGN_OR_RETURN(const auto found, look_up(dummy));
    if (!found) return errno_error(ENODEV, what);
    if (found->device.kind != kDummy) return not_a_dummy(found->device);
    netlink::Batch batch;
    for (const auto& address : addresses) {
        netlink::Request request;
        nlmsghdr* message =
            request.start(add ? RTM_NEWADDR : RTM_DELADDR, add ? std::uint16_t{NLM_F_CREATE | NLM_F_EXCL} : 0);
        auto* header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
        header->ifa_family = address.is_ipv4() ? AF_INET : AF_INET6;
        header->ifa_prefixlen = static_cast<std::uint8_t>(net::address_bits(address.family()));
        header->ifa_index = static_cast<std::uint32_t>(found->index);
        header->ifa_flags = address.is_ipv4() ? 0 : IFA_F_NODAD;  // nobody else is on this line
        mnl_attr_put(message, IFA_LOCAL, address.bytes().size(), address.bytes().data());
        mnl_attr_put(message, IFA_ADDRESS, address.bytes().size(), address.bytes().data());
        batch.add(message);
    }
    std::vector<Refusal> refusals;
    RETURN_IF_ERROR(socket_.ask_all(batch, what, [&](std::size_t index, int code, const nlmsghdr* /*answer*/) {
        if (code == (add ? EEXIST : EADDRNOTAVAIL)) return;
        refusals.push_back({index, errno_error(code, fmt::format("{}: {}", what, addresses[index].text()))});
    }));
    return refusals;
}

}  // namespace ghostip::kernel::link
