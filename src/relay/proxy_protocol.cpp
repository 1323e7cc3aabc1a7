#include "relay/proxy_protocol.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace ghostip::relay {
namespace {

net::IpAddress mapped(const net::IpAddress& address) {
    if (!address.is_ipv4()) return address;
    std::array<std::uint8_t, 16> bytes{};
    bytes[10] = bytes[11] = 0xff;
    std::copy(address.bytes().begin(), address.bytes().end(), bytes.begin() + 12);
    return net::IpAddress::from_bytes(net::Family::kIpv6, bytes.data());
}

void append(std::string& out, const net::IpAddress& address) {
    for (const auto byte : address.bytes()) out.push_back(static_cast<char>(byte));
}

void append(std::string& out, std::uint16_t number) {
    out.push_back(static_cast<char>(number >> 8U));
    out.push_back(static_cast<char>(number & 0xffU));
}

}  // namespace

std::string proxy_header(ProxyProtocol version, const SocketAddress& client, const SocketAddress& destination) {
    if (version == ProxyProtocol::kNone) return {};
    const bool v4 = client.address.is_ipv4() && destination.address.is_ipv4();
    const auto from = v4 ? client.address : mapped(client.address);
    const auto to = v4 ? destination.address : mapped(destination.address);
    if (version == ProxyProtocol::kV1)
        return fmt::format("PROXY TCP{} {} {} {} {}\r\n", v4 ? 4 : 6, from.text(), to.text(), client.port,
                           destination.port);
    // signature | version 2, command PROXY | family and STREAM | length of the rest | addresses | ports
    std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
    out.push_back(0x21);
    out.push_back(v4 ? 0x11 : 0x21);
    append(out, static_cast<std::uint16_t>(2 * from.bytes().size() + 4));
    append(out, from);
    append(out, to);
    append(out, client.port);
    append(out, destination.port);
    return out;
}

}  // namespace ghostip::relay
