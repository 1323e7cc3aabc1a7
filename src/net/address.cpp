#include "net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace ghostip::net {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// Dotted quad whose octets may have leading zeros, read as decimal.
std::optional<std::array<std::uint8_t, 4>> parse_quad(std::string_view text) {
    std::array<std::uint8_t, 4> octets{};
    std::size_t at = 0;
    for (std::size_t i = 0; i < octets.size(); ++i) {
        if (i > 0) {
            if (at >= text.size() || text[at] != '.') return std::nullopt;
            ++at;
        }
        unsigned value = 0;
        const std::size_t start = at;
        while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
            value = value * 10 + static_cast<unsigned>(text[at] - '0');
            if (value > 255) return std::nullopt;
            ++at;
        }
        if (at == start) return std::nullopt;
        octets[i] = static_cast<std::uint8_t>(value);
    }
    if (at != text.size()) return std::nullopt;
    return octets;
}

// inet_pton wants a terminated string; addresses are short.
bool pton(int family, std::string_view text, void* out) {
    std::array<char, INET6_ADDRSTRLEN + 1> buffer{};
    if (text.size() >= buffer.size()) return false;
    std::copy(text.begin(), text.end(), buffer.begin());
    return std::strlen(buffer.data()) == text.size() && inet_pton(family, buffer.data(), out) == 1;
}

}  // namespace

std::string_view family_name(Family family) { return family == Family::kIpv4 ? "IPv4" : "IPv6"; }

IpAddress IpAddress::from_bytes(Family family, const std::uint8_t* bytes) {
    IpAddress address(family);
    std::copy_n(bytes, family == Family::kIpv4 ? 4 : 16, address.bytes_.begin());
    return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    const Family family = text.find(':') == std::string_view::npos ? Family::kIpv4 : Family::kIpv6;
    IpAddress address(family);
    if (!pton(family == Family::kIpv4 ? AF_INET : AF_INET6, text, address.bytes_.data())) return std::nullopt;
    return address;
}

std::optional<IpAddress> IpAddress::parse_lenient(std::string_view text) {
    if (text.find(':') == std::string_view::npos) {
        const auto octets = parse_quad(text);
        if (!octets) return std::nullopt;
        return from_bytes(Family::kIpv4, octets->data());
    }
    // An embedded dotted quad may have leading zeros too.
    std::string canonical;
    if (const auto dot = text.find('.'); dot != std::string_view::npos) {
        const auto colon = text.rfind(':', dot);
        const auto octets = colon == std::string_view::npos ? std::nullopt : parse_quad(text.substr(colon + 1));
        if (!octets) return std::nullopt;
        canonical = fmt::format("{}{}.{}.{}.{}", text.substr(0, colon + 1), (*octets)[0], (*octets)[1], (*octets)[2],
                                (*octets)[3]);
        text = canonical;
    }
    const auto address = parse(text);
    if (address && std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address->bytes_.begin()))
        return from_bytes(Family::kIpv4, address->bytes_.data() + kMappedPrefix.size());
    return address;
}

bool IpAddress::is_unspecified() const {
    return std::all_of(bytes_.begin(), bytes_.end(), [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_loopback() const {
    if (is_ipv4()) return bytes_[0] == 127;
    return std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t byte) { return byte == 0; }) &&
           bytes_[15] == 1;
}

bool IpAddress::is_link_local() const {
    if (is_ipv4()) return bytes_[0] == 169 && bytes_[1] == 254;
    return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

IpAddress IpAddress::masked(int length) const {
    IpAddress result(family_);
    for (int i = 0; i < address_bits(family_) / 8; ++i) {
        const int bits = std::clamp(length - i * 8, 0, 8);
        result.bytes_[static_cast<std::size_t>(i)] =
            static_cast<std::uint8_t>(bytes_[static_cast<std::size_t>(i)] & (0xff00U >> bits));
    }
    return result;
}

std::string IpAddress::text() const {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    inet_ntop(is_ipv4() ? AF_INET : AF_INET6, bytes_.data(), buffer.data(), buffer.size());
    return buffer.data();
}

std::string host_port(const IpAddress& address, std::uint16_t port) {
    return address.is_ipv4() ? fmt::format("{}:{}", address.text(), port)
                             : fmt::format("[{}]:{}", address.text(), port);
}

}  // namespace ghostip::net

std::size_t std::hash<ghostip::net::IpAddress>::operator()(const ghostip::net::IpAddress& address) const noexcept {
    const auto bytes = address.bytes();
    std::uint64_t state = 0x9e3779b97f4a7c15U ^ bytes.size();
    for (std::size_t at = 0; at < bytes.size(); at += 4) {
        std::uint32_t word = 0;
        std::memcpy(&word, bytes.data() + at, 4);
        state = (state ^ word) * 0xff51afd7ed558ccdU;
        state ^= state >> 32;
    }
    return static_cast<std::size_t>(state);
}
