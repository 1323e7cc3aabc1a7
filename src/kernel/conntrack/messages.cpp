#include "kernel/conntrack/messages.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::conntrack {
namespace {

// Which parts of a tuple a filter compares: the kernel's own numbers (net/netfilter/nf_internals.h, since 5.8), which
// no header for programs has.
enum FilterFlag : std::uint32_t {
    kAddressDestination = 1U << 1U,
    kProtocolNumber = 1U << 3U,
    kPortDestination = 1U << 5U,
};

nlmsghdr* put_header(void* buffer, std::uint32_t sequence, std::uint16_t type, std::uint16_t flags,
                     net::Family family) {
    auto* header = mnl_nlmsg_put_header(buffer);
    header->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence;
    auto* payload = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    payload->nfgen_family = family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    payload->version = NFNETLINK_V0;
    return header;
}

void put_address(nlmsghdr* header, std::uint16_t ipv4_type, std::uint16_t ipv6_type, const net::IpAddress& address) {
    mnl_attr_put(header, address.is_ipv4() ? ipv4_type : ipv6_type, address.bytes().size(), address.bytes().data());
}

void put_tuple(nlmsghdr* header, std::uint16_t type, const Tuple& tuple, std::uint16_t zone) {
    auto* nest = mnl_attr_nest_start(header, type);
    auto* ip = mnl_attr_nest_start(header, CTA_TUPLE_IP);
    put_address(header, CTA_IP_V4_SRC, CTA_IP_V6_SRC, tuple.source.address);
    put_address(header, CTA_IP_V4_DST, CTA_IP_V6_DST, tuple.destination.address);
    mnl_attr_nest_end(header, ip);
    auto* proto = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(header, CTA_PROTO_NUM, IPPROTO_UDP);
    mnl_attr_put_u16(header, CTA_PROTO_SRC_PORT, htons(tuple.source.port));
    mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(tuple.destination.port));
    mnl_attr_nest_end(header, proto);
    if (zone != 0) mnl_attr_put_u16(header, CTA_TUPLE_ZONE, htons(zone));
    mnl_attr_nest_end(header, nest);
}

// The kernel's filter (CTA_FILTER, since 5.8; an older kernel passes over it and sends everything). A port is only
// compared where the protocol is.
//
// An IPv6 address is never given: ctnetlink_filter_match_tuple() has the comparison the wrong way round and lets
// through all entries but those of that address (seen in 5.8 to 6.18). The port remains, and it is compared rightly.
void put_filter(nlmsghdr* header, const Filter& filter) {
    std::uint32_t flags = kProtocolNumber;
    auto* nest = mnl_attr_nest_start(header, CTA_TUPLE_ORIG);
    if (filter.destination && filter.family == net::Family::kIpv4) {
        flags |= kAddressDestination;
        auto* ip = mnl_attr_nest_start(header, CTA_TUPLE_IP);
        put_address(header, CTA_IP_V4_DST, CTA_IP_V6_DST, *filter.destination);
        mnl_attr_nest_end(header, ip);
    }
    auto* proto = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(header, CTA_PROTO_NUM, IPPROTO_UDP);
    if (filter.destination_port) {
        flags |= kPortDestination;
        mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(*filter.destination_port));
    }
    mnl_attr_nest_end(header, proto);
    mnl_attr_nest_end(header, nest);
    nest = mnl_attr_nest_start(header, CTA_FILTER);
    mnl_attr_put_u32(header, CTA_FILTER_ORIG_FLAGS, flags);
    mnl_attr_nest_end(header, nest);
}

template <typename T>
bool read_value(const nlattr* attribute, T& out) {
    if (mnl_attr_get_payload_len(attribute) != sizeof(T)) return false;
    if constexpr (sizeof(T) == 2)
        out = ntohs(mnl_attr_get_u16(attribute));
    else
        out = ntohl(mnl_attr_get_u32(attribute));
    return true;
}

