#include "net/prefix.h"

#include <charconv>

#include <fmt/format.h>

namespace ghostip::net {

std::optional<Prefix> Prefix::parse_lenient(std::string_view text) {
    const auto slash = text.rfind('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = IpAddress::parse_lenient(text.substr(0, slash));
    if (!address) return std::nullopt;
    int length = -1;
    const auto digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    // An IPv4-mapped range counts its bits from the start of the IPv6 address.
    if (address->is_ipv4() && text.substr(0, slash).find(':') != std::string_view::npos) length -= 96;
    if (length < 0 || length > address_bits(address->family())) return std::nullopt;
    return Prefix{address->masked(length), length};
}

bool Prefix::contains(const IpAddress& candidate) const {
    return candidate.family() == address.family() && candidate.masked(length) == address;
}

std::string Prefix::text() const { return fmt::format("{}/{}", address.text(), length); }

}  // namespace ghostip::net
