#include "relay/proxy_protocol.h"

#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ghostip::relay {
namespace {

SocketAddress at(std::string_view address, std::uint16_t port) { return {*net::IpAddress::parse(address), port}; }

std::string hex(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
}

constexpr std::string_view kSignature = "0d0a0d0a000d0a515549540a";

TEST(ProxyProtocol, HeaderBytes) {
    struct Case {
        const char* name;
        SocketAddress client;
        SocketAddress destination;
        std::string v1;
        std::string v2_after_signature;
    };
    const std::vector<Case> cases{
        {"IPv4", at("192.0.2.7", 40000), at("10.96.0.1", 443), "PROXY TCP4 192.0.2.7 10.96.0.1 40000 443\r\n",
         "2111000cc00002070a6000019c4001bb"},
        {"IPv6", at("2001:db8::7", 1), at("fd00::1", 65535), "PROXY TCP6 2001:db8::7 fd00::1 1 65535\r\n",
         "2121002420010db8000000000000000000000007fd0000000000000000000000000000010001ffff"},
        {"both families", at("192.0.2.7", 2), at("fd00::1", 3), "PROXY TCP6 ::ffff:192.0.2.7 fd00::1 2 3\r\n",
         "2121002400000000000000000000ffffc0000207fd00000000000000000000000000000100020003"},
    };
    for (const auto& each : cases) {
        SCOPED_TRACE(each.name);
        EXPECT_EQ(proxy_header(ProxyProtocol::kNone, each.client, each.destination), "");
        EXPECT_EQ(proxy_header(ProxyProtocol::kV1, each.client, each.destination), each.v1);
        EXPECT_EQ(hex(proxy_header(ProxyProtocol::kV2, each.client, each.destination)),
                  std::string(kSignature) + each.v2_after_signature);
    }
}

}  // namespace
}  // namespace ghostip::relay
