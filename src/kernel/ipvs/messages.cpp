#include "kernel/ipvs/messages.h"

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <sys/socket.h>

#include <bit>
#include <cstring>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::ipvs {
namespace {

// Both families take as much room (union nf_inet_addr).
constexpr std::size_t kAddressBytes = 16;

nlmsghdr* start(netlink::Request& request, std::uint16_t family, std::uint8_t command) {
    nlmsghdr* message = request.start(family);
    auto* generic = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(message, sizeof(genlmsghdr)));
    generic->cmd = command;
    generic->version = IPVS_GENL_VERSION;
    return message;
}

std::uint16_t family_value(net::Family family) { return family == net::Family::kIpv4 ? AF_INET : AF_INET6; }

void put_address(nlmsghdr* message, std::uint16_t type, const net::IpAddress& address) {
    std::array<std::uint8_t, kAddressBytes> bytes{};
    std::memcpy(bytes.data(), address.bytes().data(), address.bytes().size());
    mnl_attr_put(message, type, bytes.size(), bytes.data());
}

void put_key(nlmsghdr* message, const ServiceKey& key) {
    mnl_attr_put_u16(message, IPVS_SVC_ATTR_AF, family_value(key.address.family()));
    if (key.mark != 0) {
        mnl_attr_put_u32(message, IPVS_SVC_ATTR_FWMARK, key.mark);
        return;
    }
    mnl_attr_put_u16(message, IPVS_SVC_ATTR_PROTOCOL, static_cast<std::uint16_t>(key.protocol));
    put_address(message, IPVS_SVC_ATTR_ADDR, key.address);
    mnl_attr_put_u16(message, IPVS_SVC_ATTR_PORT, htons(key.port));
}

// For IPv4 a mask in network order, for IPv6 the number of bits.
std::uint32_t netmask(const Service& service) {
    const auto family = service.key.address.family();
    const int bits = service.client_bits == kAllBits ? net::address_bits(family) : service.client_bits;
    if (family == net::Family::kIpv6) return static_cast<std::uint32_t>(bits);
    return htonl(bits >= 32 ? ~0U : ~(~0U >> static_cast<unsigned>(bits)));
}

// The kernel takes 15 characters and refuses more; so whatever the text is, the message fits.
void put_name(nlmsghdr* message, std::uint16_t type, const std::string& name) {
    mnl_attr_put_strz(message, type, name.substr(0, 64).c_str());
}

void put_attributes(nlmsghdr* message, const Service& service) {
    put_name(message, IPVS_SVC_ATTR_SCHED_NAME, service.scheduler);
    if (!service.engine.empty()) put_name(message, IPVS_SVC_ATTR_PE_NAME, service.engine);
    // All of them, so that changing a service also takes flags away. Never kHashed: a new service that says it is in
    // the table already is not put there (ip_vs_svc_hash()).
    const ip_vs_flags flags{service.flags & ~kHashed, ~0U};
    mnl_attr_put(message, IPVS_SVC_ATTR_FLAGS, sizeof flags, &flags);
    mnl_attr_put_u32(message, IPVS_SVC_ATTR_TIMEOUT, service.timeout_seconds);
    mnl_attr_put_u32(message, IPVS_SVC_ATTR_NETMASK, netmask(service));
}

void put_destination(nlmsghdr* message, const Destination& destination, bool whole) {
    auto* nest = mnl_attr_nest_start(message, IPVS_CMD_ATTR_DEST);
    put_address(message, IPVS_DEST_ATTR_ADDR, destination.key.address);
    mnl_attr_put_u16(message, IPVS_DEST_ATTR_PORT, htons(destination.key.port));
    mnl_attr_put_u16(message, IPVS_DEST_ATTR_ADDR_FAMILY, family_value(destination.key.address.family()));
    if (whole) {
        mnl_attr_put_u32(message, IPVS_DEST_ATTR_FWD_METHOD, static_cast<std::uint32_t>(destination.forwarding));
        mnl_attr_put_u32(message, IPVS_DEST_ATTR_WEIGHT, destination.weight);
        mnl_attr_put_u32(message, IPVS_DEST_ATTR_U_THRESH, destination.upper_threshold);
        mnl_attr_put_u32(message, IPVS_DEST_ATTR_L_THRESH, destination.lower_threshold);
    }
    mnl_attr_nest_end(message, nest);
}

nlmsghdr* put_about(netlink::Request& request, std::uint16_t family, std::uint8_t command, const ServiceKey& service) {
    nlmsghdr* message = start(request, family, command);
    auto* nest = mnl_attr_nest_start(message, IPVS_CMD_ATTR_SERVICE);
    put_key(message, service);
    mnl_attr_nest_end(message, nest);
    return message;
}

