#include "net/special_range.h"

namespace ghostip::net {
namespace {

// Almost no address of a pod begins like one of these; a million of them are looked at when a large cluster starts.
bool may_be_special(std::uint8_t first) {
    return first == 0 || first == 127 || first == 169 || first == 224 || first == 0xfe || first == 0xff;
}

bool is_mapped(const IpAddress& address) {
    const auto bytes = address.bytes();
    return !address.is_ipv4() && bytes[10] == 0xff && bytes[11] == 0xff && address.masked(80).is_unspecified();
}

bool is_link_local_multicast(const IpAddress& address) {
    const auto bytes = address.bytes();
    if (address.is_ipv4()) return bytes[0] == 224 && bytes[1] == 0 && bytes[2] == 0;
    // The low half of the second byte is the scope, the high half holds flags.
    return bytes[0] == 0xff && (bytes[1] & 0x0f) == 0x02;
}

}  // namespace

SpecialRange special_range(const IpAddress& address) {
    const auto bytes = address.bytes();
    if (!may_be_special(bytes[0])) return SpecialRange::kNone;
    if (is_mapped(address)) return special_range(IpAddress::from_bytes(Family::kIpv4, bytes.data() + 12));
    if (address.is_unspecified()) return SpecialRange::kUnspecified;
    if (address.is_loopback()) return SpecialRange::kLoopback;
    if (address.is_link_local()) return SpecialRange::kLinkLocal;
    if (is_link_local_multicast(address)) return SpecialRange::kLinkLocalMulticast;
    return SpecialRange::kNone;
}

std::string_view special_range_text(SpecialRange range) {
    switch (range) {
        case SpecialRange::kNone: return "";
        case SpecialRange::kUnspecified: return "the unspecified address";
        case SpecialRange::kLoopback: return "a loopback address";
        case SpecialRange::kLinkLocal: return "a link-local address";
        case SpecialRange::kLinkLocalMulticast: return "a link-local multicast address";
    }
    return "";
}

}  // namespace ghostip::net
