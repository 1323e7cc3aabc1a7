#include "kernel/xtables/policy.h"

#include <netinet/in.h>
#include <sys/socket.h>
// After the headers of libc, with which they share definitions.
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include <cstddef>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace ghostip::kernel::xtables {
namespace {

constexpr std::string_view kFilter = "filter";
constexpr int kRetries = 5;

// What differs between the families: names, numbers, and how long the head of an entry is.
struct Variant {
    const char* names;  // the tables in use; asking for another one would create it
    int domain;
    int level;
    int get_info;
    int get_entries;
    std::size_t entry_bytes;
    std::size_t target_offset_at;
};

const Variant& variant(net::Family family) {
    static const Variant ipv4{"/proc/thread-self/net/ip_tables_names",
                              AF_INET,
                              IPPROTO_IP,
                              IPT_SO_GET_INFO,
                              IPT_SO_GET_ENTRIES,
                              sizeof(ipt_entry),
                              offsetof(ipt_entry, target_offset)};
    static const Variant ipv6{"/proc/thread-self/net/ip6_tables_names",
                              AF_INET6,
                              IPPROTO_IPV6,
                              IP6T_SO_GET_INFO,
                              IP6T_SO_GET_ENTRIES,
                              sizeof(ip6t_entry),
                              offsetof(ip6t_entry, target_offset)};
    return family == net::Family::kIpv4 ? ipv4 : ipv6;
}

static_assert(sizeof(ipt_getinfo) == sizeof(ip6t_getinfo));
static_assert(sizeof(ipt_get_entries) == sizeof(ip6t_get_entries));

bool in_use(const Variant& variant) {
    std::ifstream names(variant.names);
    for (std::string name; std::getline(names, name);)
        if (name == kFilter) return true;
    return false;
}

// One try; EAGAIN if the table was replaced between the two questions.
Result<std::optional<Policy>> read_policy(const Fd& socket, const Variant& variant, net::Family family) {
    ipt_getinfo info{};
    std::memcpy(&info.name[0], kFilter.data(), kFilter.size());
    socklen_t length = sizeof info;
    if (::getsockopt(socket.get(), variant.level, variant.get_info, &info, &length) < 0)
        return fail_errno("ask for table filter of iptables-legacy");
    std::vector<std::uint8_t> answer(sizeof(ipt_get_entries) + info.size);
    std::memcpy(answer.data(), kFilter.data(), kFilter.size());
    std::memcpy(answer.data() + offsetof(ipt_get_entries, size), &info.size, sizeof info.size);
    length = static_cast<socklen_t>(answer.size());
    if (::getsockopt(socket.get(), variant.level, variant.get_entries, answer.data(), &length) < 0)
        return fail_errno("read table filter of iptables-legacy");
    const std::span<const std::uint8_t> entries(answer);
    return policy_at(entries.subspan(sizeof(ipt_get_entries)), info.underflow[NF_INET_FORWARD], family);
}

}  // namespace

std::optional<Policy> policy_at(std::span<const std::uint8_t> entries, std::size_t offset, net::Family family) {
    const auto& kind = variant(family);
    if (offset > entries.size() || entries.size() - offset < kind.entry_bytes) return std::nullopt;
    std::uint16_t target_offset = 0;
    std::memcpy(&target_offset, entries.data() + offset + kind.target_offset_at, sizeof target_offset);
    xt_standard_target target{};
    if (entries.size() - offset < target_offset + sizeof target) return std::nullopt;
    std::memcpy(&target, entries.data() + offset + target_offset, sizeof target);
    // A policy is a rule without matches whose target has no name, with the verdict -NF_x - 1.
    if (target.target.u.user.name[0] != '\0') return std::nullopt;
    if (target.verdict == -NF_DROP - 1) return Policy::kDrop;
    if (target.verdict == -NF_ACCEPT - 1) return Policy::kAccept;
    return std::nullopt;
}

Result<std::optional<Policy>> forward_policy(net::Family family) {
    const auto& kind = variant(family);
    if (!in_use(kind)) return std::optional<Policy>{};
    // Any socket of the domain will do; a raw one, which iptables takes, would need CAP_NET_RAW.
    const Fd socket{::socket(kind.domain, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket) return fail_errno("open a socket");
    for (int attempt = 1;; ++attempt) {
        auto policy = read_policy(socket, kind, family);
        if (policy || policy.error().code != EAGAIN || attempt == kRetries) return policy;
    }
}

}  // namespace ghostip::kernel::xtables
