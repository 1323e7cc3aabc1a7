#include "kernel/ipset/messages.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstring>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::ipset {
namespace {

constexpr std::size_t kMostPerElement = 128;        // bytes; an element of the largest type takes 96
constexpr int kHashFull = IPSET_ERR_TYPE_SPECIFIC;  // IPSET_ERR_HASH_FULL, which no header for programs has

nlmsghdr* start(netlink::Request& request, ipset_cmd command, std::uint16_t flags = 0) {
    nlmsghdr* message =
        request.start(static_cast<std::uint16_t>(NFNL_SUBSYS_IPSET << 8 | static_cast<int>(command)), flags);
    auto* netfilter = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    netfilter->nfgen_family = AF_INET;  // ip_set does not look at it
    netfilter->version = NFNETLINK_V0;
    // The older of the two versions, which every kernel takes (2.6.39 to 6.12 at least).
    mnl_attr_put_u8(message, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
    return message;
}

void put_name(nlmsghdr* message, std::uint16_t type, const std::string& name) {
    mnl_attr_put_strz(message, type, name.substr(0, kLongestName + 1).c_str());
}

std::uint8_t family_value(Type type, net::Family family) {
    if (type == Type::kPort) return NFPROTO_UNSPEC;
    return family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

void put_u16(nlmsghdr* message, std::uint16_t type, std::uint16_t value) {
    mnl_attr_put_u16(message, type | NLA_F_NET_BYTEORDER, htons(value));
}
void put_u32(nlmsghdr* message, std::uint16_t type, std::uint32_t value) {
    mnl_attr_put_u32(message, type | NLA_F_NET_BYTEORDER, htonl(value));
}

void put_address(nlmsghdr* message, std::uint16_t type, const net::IpAddress& address) {
    auto* nest = mnl_attr_nest_start(message, type);
    const auto kind = address.is_ipv4() ? IPSET_ATTR_IPADDR_IPV4 : IPSET_ATTR_IPADDR_IPV6;
    mnl_attr_put(message, static_cast<std::uint16_t>(kind | NLA_F_NET_BYTEORDER), address.bytes().size(),
                 address.bytes().data());
    mnl_attr_nest_end(message, nest);
}

bool has_port(Type type) { return type != Type::kIp; }
bool has_address(Type type) { return type != Type::kPort; }
bool has_protocol(Type type) { return has_port(type) && has_address(type); }

void put_element(nlmsghdr* message, Type type, const Element& element, std::uint32_t line) {
    auto* nest = mnl_attr_nest_start(message, IPSET_ATTR_DATA);
    mnl_attr_put_u32(message, IPSET_ATTR_CADT_LINENO, line);
    if (has_address(type)) put_address(message, IPSET_ATTR_IP, element.address);
    if (has_port(type)) put_u16(message, IPSET_ATTR_PORT, element.port);
    if (has_protocol(type)) mnl_attr_put_u8(message, IPSET_ATTR_PROTO, static_cast<std::uint8_t>(element.protocol));
    if (element.other) put_address(message, IPSET_ATTR_IP2, element.other->address);
    if (element.other && type == Type::kIpPortNet)
        mnl_attr_put_u8(message, IPSET_ATTR_CIDR2, static_cast<std::uint8_t>(element.other->length));
    mnl_attr_nest_end(message, nest);
}

// Values of fixed size; false: the attribute is too short.
template <typename T>
bool read_value(const nlattr* attribute, T& out) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(T)) return false;
    std::memcpy(&out, mnl_attr_get_payload(attribute), sizeof(T));
    return true;
}
bool read_u16(const nlattr* attribute, std::uint16_t& out) {
    if (!read_value(attribute, out)) return false;
    out = ntohs(out);
    return true;
}
bool read_u32(const nlattr* attribute, std::uint32_t& out) {
    if (!read_value(attribute, out)) return false;
    out = ntohl(out);
    return true;
}
bool read_text(const nlattr* attribute, std::string& out) {
    if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0) return false;
    out = mnl_attr_get_str(attribute);
    return true;
}

bool read_address(const nlattr* nest, net::IpAddress& out) {
    for (const nlattr* part : netlink::nested(nest)) {
        const bool ipv4 = mnl_attr_get_type(part) == IPSET_ATTR_IPADDR_IPV4;
        if (!ipv4 && mnl_attr_get_type(part) != IPSET_ATTR_IPADDR_IPV6) continue;
        if (mnl_attr_get_payload_len(part) < (ipv4 ? 4 : 16)) return false;
        out = net::IpAddress::from_bytes(ipv4 ? net::Family::kIpv4 : net::Family::kIpv6,
                                         static_cast<const std::uint8_t*>(mnl_attr_get_payload(part)));
        return true;
    }
    return false;
}

