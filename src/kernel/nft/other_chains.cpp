#include "kernel/nft/other_chains.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstddef>

#include "base/fd.h"
#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kReceiveBytes = 1 << 16;
constexpr int kInterruptedRetries = 10;
constexpr timeval kAnswerWithin{5, 0};

// The kernel checks types on the way in only; on the way out a reader must not trust sizes.
std::optional<std::uint32_t> number(const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(std::uint32_t)) return std::nullopt;
    return ntohl(mnl_attr_get_u32(attribute));
}

std::optional<std::string> text(const nlattr* attribute) {
    if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0) return std::nullopt;
    return mnl_attr_get_str(attribute);
}

std::optional<TableFamily> table_family(std::uint8_t family) {
    switch (family) {
        case NFPROTO_IPV4: return TableFamily::kIp;
        case NFPROTO_IPV6: return TableFamily::kIp6;
        case NFPROTO_INET: return TableFamily::kInet;
        default: return std::nullopt;
    }
}

std::optional<Hook> hook_of(std::uint32_t number) {
    switch (number) {
        case NF_INET_PRE_ROUTING: return Hook::kPrerouting;
        case NF_INET_LOCAL_IN: return Hook::kInput;
        case NF_INET_FORWARD: return Hook::kForward;
        case NF_INET_LOCAL_OUT: return Hook::kOutput;
        case NF_INET_POST_ROUTING: return Hook::kPostrouting;
        default: return std::nullopt;  // inet chains can also hook into ingress
    }
}

bool parse_hook(const nlattr* nest, OtherChain& chain) {
    std::optional<Hook> hook;
    std::optional<std::uint32_t> priority;
    for (const nlattr* part : netlink::nested(nest)) {
        const auto value = number(part);
        if (!value) continue;
        if (mnl_attr_get_type(part) == NFTA_HOOK_HOOKNUM) hook = hook_of(*value);
        if (mnl_attr_get_type(part) == NFTA_HOOK_PRIORITY) priority = value;
    }
    if (!hook || !priority) return false;
    chain.hook = *hook;
    chain.priority = static_cast<std::int32_t>(*priority);
    return true;
}

template <typename T>
using Parse = std::optional<T> (*)(const nlmsghdr*);

template <typename T, Parse<T> parse>
int take(const nlmsghdr* message, void* context) {
    auto chain = parse(message);
    if (chain) static_cast<std::vector<T>*>(context)->push_back(std::move(*chain));
    return MNL_CB_OK;
}

Result<Fd> open_socket() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    // The kernel always answers; this is for the case that it does not.
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerWithin, sizeof kAnswerWithin);
    return socket;
}

Result<void> request_dump(const Fd& socket) {
    std::array<char, 64> request{};
    auto* header = mnl_nlmsg_put_header(request.data());
    header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    family->nfgen_family = NFPROTO_UNSPEC;
    family->version = NFNETLINK_V0;
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    if (::sendto(socket.get(), request.data(), header->nlmsg_len, 0, reinterpret_cast<const sockaddr*>(&kernel),
                 sizeof kernel) < 0)
        return fail_errno("ask nf_tables for its chains");
    return {};
}

// One dump; EINTR if the rules changed meanwhile, for then a chain may be missing or be there twice. A socket of its
// own for each: one that still has a dump to deliver refuses the next.
template <typename T, Parse<T> parse>
Result<std::vector<T>> dump() {
    ASSIGN_OR_RETURN(const Fd socket, open_socket());
    RETURN_IF_ERROR(request_dump(socket));
    std::vector<char> buffer(kReceiveBytes);
    std::vector<T> chains;
    int state = MNL_CB_OK;
    while (state > MNL_CB_STOP) {
        const ssize_t received = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("read nf_tables' chains");
        state = mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), 0, 0, take<T, parse>, &chains);
    }
    if (state < MNL_CB_STOP) return fail_errno("read nf_tables' chains");
    return chains;
}

template <typename T, Parse<T> parse>
Result<std::vector<T>> dump_patiently() {
    for (int attempt = 1;; ++attempt) {
        auto chains = dump<T, parse>();
        if (chains || chains.error().code != EINTR || attempt == kInterruptedRetries) return chains;
    }
}

// Absent if the message is no chain, or one of a family that routes no IP packets.
std::optional<TableFamily> family_of_chain(const nlmsghdr* message) {
    if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN)) return std::nullopt;
    if (mnl_nlmsg_get_payload_len(message) < sizeof(nfgenmsg)) return std::nullopt;
    return table_family(static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(message))->nfgen_family);
}

}  // namespace

std::string_view table_family_name(TableFamily family) {
    switch (family) {
        case TableFamily::kIp: return "ip";
        case TableFamily::kIp6: return "ip6";
        case TableFamily::kInet: return "inet";
    }
    return "?";
}

std::optional<OtherChain> parse_base_chain(const nlmsghdr* message) {
    const auto family = family_of_chain(message);
    if (!family) return std::nullopt;
    OtherChain chain;
    chain.family = *family;
    bool is_base = false;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        switch (mnl_attr_get_type(attribute)) {
            case NFTA_CHAIN_TABLE: chain.table = text(attribute).value_or(""); break;
            case NFTA_CHAIN_NAME: chain.name = text(attribute).value_or(""); break;
            case NFTA_CHAIN_HOOK: is_base = parse_hook(attribute, chain); break;
            case NFTA_CHAIN_POLICY:
                chain.policy = number(attribute) == NF_DROP ? Policy::kDrop : Policy::kAccept;
                break;
            default: break;
        }
    }
    if (!is_base || chain.table.empty() || chain.name.empty()) return std::nullopt;
    return chain;
}

std::optional<ChainName> parse_chain_name(const nlmsghdr* message) {
    const auto family = family_of_chain(message);
    if (!family) return std::nullopt;
    ChainName chain{*family, {}, {}};
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        if (mnl_attr_get_type(attribute) == NFTA_CHAIN_TABLE) chain.table = text(attribute).value_or("");
        if (mnl_attr_get_type(attribute) == NFTA_CHAIN_NAME) chain.name = text(attribute).value_or("");
    }
    if (chain.table.empty() || chain.name.empty()) return std::nullopt;
    return chain;
}

Result<std::vector<OtherChain>> base_chains() { return dump_patiently<OtherChain, parse_base_chain>(); }

Result<std::vector<ChainName>> chain_names() { return dump_patiently<ChainName, parse_chain_name>(); }

}  // namespace ghostip::kernel::nft
