#include "kernel/conntrack_entries.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace ghostip::testnet {
namespace {

using kernel::conntrack::Tuple;

constexpr std::size_t kBatch = 64;
constexpr std::size_t kEntryBytes = 512;
constexpr std::uint32_t kLifetimeSeconds = 3600;

void put_tuple(nlmsghdr* header, std::uint16_t type, const NewEntry& entry, const Tuple& tuple, std::uint16_t zone) {
    const auto address = [&](std::uint16_t v4, std::uint16_t v6, const net::IpAddress& value) {
        mnl_attr_put(header, value.is_ipv4() ? v4 : v6, value.bytes().size(), value.bytes().data());
    };
    auto* nest = mnl_attr_nest_start(header, type);
    auto* ip = mnl_attr_nest_start(header, CTA_TUPLE_IP);
    address(CTA_IP_V4_SRC, CTA_IP_V6_SRC, tuple.source.address);
    address(CTA_IP_V4_DST, CTA_IP_V6_DST, tuple.destination.address);
    mnl_attr_nest_end(header, ip);
    auto* proto = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(header, CTA_PROTO_NUM, static_cast<std::uint8_t>(entry.protocol));
    mnl_attr_put_u16(header, CTA_PROTO_SRC_PORT, htons(tuple.source.port));
    mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(tuple.destination.port));
    mnl_attr_nest_end(header, proto);
    if (zone != 0) mnl_attr_put_u16(header, CTA_TUPLE_ZONE, htons(zone));
    mnl_attr_nest_end(header, nest);
}

nlmsghdr* put_header(void* at, std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, std::uint8_t family) {
    auto* header = mnl_nlmsg_put_header(at);
    header->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence;
    auto* payload = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    payload->nfgen_family = family;
    payload->version = NFNETLINK_V0;
    return header;
}

nlmsghdr* put_entry(void* at, std::uint32_t sequence, std::uint16_t more_flags, const NewEntry& entry) {
    auto* header = put_header(at, IPCTNL_MSG_CT_NEW, static_cast<std::uint16_t>(NLM_F_CREATE | NLM_F_EXCL | more_flags),
                              sequence, entry.original.source.address.is_ipv4() ? NFPROTO_IPV4 : NFPROTO_IPV6);
    put_tuple(header, CTA_TUPLE_ORIG, entry, entry.original, entry.zones.original);
    put_tuple(header, CTA_TUPLE_REPLY, entry, entry.reply, entry.zones.reply);
    if (entry.zones.both != 0) mnl_attr_put_u16(header, CTA_ZONE, htons(entry.zones.both));
    mnl_attr_put_u32(header, CTA_TIMEOUT, htonl(kLifetimeSeconds));
    if (entry.protocol == net::Protocol::kTcp) {
        auto* info = mnl_attr_nest_start(header, CTA_PROTOINFO);
        auto* tcp = mnl_attr_nest_start(header, CTA_PROTOINFO_TCP);
        mnl_attr_put_u8(header, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
        mnl_attr_nest_end(header, tcp);
        mnl_attr_nest_end(header, info);
    }
    return header;
}

Result<Fd> open_socket() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netfilter netlink socket");
    return socket;
}

int take_count(const nlmsghdr* message, void* context) {
    const nlattr* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(nfgenmsg)));
    for (; mnl_attr_ok(attribute, static_cast<int>(static_cast<const char*>(mnl_nlmsg_get_payload_tail(message)) -
                                                   reinterpret_cast<const char*>(attribute)));
         attribute = mnl_attr_next(attribute))
        if (mnl_attr_get_type(attribute) == CTA_STATS_GLOBAL_ENTRIES)
            *static_cast<std::uint32_t*>(context) = ntohl(mnl_attr_get_u32(attribute));
    return MNL_CB_OK;
}

}  // namespace

Result<ConntrackMaker> ConntrackMaker::open() {
    ASSIGN_OR_RETURN(Fd socket, open_socket());
    return ConntrackMaker(std::move(socket));
}

Result<void> ConntrackMaker::make(const std::vector<NewEntry>& entries) {
    alignas(nlmsghdr) std::array<char, kBatch * kEntryBytes> out{};
    alignas(nlmsghdr) std::array<char, 1 << 15> in{};
    for (std::size_t from = 0; from < entries.size(); from += kBatch) {
        const std::size_t until = std::min(entries.size(), from + kBatch);
        char* at = out.data();
        // Only the last one asks for an answer; those that fail answer in any case.
        for (std::size_t i = from; i < until; ++i)
            at += put_entry(at, ++sequence_, i + 1 == until ? NLM_F_ACK : 0, entries[i])->nlmsg_len;
        if (::send(socket_.get(), out.data(), static_cast<std::size_t>(at - out.data()), 0) < 0)
            return fail_errno("make tracked flows");
        for (bool answered = false; !answered;) {
            const auto got = ::recv(socket_.get(), in.data(), in.size(), 0);
            if (got < 0) return fail_errno("make tracked flows");
            int left = static_cast<int>(got);
            for (auto* message = reinterpret_cast<const nlmsghdr*>(in.data()); mnl_nlmsg_ok(message, left);
                 message = mnl_nlmsg_next(message, &left)) {
                int code = 0;
                std::memcpy(&code, mnl_nlmsg_get_payload(message), sizeof code);
                if (code != 0)
                    return errno_error(
                        -code, fmt::format("make tracked flow {}", until - 1 - (sequence_ - message->nlmsg_seq)));
                answered = answered || message->nlmsg_seq == sequence_;
            }
        }
    }
    return {};
}

Result<std::uint32_t> tracked_here() {
    ASSIGN_OR_RETURN(const Fd socket, open_socket());
    alignas(nlmsghdr) std::array<char, 8192> buffer{};
    const auto* header = put_header(buffer.data(), IPCTNL_MSG_CT_GET_STATS, 0, 1, AF_UNSPEC);
    if (::send(socket.get(), header, header->nlmsg_len, 0) < 0) return fail_errno("count tracked flows");
    const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    std::uint32_t count = 0;
    if (got < 0 || mnl_cb_run(buffer.data(), static_cast<std::size_t>(got), 1, 0, take_count, &count) < 0)
        return fail_errno("count tracked flows");
    return count;
}

}  // namespace ghostip::testnet