bool read_element(const nlattr* nest, Type type, Element& out) {
    std::uint8_t protocol = 0;
    std::optional<std::uint8_t> length;
    std::optional<net::IpAddress> other;
    bool address = !has_address(type);
    bool port = !has_port(type);
    bool whole = true;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case IPSET_ATTR_IP: address = read_address(part, out.address); break;
            case IPSET_ATTR_PORT: port = read_u16(part, out.port); break;
            case IPSET_ATTR_PROTO: whole = read_value(part, protocol) && whole; break;
            case IPSET_ATTR_IP2: whole = read_address(part, other.emplace()) && whole; break;
            case IPSET_ATTR_CIDR2: whole = read_value(part, length.emplace()) && whole; break;
            default: break;  // extensions that others use
        }
    if (!address || !port || !whole) return false;
    if (has_protocol(type)) out.protocol = static_cast<net::Protocol>(protocol);
    const bool wants_other = type == Type::kIpPortIp || type == Type::kIpPortNet;
    if (wants_other != other.has_value()) return false;
    if (other) {
        const int bits = net::address_bits(other->family());
        out.other = net::Prefix{*other, std::min<int>(length.value_or(static_cast<std::uint8_t>(bits)), bits)};
    }
    return true;
}

bool read_header(const nlattr* nest, Header& out) {
    bool whole = true;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case IPSET_ATTR_HASHSIZE: whole = read_u32(part, out.hash_size) && whole; break;
            case IPSET_ATTR_MAXELEM: whole = read_u32(part, out.most_elements) && whole; break;
            case IPSET_ATTR_REFERENCES: whole = read_u32(part, out.references) && whole; break;
            case IPSET_ATTR_ELEMENTS: whole = read_u32(part, out.elements) && whole; break;
            default: break;
        }
    return whole;
}

std::optional<Revisions> read_range(const nlmsghdr* message, std::uint16_t least, std::uint16_t most) {
    std::optional<Revisions> found;
    for (const nlattr* part : netlink::attributes(message, sizeof(nfgenmsg)))
        if (mnl_attr_get_type(part) == most) {
            if (!found) found.emplace();
            if (!read_value(part, found->most)) return std::nullopt;
        } else if (mnl_attr_get_type(part) == least) {
            if (!found) found.emplace();
            if (!read_value(part, found->least)) return std::nullopt;
        }
    return found;
}

}  // namespace

std::uint8_t revision_of(Type type, Revisions known) {
    std::uint8_t wanted = 0;
    switch (type) {
        case Type::kIpPort:
        case Type::kIpPortIp: wanted = 5; break;
        case Type::kIpPortNet: wanted = 7; break;
        case Type::kIp: wanted = 4; break;
        case Type::kPort: wanted = 3; break;
    }
    return std::clamp(wanted, known.least, std::max(known.least, known.most));
}

nlmsghdr* put_protocol(netlink::Request& request) { return start(request, IPSET_CMD_PROTOCOL); }

nlmsghdr* put_type(netlink::Request& request, Type type, net::Family family) {
    nlmsghdr* message = start(request, IPSET_CMD_TYPE);
    mnl_attr_put_strz(message, IPSET_ATTR_TYPENAME, std::string(type_name(type)).c_str());
    mnl_attr_put_u8(message, IPSET_ATTR_FAMILY, family_value(type, family));
    return message;
}

nlmsghdr* put_create(netlink::Request& request, const Definition& definition, std::uint8_t revision, IfThere if_there) {
    const std::uint16_t exclusive = if_there == IfThere::kRefuse ? NLM_F_EXCL : 0;
    nlmsghdr* message = start(request, IPSET_CMD_CREATE, NLM_F_CREATE | exclusive);
    put_name(message, IPSET_ATTR_SETNAME, definition.name);
    mnl_attr_put_strz(message, IPSET_ATTR_TYPENAME, std::string(type_name(definition.type)).c_str());
    mnl_attr_put_u8(message, IPSET_ATTR_REVISION, revision);
    mnl_attr_put_u8(message, IPSET_ATTR_FAMILY, family_value(definition.type, definition.family));
    auto* nest = mnl_attr_nest_start(message, IPSET_ATTR_DATA);
    if (definition.type == Type::kPort) {
        put_u16(message, IPSET_ATTR_PORT_FROM, 0);
        put_u16(message, IPSET_ATTR_PORT_TO, 65535);
    } else {
        put_u32(message, IPSET_ATTR_HASHSIZE, definition.hash_size);
        put_u32(message, IPSET_ATTR_MAXELEM, definition.most_elements);
    }
    mnl_attr_nest_end(message, nest);
    return message;
}

nlmsghdr* put_header(netlink::Request& request, const std::string& name) {
    nlmsghdr* message = start(request, IPSET_CMD_HEADER);
    put_name(message, IPSET_ATTR_SETNAME, name);
    return message;
}

nlmsghdr* put_list(netlink::Request& request) {
    nlmsghdr* message = start(request, IPSET_CMD_LIST);
    put_u32(message, IPSET_ATTR_FLAGS, IPSET_FLAG_LIST_HEADER);
    return message;
}

