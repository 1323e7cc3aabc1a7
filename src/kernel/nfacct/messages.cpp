#include "kernel/nfacct/messages.h"

#include <endian.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_acct.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <string>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::nfacct {
namespace {

static_assert(kLongestName == NFACCT_NAME_MAX - 1);

nlmsghdr* put(void* buffer, int kind, int flags, std::uint32_t sequence, std::string_view name) {
    auto* const message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_ACCT << 8 | kind);
    message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    message->nlmsg_seq = sequence;
    auto* const header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    header->nfgen_family = AF_UNSPEC;
    header->version = NFNETLINK_V0;
    mnl_attr_put_strz(message, NFACCT_NAME, std::string(name).c_str());
    return message;
}

std::optional<std::uint64_t> read_number(const nlattr* attribute) {
    if (mnl_attr_validate(attribute, MNL_TYPE_U64) < 0) return std::nullopt;
    return be64toh(mnl_attr_get_u64(attribute));
}

}  // namespace

// Without NLM_F_REPLACE, which would set an existing counter to zero.
nlmsghdr* put_create(void* buffer, std::uint32_t sequence, std::string_view name) {
    return put(buffer, NFNL_MSG_ACCT_NEW, NLM_F_CREATE, sequence, name);
}

nlmsghdr* put_read(void* buffer, std::uint32_t sequence, std::string_view name) {
    return put(buffer, NFNL_MSG_ACCT_GET, 0, sequence, name);
}

std::optional<Counter> read_counter(const nlmsghdr* message) {
    if (message->nlmsg_type != (NFNL_SUBSYS_ACCT << 8 | NFNL_MSG_ACCT_NEW)) return std::nullopt;
    if (message->nlmsg_len < NLMSG_HDRLEN + sizeof(nfgenmsg)) return std::nullopt;
    std::optional<std::uint64_t> packets;
    std::optional<std::uint64_t> bytes;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        if (mnl_attr_get_type(attribute) == NFACCT_PKTS) packets = read_number(attribute);
        if (mnl_attr_get_type(attribute) == NFACCT_BYTES) bytes = read_number(attribute);
    }
    if (!packets || !bytes) return std::nullopt;
    return Counter{*packets, *bytes};
}

}  // namespace ghostip::kernel::nfacct
