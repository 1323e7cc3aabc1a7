// An address range in CIDR form. The address is kept masked.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "net/address.h"

namespace ghostip::net {

struct Prefix {
    IpAddress address;
    int length = 0;  // bits

    // `10.0.0.0/8`; host bits are cleared. Lenient as IpAddress::parse_lenient. A missing length is an error.
    [[nodiscard]] static std::optional<Prefix> parse_lenient(std::string_view text);
    [[nodiscard]] static Prefix host(const IpAddress& address) { return {address, address_bits(address.family())}; }

    [[nodiscard]] Family family() const { return address.family(); }
    [[nodiscard]] bool contains(const IpAddress& candidate) const;
    [[nodiscard]] std::string text() const;

    friend auto operator<=>(const Prefix&, const Prefix&) = default;
};

}  // namespace ghostip::net