nlmsghdr* put_list_one(netlink::Request& request, const std::string& name) {
    nlmsghdr* message = start(request, IPSET_CMD_LIST);
    put_name(message, IPSET_ATTR_SETNAME, name);
    return message;
}

nlmsghdr* put_swap(netlink::Request& request, const std::string& one, const std::string& other) {
    nlmsghdr* message = start(request, IPSET_CMD_SWAP);
    put_name(message, IPSET_ATTR_SETNAME, one);
    put_name(message, IPSET_ATTR_SETNAME2, other);
    return message;
}

// With NLM_F_EXCL: otherwise a set that is not there counts as destroyed.
nlmsghdr* put_destroy(netlink::Request& request, const std::string& name) {
    nlmsghdr* message = start(request, IPSET_CMD_DESTROY, NLM_F_EXCL);
    put_name(message, IPSET_ATTR_SETNAME, name);
    return message;
}

nlmsghdr* put_elements(netlink::Request& request, Verb verb, const std::string& name, Type type,
                       std::span<const Element> elements, std::size_t first, std::size_t& next) {
    nlmsghdr* message = start(request, verb == Verb::kAdd ? IPSET_CMD_ADD : IPSET_CMD_DEL);
    put_name(message, IPSET_ATTR_SETNAME, name);
    // It must be there for the kernel to say which element it refuses; the kernel writes the number over it then.
    mnl_attr_put_u32(message, IPSET_ATTR_LINENO, 0);
    auto* nest = mnl_attr_nest_start(message, IPSET_ATTR_ADT);
    for (next = first; next < elements.size() && message->nlmsg_len + kMostPerElement < request.bytes.size(); ++next)
        put_element(message, type, elements[next], static_cast<std::uint32_t>(next + 1));
    mnl_attr_nest_end(message, nest);
    return message;
}

// The answer holds the request, of whose attributes the line is one.
std::optional<std::uint32_t> refused_line(const nlmsghdr* answer) {
    constexpr std::size_t kBeforeAttributes = sizeof(nlmsgerr) + sizeof(nfgenmsg);
    if (answer->nlmsg_len < NLMSG_HDRLEN + kBeforeAttributes) return std::nullopt;
    std::uint32_t line = 0;
    for (const nlattr* part : netlink::attributes(answer, kBeforeAttributes))
        if (mnl_attr_get_type(part) == IPSET_ATTR_LINENO && read_value(part, line) && line > 0) return line;
    return std::nullopt;
}

int errno_of(int code) {
    switch (code) {
        case IPSET_ERR_BUSY:
        case IPSET_ERR_REFERENCED: return EBUSY;
        case IPSET_ERR_EXIST: return EEXIST;
        case IPSET_ERR_FIND_TYPE:
        case IPSET_ERR_EXIST_SETNAME2: return ENOENT;
        case IPSET_ERR_MAX_SETS:
        case kHashFull: return ENOSPC;
        default: return code > IPSET_ERR_PRIVATE ? EINVAL : code;
    }
}

std::optional<Revisions> read_protocol(const nlmsghdr* message) {
    auto range = read_range(message, IPSET_ATTR_PROTOCOL_MIN, IPSET_ATTR_PROTOCOL);
    if (range && range->least == 0) range->least = range->most;  // kernels with one version tell no other
    return range;
}

std::optional<Revisions> read_type(const nlmsghdr* message) {
    return read_range(message, IPSET_ATTR_REVISION_MIN, IPSET_ATTR_REVISION);
}

bool read_part(const nlmsghdr* message, std::vector<Contents>& sets) {
    Header header;
    std::uint8_t family = 0;
    const nlattr* elements = nullptr;
    bool begins = false;
    bool whole = true;
    for (const nlattr* part : netlink::attributes(message, sizeof(nfgenmsg))) switch (mnl_attr_get_type(part)) {
            case IPSET_ATTR_SETNAME: whole = read_text(part, header.name) && whole; break;
            case IPSET_ATTR_TYPENAME:
                begins = true;
                whole = read_text(part, header.type_name) && whole;
                break;
            case IPSET_ATTR_FAMILY: whole = read_value(part, family) && whole; break;
            case IPSET_ATTR_DATA: whole = read_header(part, header) && whole; break;
            case IPSET_ATTR_ADT: elements = part; break;
            default: break;
        }
    if (!whole || header.name.empty()) return false;
    if (begins) {
        header.type = parse_type(header.type_name);
        if (family == NFPROTO_IPV4) header.family = net::Family::kIpv4;
        if (family == NFPROTO_IPV6) header.family = net::Family::kIpv6;
        sets.push_back({header, {}});
    }
    if (sets.empty() || sets.back().header.name != header.name) return false;
    auto& set = sets.back();
    if (elements == nullptr || !set.header.type) return true;
    for (const nlattr* part : netlink::nested(elements))
        if (!read_element(part, *set.header.type, set.elements.emplace_back())) return false;
    return true;
}

}  // namespace ghostip::kernel::ipset
