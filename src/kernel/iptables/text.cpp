#include "kernel/iptables/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace ghostip::kernel::iptables {
namespace {

constexpr std::uint64_t kTenDecimals = 10'000'000'000;
constexpr double kCertain = 2147483648.0;  // 2^31: how the kernel's module `statistic` writes probability 1

constexpr bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

constexpr bool ends_line(char c) { return c == '\n' || c == '\0'; }

void append_in_quotes(std::string& out, std::string_view text) {
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\'' || c == '\\') out += '\\';
        out += ends_line(c) ? ' ' : c;
    }
    out += '"';
}

// `units` of which `decimals` digits stand behind the point.
void append_decimals(std::string& out, std::uint64_t units, std::uint64_t one, int decimals) {
    append_decimal(out, units / one);
    out += '.';
    std::array<char, 16> digits{};
    std::uint64_t rest = units % one;
    for (int at = decimals; at-- > 0; rest /= 10)
        digits[static_cast<std::size_t>(at)] = static_cast<char>('0' + rest % 10);
    out.append(digits.data(), static_cast<std::size_t>(decimals));
}

// 1/choices in units of 10^-10.
std::uint64_t share_units(std::uint32_t choices) {
    if (choices <= 1) return kTenDecimals;
    const std::uint64_t units = kTenDecimals / choices;
    const std::uint64_t rest = kTenDecimals % choices * 2;
    if (rest != choices) return units + (rest > choices ? 1 : 0);
    // Half way: printf looks at the double, which lies beside the true value or, for a power of two, on it; then the
    // even one is taken.
    const double share = 1.0 / choices;
    const double beyond = std::fma(share, choices, -1.0);  // exact
    if (beyond != 0.0) return units + (beyond > 0.0 ? 1 : 0);
    return units + units % 2;
}

// RFC 5952 for addresses that have no dotted form.
void append_groups(std::string& out, const std::array<std::uint16_t, 8>& groups) {
    std::size_t longest_at = groups.size();
    std::size_t longest = 1;  // one zero alone is written
    for (std::size_t at = 0; at < groups.size(); ++at) {
        std::size_t end = at;
        while (end < groups.size() && groups[end] == 0) ++end;
        if (end - at > longest) {
            longest = end - at;
            longest_at = at;
        }
    }
    std::array<char, 4> digits{};
    for (std::size_t at = 0; at < groups.size(); ++at) {
        if (at == longest_at) {
            out += "::";
            at += longest - 1;
            continue;
        }
        if (at > 0 && out.back() != ':') out += ':';
        out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), groups[at], 16).ptr);
    }
}

}  // namespace

void append_decimal(std::string& out, std::uint64_t value) {
    std::array<char, 20> digits{};
    out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

void append_hexadecimal(std::string& out, std::uint32_t value) {
    std::array<char, 8> digits{};
    out += "0x";
    out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr);
}

void append_address(std::string& out, const net::IpAddress& address) {
    const auto bytes = address.bytes();
    if (address.is_ipv4()) {
        std::array<char, 16> text{};
        char* end = text.data();
        for (const auto byte : bytes) {
            end = std::to_chars(end, text.data() + text.size(), static_cast<unsigned>(byte)).ptr;
            *end++ = '.';
        }
        out.append(text.data(), end - 1);
        return;
    }
    std::array<std::uint16_t, 8> groups{};
    for (std::size_t at = 0; at < groups.size(); ++at)
        groups[at] = static_cast<std::uint16_t>(bytes[2 * at] << 8U | bytes[2 * at + 1]);
    // ::1.2.3.4 and ::ffff:1.2.3.4 are rare; libc knows which of them have dots.
    if (std::all_of(groups.begin(), groups.begin() + 5, [](std::uint16_t group) { return group == 0; })) {
        out += address.text();
        return;
    }
    append_groups(out, groups);
}

void append_prefix(std::string& out, const net::Prefix& prefix) {
    append_address(out, prefix.address);
    out += '/';
    append_decimal(out, static_cast<std::uint64_t>(prefix.length));
}

void append_host_port(std::string& out, const net::IpAddress& address, std::uint16_t port) {
    if (!address.is_ipv4()) out += '[';
    append_address(out, address);
    if (!address.is_ipv4()) out += ']';
    out += ':';
    append_decimal(out, port);
}

void append_quoted(std::string& out, std::string_view text) {
    if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) {
        out += text;
    } else {
        append_in_quotes(out, text);
    }
}

void append_word(std::string& out, std::string_view word) {
    const bool one_word = !word.empty() && std::none_of(word.begin(), word.end(), [](char c) {
        return c == ' ' || c == '\t' || c == '"' || ends_line(c);
    });
    if (one_word) {
        out += word;
    } else {
        append_in_quotes(out, word);
    }
}

void append_share(std::string& out, std::uint32_t choices) {
    append_decimals(out, share_units(choices), kTenDecimals, 10);
}

double share_as_read(std::uint32_t choices) {
    return static_cast<double>(share_units(choices)) / static_cast<double>(kTenDecimals);
}

void append_probability(std::string& out, double probability) {
    // v / 2^31 in units of 10^-11 is v * 5^11 / 2^20, which fits.
    constexpr std::uint64_t kFiveToTheEleventh = 48828125;
    constexpr std::uint64_t kOne = 1U << 20U;
    const auto kept = static_cast<std::uint64_t>(std::lround(std::clamp(probability, 0.0, 1.0) * kCertain));
    const std::uint64_t scaled = kept * kFiveToTheEleventh;
    std::uint64_t units = scaled / kOne;
    const std::uint64_t rest = scaled % kOne;
    if (rest > kOne / 2 || (rest == kOne / 2 && units % 2 == 1)) ++units;  // as printf: half to the even one
    append_decimals(out, units, kTenDecimals * 10, 11);
}

}  // namespace ghostip::kernel::iptables
