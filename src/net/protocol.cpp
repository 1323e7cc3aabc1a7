#include "net/protocol.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace ghostip::net {
namespace {
constexpr std::array<Protocol, 3> kAll{Protocol::kTcp, Protocol::kUdp, Protocol::kSctp};
}

std::string_view protocol_name(Protocol protocol) {
    switch (protocol) {
        case Protocol::kTcp: return "TCP";
        case Protocol::kUdp: return "UDP";
        case Protocol::kSctp: return "SCTP";
    }
    return "?";
}

std::string_view protocol_lower_name(Protocol protocol) {
    switch (protocol) {
        case Protocol::kTcp: return "tcp";
        case Protocol::kUdp: return "udp";
        case Protocol::kSctp: return "sctp";
    }
    return "?";
}

std::optional<Protocol> parse_protocol(std::string_view text) {
    for (const Protocol protocol : kAll)
        if (text == protocol_name(protocol)) return protocol;
    return std::nullopt;
}

std::optional<Protocol> parse_protocol_any_case(std::string_view text) {
    const auto same = [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; };
    for (const Protocol protocol : kAll) {
        const auto name = protocol_name(protocol);
        if (std::equal(text.begin(), text.end(), name.begin(), name.end(), same)) return protocol;
    }
    return std::nullopt;
}

}  // namespace ghostip::net