std::uint8_t command_number(Verb verb) {
    switch (verb) {
        case Verb::kNewService: return IPVS_CMD_NEW_SERVICE;
        case Verb::kSetService: return IPVS_CMD_SET_SERVICE;
        case Verb::kDeleteService: return IPVS_CMD_DEL_SERVICE;
        case Verb::kNewDestination: return IPVS_CMD_NEW_DEST;
        case Verb::kSetDestination: return IPVS_CMD_SET_DEST;
        case Verb::kDeleteDestination: return IPVS_CMD_DEL_DEST;
    }
    return IPVS_CMD_UNSPEC;
}

// False: the attribute is too short for a T. Longer ones are read from their start.
template <typename T>
bool read_value(const nlattr* attribute, T& out) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(T)) return false;
    std::memcpy(&out, mnl_attr_get_payload(attribute), sizeof(T));
    return true;
}

bool read_text(const nlattr* attribute, std::string& out) {
    if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0) return false;
    out = mnl_attr_get_str(attribute);
    return true;
}

std::optional<net::Family> family_of(std::uint16_t value) {
    if (value == AF_INET) return net::Family::kIpv4;
    if (value == AF_INET6) return net::Family::kIpv6;
    return std::nullopt;
}

const nlattr* find(const nlmsghdr* message, std::uint16_t type) {
    for (const nlattr* attribute : netlink::attributes(message, sizeof(genlmsghdr)))
        if (mnl_attr_get_type(attribute) == type) return attribute;
    return nullptr;
}

int bits_of(std::uint32_t netmask, net::Family family) {
    const int bits =
        family == net::Family::kIpv6 ? static_cast<int>(std::min(netmask, 128U)) : std::countl_one(ntohl(netmask));
    return bits == net::address_bits(family) ? kAllBits : bits;
}

}  // namespace

nlmsghdr* put_command(netlink::Request& request, std::uint16_t family, const Command& command) {
    nlmsghdr* message = start(request, family, command_number(command.verb));
    auto* nest = mnl_attr_nest_start(message, IPVS_CMD_ATTR_SERVICE);
    put_key(message, command.service.key);
    if (command.verb == Verb::kNewService || command.verb == Verb::kSetService)
        put_attributes(message, command.service);
    mnl_attr_nest_end(message, nest);
    if (command.verb == Verb::kNewDestination || command.verb == Verb::kSetDestination)
        put_destination(message, command.destination, true);
    if (command.verb == Verb::kDeleteDestination) put_destination(message, command.destination, false);
    return message;
}

nlmsghdr* put_list_services(netlink::Request& request, std::uint16_t family) {
    return start(request, family, IPVS_CMD_GET_SERVICE);
}

nlmsghdr* put_get_service(netlink::Request& request, std::uint16_t family, const ServiceKey& service) {
    return put_about(request, family, IPVS_CMD_GET_SERVICE, service);
}

nlmsghdr* put_list_destinations(netlink::Request& request, std::uint16_t family, const ServiceKey& service) {
    return put_about(request, family, IPVS_CMD_GET_DEST, service);
}

nlmsghdr* put_get_info(netlink::Request& request, std::uint16_t family) {
    return start(request, family, IPVS_CMD_GET_INFO);
}

nlmsghdr* put_get_timeouts(netlink::Request& request, std::uint16_t family) {
    return start(request, family, IPVS_CMD_GET_CONFIG);
}

nlmsghdr* put_set_timeouts(netlink::Request& request, std::uint16_t family, const Timeouts& timeouts) {
    nlmsghdr* message = start(request, family, IPVS_CMD_SET_CONFIG);
    mnl_attr_put_u32(message, IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp);
    mnl_attr_put_u32(message, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin);
    mnl_attr_put_u32(message, IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp);
    return message;
}

nlmsghdr* put_flush(netlink::Request& request, std::uint16_t family) { return start(request, family, IPVS_CMD_FLUSH); }

nlmsghdr* put_find_family(netlink::Request& request) {
    nlmsghdr* message = start(request, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME);
    return message;
}

