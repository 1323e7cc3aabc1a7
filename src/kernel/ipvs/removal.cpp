#include "kernel/ipvs/removal.h"

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <fstream>
#include <functional>
#include <iterator>
#include <vector>

#include "base/fd.h"
#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"

namespace ghostip::kernel::ipvs {
namespace {

constexpr const char* kServersFile = "/proc/thread-self/net/ip_vs";
constexpr timeval kAnswerWithin{5, 0};

using Buffer = std::array<char, 8192>;
using Visit = std::function<void(const nlmsghdr*)>;

// Sends one request and reads to its acknowledgement; what else is answered goes to `visit`.
Result<void> ask(int protocol, nlmsghdr* request, const std::string& what, const Visit& visit = nullptr) {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    if (!socket) return fail_errno("{}: open a netlink socket", what);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerWithin, sizeof kAnswerWithin);
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (::send(socket.get(), request, request->nlmsg_len, 0) < 0) return fail_errno("{}", what);
    alignas(nlmsghdr) Buffer buffer{};
    while (true) {
        const auto received = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("{}", what);
        for (const nlmsghdr* message : netlink::messages(buffer.data(), static_cast<std::size_t>(received))) {
            if (message->nlmsg_type != NLMSG_ERROR) {
                if (visit) visit(message);
                continue;
            }
            const int code = netlink::error_code(message);
            if (code == 0) return {};
            return errno_error(code, what);
        }
    }
}

nlmsghdr* put_generic(Buffer& buffer, std::uint16_t type, std::uint8_t command) {
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = type;
    auto* generic = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(request, sizeof(genlmsghdr)));
    generic->cmd = command;
    generic->version = IPVS_GENL_VERSION;
    return request;
}

Result<std::uint16_t> family_number() {
    alignas(nlmsghdr) Buffer buffer{};
    nlmsghdr* request = put_generic(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME);
    std::uint16_t number = 0;
    RETURN_IF_ERROR(ask(NETLINK_GENERIC, request, "ask for IPVS", [&](const nlmsghdr* answer) {
        for (const nlattr* attribute : netlink::attributes(answer, sizeof(genlmsghdr)))
            if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID && mnl_attr_get_payload_len(attribute) >= 2)
                number = mnl_attr_get_u16(attribute);
    }));
    if (number == 0) return fail("ask for IPVS: the kernel names no number");
    return number;
}

std::optional<std::string> kind_of(const nlmsghdr* link) {
    for (const nlattr* attribute : netlink::attributes(link, sizeof(ifinfomsg))) {
        if (mnl_attr_get_type(attribute) != IFLA_LINKINFO) continue;
        for (const nlattr* part : netlink::nested(attribute))
            if (mnl_attr_get_type(part) == IFLA_INFO_KIND && mnl_attr_validate(part, MNL_TYPE_NUL_STRING) >= 0)
                return mnl_attr_get_str(part);
    }
    return std::nullopt;
}

// Absent: no such device. Empty: a device that says no kind.
Result<std::optional<std::string>> device_kind(const std::string& name) {
    alignas(nlmsghdr) Buffer buffer{};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = RTM_GETLINK;
    mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
    mnl_attr_put_strz(request, IFLA_IFNAME, name.c_str());
    std::string kind;
    const auto answer = ask(NETLINK_ROUTE, request, "look at device " + name,
                            [&](const nlmsghdr* link) { kind = kind_of(link).value_or(""); });
    if (answer) return std::optional(kind);
    if (answer.error().code == ENODEV) return std::optional<std::string>();
    return answer.error();
}

}  // namespace

bool available() { return ::access(kServersFile, R_OK) == 0; }

// Built in or loaded, it has a parameter.
bool sets_available() { return ::access("/sys/module/ip_set", F_OK) == 0; }

// "  -> 0A000105:1F90      Masq    1      2          3": forwarding, weight, active and inactive connections.
Servers parse_servers(std::string_view text) {
    Servers servers;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        std::vector<std::string_view> words;
        while (!line.empty()) {
            const auto space = std::min(line.find(' '), line.size());
            if (space > 0) words.push_back(line.substr(0, space));
            line.remove_prefix(std::min(space + 1, line.size()));
        }
        if (words.empty()) continue;
        if (words[0] == "TCP" || words[0] == "UDP" || words[0] == "SCTP" || words[0] == "FWM")
            ++servers.virtual_servers;
        std::uint64_t active = 0;
        if (words[0] == "->" && words.size() >= 6 &&
            std::from_chars(words[4].data(), words[4].data() + words[4].size(), active).ec == std::errc())
            servers.active_connections += active;
    }
    return servers;
}

Result<std::optional<Servers>> servers() {
    if (!available()) return std::optional<Servers>();
    std::ifstream file(kServersFile);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (text.empty()) return fail_errno("read {}", kServersFile);
    return std::optional(parse_servers(text));
}

Result<void> flush_servers() {
    ASSIGN_OR_RETURN(const auto family, family_number());
    alignas(nlmsghdr) Buffer buffer{};
    return ask(NETLINK_GENERIC, put_generic(buffer, family, IPVS_CMD_FLUSH), "remove IPVS' virtual servers");
}

Result<bool> dummy_device_exists(const std::string& name) {
    ASSIGN_OR_RETURN(const auto kind, device_kind(name));
    return kind == "dummy";
}

Result<bool> delete_dummy_device(const std::string& name) {
    ASSIGN_OR_RETURN(const auto kind, device_kind(name));
    if (!kind) return false;
    if (*kind != "dummy") return fail("device {} is of kind \"{}\", not dummy: left as it is", name, *kind);
    alignas(nlmsghdr) Buffer buffer{};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = RTM_DELLINK;
    mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
    mnl_attr_put_strz(request, IFLA_IFNAME, name.c_str());
    RETURN_IF_ERROR(ask(NETLINK_ROUTE, request, "delete device " + name));
    return true;
}

Result<bool> destroy_set(const std::string& name) {
    alignas(nlmsghdr) Buffer buffer{};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_DESTROY;
    request->nlmsg_flags = NLM_F_EXCL;  // without it, a set that is not there counts as destroyed
    auto* netfilter = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(nfgenmsg)));
    netfilter->nfgen_family = AF_INET;  // the kernel looks at the name only
    netfilter->version = NFNETLINK_V0;
    mnl_attr_put_u8(request, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
    mnl_attr_put_strz(request, IPSET_ATTR_SETNAME, name.c_str());
    const auto done = ask(NETLINK_NETFILTER, request, "destroy set " + name);
    if (done) return true;
    if (done.error().code == ENOENT) return false;
    // ip_set has numbers of its own above those of errno.
    if (done.error().code == IPSET_ERR_BUSY) return errno_error(EBUSY, "destroy set " + name);
    return done.error();
}

}  // namespace ghostip::kernel::ipvs
