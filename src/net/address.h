// IP addresses as values: 17 bytes, no allocation, ordered, hashable.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ghostip::net {

enum class Family : std::uint8_t { kIpv4 = 4, kIpv6 = 6 };

inline constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};

[[nodiscard]] constexpr int address_bits(Family family) { return family == Family::kIpv4 ? 32 : 128; }
// "IPv4" or "IPv6", as Kubernetes writes them in spec.ipFamilies.
[[nodiscard]] std::string_view family_name(Family family);

class IpAddress {
  public:
    // The unspecified address of the family (of IPv4 when none is given).
    constexpr IpAddress() : IpAddress(Family::kIpv4) {}
    constexpr explicit IpAddress(Family family) : family_(family) {}
    // 4 or 16 bytes in network order.
    [[nodiscard]] static IpAddress from_bytes(Family family, const std::uint8_t* bytes);

    // Strict: what inet_pton takes. No zone ids; an IPv4-mapped IPv6 address stays IPv6.
    [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
    // As Kubernetes parses addresses in objects: IPv4 octets may have leading zeros (read as decimal), and an
    // IPv4-mapped IPv6 address is its IPv4 address (k8s.io/utils/net ParseIPSloppy).
    [[nodiscard]] static std::optional<IpAddress> parse_lenient(std::string_view text);

    [[nodiscard]] constexpr Family family() const { return family_; }
    [[nodiscard]] constexpr bool is_ipv4() const { return family_ == Family::kIpv4; }
    [[nodiscard]] std::span<const std::uint8_t> bytes() const {
        return {bytes_.data(), static_cast<std::size_t>(is_ipv4() ? 4 : 16)};
    }
    [[nodiscard]] bool is_unspecified() const;
    [[nodiscard]] bool is_loopback() const;    // 127.0.0.0/8, ::1
    [[nodiscard]] bool is_link_local() const;  // 169.254.0.0/16, fe80::/10
    // The first `length` bits, the rest zero.
    [[nodiscard]] IpAddress masked(int length) const;
    // Canonical text (RFC 5952 for IPv6).
    [[nodiscard]] std::string text() const;

    friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;

  private:
    Family family_;
    std::array<std::uint8_t, 16> bytes_{};
};

// `10.0.0.1:80`, `[fd00::1]:80`.
[[nodiscard]] std::string host_port(const IpAddress& address, std::uint16_t port);

}  // namespace ghostip::net

template <>
struct std::hash<ghostip::net::IpAddress> {
    std::size_t operator()(const ghostip::net::IpAddress& address) const noexcept;
};