std::optional<Service> read_service(const nlmsghdr* message) {
    const nlattr* nest = find(message, IPVS_CMD_ATTR_SERVICE);
    if (nest == nullptr) return std::nullopt;
    Service service;
    std::uint16_t family_number = 0;
    std::uint16_t protocol = 0;
    std::uint16_t port = 0;
    std::uint32_t mask = ~0U;
    const nlattr* address = nullptr;
    bool whole = true;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case IPVS_SVC_ATTR_AF: whole = read_value(part, family_number) && whole; break;
            case IPVS_SVC_ATTR_PROTOCOL: whole = read_value(part, protocol) && whole; break;
            case IPVS_SVC_ATTR_ADDR: address = part; break;
            case IPVS_SVC_ATTR_PORT: whole = read_value(part, port) && whole; break;
            case IPVS_SVC_ATTR_FWMARK: whole = read_value(part, service.key.mark) && whole; break;
            case IPVS_SVC_ATTR_SCHED_NAME: whole = read_text(part, service.scheduler) && whole; break;
            case IPVS_SVC_ATTR_PE_NAME: whole = read_text(part, service.engine) && whole; break;
            case IPVS_SVC_ATTR_FLAGS: whole = read_value(part, service.flags) && whole; break;  // its mask says nothing
            case IPVS_SVC_ATTR_TIMEOUT: whole = read_value(part, service.timeout_seconds) && whole; break;
            case IPVS_SVC_ATTR_NETMASK: whole = read_value(part, mask) && whole; break;
            default: break;
        }
    const auto family = family_of(family_number);
    if (!whole || !family) return std::nullopt;
    service.flags &= ~kHashed;
    service.client_bits = bits_of(mask, *family);
    service.key.address = net::IpAddress(*family);
    if (service.key.mark != 0) return service;
    if (address == nullptr || mnl_attr_get_payload_len(address) < kAddressBytes || protocol > 255) return std::nullopt;
    service.key.address =
        net::IpAddress::from_bytes(*family, static_cast<const std::uint8_t*>(mnl_attr_get_payload(address)));
    service.key.protocol = static_cast<net::Protocol>(protocol);
    service.key.port = ntohs(port);
    return service;
}

std::optional<Destination> read_destination(const nlmsghdr* message, net::Family service_family) {
    const nlattr* nest = find(message, IPVS_CMD_ATTR_DEST);
    if (nest == nullptr) return std::nullopt;
    Destination destination;
    std::uint16_t family_number = family_value(service_family);
    std::uint16_t port = 0;
    std::uint32_t forwarding = 0;
    const nlattr* address = nullptr;
    bool whole = true;
    for (const nlattr* part : netlink::nested(nest)) switch (mnl_attr_get_type(part)) {
            case IPVS_DEST_ATTR_ADDR: address = part; break;
            case IPVS_DEST_ATTR_ADDR_FAMILY: whole = read_value(part, family_number) && whole; break;
            case IPVS_DEST_ATTR_PORT: whole = read_value(part, port) && whole; break;
            case IPVS_DEST_ATTR_FWD_METHOD: whole = read_value(part, forwarding) && whole; break;
            case IPVS_DEST_ATTR_WEIGHT: whole = read_value(part, destination.weight) && whole; break;
            case IPVS_DEST_ATTR_U_THRESH: whole = read_value(part, destination.upper_threshold) && whole; break;
            case IPVS_DEST_ATTR_L_THRESH: whole = read_value(part, destination.lower_threshold) && whole; break;
            case IPVS_DEST_ATTR_ACTIVE_CONNS: whole = read_value(part, destination.connections.active) && whole; break;
            case IPVS_DEST_ATTR_INACT_CONNS: whole = read_value(part, destination.connections.inactive) && whole; break;
            case IPVS_DEST_ATTR_PERSIST_CONNS:
                whole = read_value(part, destination.connections.persistent) && whole;
                break;
            default: break;
        }
    const auto family = family_of(family_number);
    if (!whole || !family || address == nullptr || mnl_attr_get_payload_len(address) < kAddressBytes)
        return std::nullopt;
    destination.key.address =
        net::IpAddress::from_bytes(*family, static_cast<const std::uint8_t*>(mnl_attr_get_payload(address)));
    destination.key.port = ntohs(port);
    destination.forwarding = static_cast<Forwarding>(forwarding & IP_VS_CONN_F_FWD_MASK);
    return destination;
}

std::optional<Info> read_info(const nlmsghdr* message) {
    const nlattr* version = find(message, IPVS_INFO_ATTR_VERSION);
    const nlattr* size = find(message, IPVS_INFO_ATTR_CONN_TAB_SIZE);
    Info info;
    if (version == nullptr || size == nullptr || !read_value(version, info.version) ||
        !read_value(size, info.connection_table))
        return std::nullopt;
    return info;
}

// The kernel leaves out those of protocols that it was built without.
std::optional<Timeouts> read_timeouts(const nlmsghdr* message) {
    Timeouts timeouts;
    bool whole = true;
    for (const nlattr* part : netlink::attributes(message, sizeof(genlmsghdr))) switch (mnl_attr_get_type(part)) {
            case IPVS_CMD_ATTR_TIMEOUT_TCP: whole = read_value(part, timeouts.tcp) && whole; break;
            case IPVS_CMD_ATTR_TIMEOUT_TCP_FIN: whole = read_value(part, timeouts.tcp_fin) && whole; break;
            case IPVS_CMD_ATTR_TIMEOUT_UDP: whole = read_value(part, timeouts.udp) && whole; break;
            default: break;
        }
    if (!whole) return std::nullopt;
    return timeouts;
}

std::optional<std::uint16_t> read_family(const nlmsghdr* message) {
    const nlattr* attribute = find(message, CTRL_ATTR_FAMILY_ID);
    std::uint16_t number = 0;
    if (attribute == nullptr || !read_value(attribute, number) || number == 0) return std::nullopt;
    return number;
}

}  // namespace ghostip::kernel::ipvs