bool read_address(const nlattr* attribute, net::Family family, net::IpAddress& out) {
    if (mnl_attr_get_payload_len(attribute) != (family == net::Family::kIpv4 ? 4 : 16)) return false;
    out = net::IpAddress::from_bytes(family, static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute)));
    return true;
}

bool read_addresses(const nlattr* nest, Tuple& out) {
    bool source = false;
    bool destination = false;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case CTA_IP_V4_SRC: source = read_address(part, net::Family::kIpv4, out.source.address); break;
            case CTA_IP_V6_SRC: source = read_address(part, net::Family::kIpv6, out.source.address); break;
            case CTA_IP_V4_DST: destination = read_address(part, net::Family::kIpv4, out.destination.address); break;
            case CTA_IP_V6_DST: destination = read_address(part, net::Family::kIpv6, out.destination.address); break;
            default: break;
        }
    return source && destination;
}

// False also for any protocol but UDP.
bool read_ports(const nlattr* nest, Tuple& out) {
    bool udp = false;
    bool source = false;
    bool destination = false;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case CTA_PROTO_NUM:
                udp = mnl_attr_get_payload_len(part) == 1 && mnl_attr_get_u8(part) == IPPROTO_UDP;
                break;
            case CTA_PROTO_SRC_PORT: source = read_value(part, out.source.port); break;
            case CTA_PROTO_DST_PORT: destination = read_value(part, out.destination.port); break;
            default: break;
        }
    return udp && source && destination;
}

bool read_tuple(const nlattr* nest, Tuple& out, std::uint16_t& zone) {
    bool addresses = false;
    bool ports = false;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case CTA_TUPLE_IP: addresses = read_addresses(part, out); break;
            case CTA_TUPLE_PROTO: ports = read_ports(part, out); break;
            case CTA_TUPLE_ZONE: static_cast<void>(read_value(part, zone)); break;
            default: break;
        }
    return addresses && ports;
}

}  // namespace

nlmsghdr* put_dump(void* buffer, std::uint32_t sequence, const Filter& filter, FilteredBy by) {
    auto* header = put_header(buffer, sequence, IPCTNL_MSG_CT_GET, NLM_F_DUMP, filter.family);
    if (by == FilteredBy::kKernel) put_filter(header, filter);
    return header;
}

// Never another entry. The kernel looks one up by ONE tuple: it does not read the reply's when the original's is there.
// CTA_ID, which it compares next, is made from the entry's memory address and its original tuple, not from the reply's;
// and memory is used again at once, so that a client that goes on with the same port after its flow ended has an entry
// with the same id (each time of 200 on 6.18), though another endpoint may answer now. So name the reply's tuple and
// the id: between them they hold both directions. The zone is part of the look-up; without it the same tuple in the
// default zone would be meant.
nlmsghdr* put_removal(void* buffer, std::uint32_t sequence, const Entry& entry) {
    auto* header = put_header(buffer, sequence, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, entry.reply.source.address.family());
    put_tuple(header, CTA_TUPLE_REPLY, entry.reply, entry.zones.reply);
    if (entry.zones.both != 0) mnl_attr_put_u16(header, CTA_ZONE, htons(entry.zones.both));
    mnl_attr_put_u32(header, CTA_ID, htonl(entry.id));
    return header;
}

std::optional<Entry> read_entry(const nlmsghdr* message) {
    Entry entry;
    bool original = false;
    bool reply = false;
    bool id = false;
    for (const nlattr* part : netlink::attributes(message, sizeof(nfgenmsg))) switch (mnl_attr_get_type(part)) {
            case CTA_TUPLE_ORIG: original = read_tuple(part, entry.original, entry.zones.original); break;
            case CTA_TUPLE_REPLY: reply = read_tuple(part, entry.reply, entry.zones.reply); break;
            case CTA_ZONE: static_cast<void>(read_value(part, entry.zones.both)); break;
            case CTA_ID: id = read_value(part, entry.id); break;
            default: break;
        }
    if (!original || !reply || !id) return std::nullopt;
    return entry;
}

}  // namespace ghostip::kernel::conntrack
