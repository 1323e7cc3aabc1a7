#include "kernel/iptables/saved_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "kernel/iptables/text.h"

namespace ghostip::kernel::iptables {
namespace {

using enum ValueForm;

constexpr std::uint32_t kAllBits = 0xffffffff;

// As strtoul reads it with base 0.
std::optional<std::uint32_t> parse_number(std::string_view text) {
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    } else if (text.size() > 1 && text.front() == '0') {
        base = 8;
    }
    std::uint32_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

struct MarkAndMask {
    std::uint32_t mark = 0;
    std::uint32_t mask = kAllBits;
};

std::optional<MarkAndMask> parse_mark(std::string_view text) {
    const auto slash = text.find('/');
    const auto mark = parse_number(text.substr(0, slash));
    const auto mask = slash == std::string_view::npos ? kAllBits : parse_number(text.substr(slash + 1));
    if (!mark || !mask) return std::nullopt;
    return MarkAndMask{*mark, *mask};
}

// False: not a value of this form, nothing was written.
bool append_mark(std::string& out, std::string_view text, ValueForm form) {
    auto mark = parse_mark(text);
    if (!mark) return false;
    switch (form) {
        case kSetMark: mark->mask |= mark->mark; break;
        case kOrMark: mark->mask = mark->mark; break;
        case kXorMark: mark->mask = 0; break;
        case kAndMark: *mark = {0, ~mark->mark}; break;
        default: break;
    }
    append_hexadecimal(out, mark->mark);
    if (form == kMark && mark->mask == kAllBits) return true;
    out += '/';
    append_hexadecimal(out, mark->mask);
    return true;
}

bool append_ports(std::string& out, std::string_view text) {
    const auto colon = text.find(':');
    const std::string_view first_text = text.substr(0, colon);
    const std::string_view last_text = colon == std::string_view::npos ? first_text : text.substr(colon + 1);
    const auto first = first_text.empty() && colon == 0 ? 0U : parse_number(first_text);
    const auto last = last_text.empty() && colon != std::string_view::npos ? 65535U : parse_number(last_text);
    if (!first || !last || *last > 65535 || *first > *last) return false;
    append_decimal(out, *first);
    if (*first == *last) return true;
    out += ':';
    append_decimal(out, *last);
    return true;
}

bool append_probability_text(std::string& out, std::string_view text) {
    double probability = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), probability);
    if (code != std::errc{} || end != text.data() + text.size()) return false;
    if (!(probability >= 0 && probability <= 1)) return false;
    append_probability(out, probability);
    return true;
}

constexpr std::array<std::string_view, 7> kStateNames{"INVALID",   "NEW",  "RELATED", "ESTABLISHED",
                                                      "UNTRACKED", "SNAT", "DNAT"};
constexpr std::array<std::string_view, 12> kAddressTypeNames{"UNSPEC",   "UNICAST",   "LOCAL",     "BROADCAST",
                                                             "ANYCAST",  "MULTICAST", "BLACKHOLE", "UNREACHABLE",
                                                             "PROHIBIT", "THROW",     "NAT",       "XRESOLVE"};

// A list of names, in the order of `order`.
bool append_list(std::string& out, std::string_view text, std::span<const std::string_view> order) {
    std::uint32_t present = 0;
    while (true) {
        const auto comma = text.find(',');
        const auto found = std::find(order.begin(), order.end(), text.substr(0, comma));
        if (found == order.end()) return false;
        present |= 1U << static_cast<unsigned>(found - order.begin());
        if (comma == std::string_view::npos) break;
        text.remove_prefix(comma + 1);
    }
    const char* separator = "";
    for (std::size_t at = 0; at < order.size(); ++at) {
        if ((present >> at & 1U) == 0) continue;
        out += separator;
        out += order[at];
        separator = ",";
    }
    return true;
}

// False: it has not got the form; then part of it may have been written.
bool append_in_form(std::string& out, ValueForm form, std::string_view value) {
    switch (form) {
        case kPorts: return append_ports(out, value);
        case kProbability: return append_probability_text(out, value);
        case kStates: return append_list(out, value, kStateNames);
        case kAddressTypes: return append_list(out, value, kAddressTypeNames);
        case kQuoted: append_quoted(out, value); return true;
        case kMark:
        case kSetXmark:
        case kSetMark:
        case kOrMark:
        case kXorMark:
        case kAndMark: return append_mark(out, value, form);
        case kAsIs:
        case kNone:
        case kPair:
        case kSyn:
        case kAfterTwoSpaces: break;
    }
    return false;
}

// Length of a mask that has all its ones in front.
std::optional<int> mask_length(const net::IpAddress& mask) {
    int ones = 0;
    bool ended = false;
    for (const unsigned byte : mask.bytes()) {
        for (unsigned bit = 0x80; bit != 0; bit >>= 1U) {
            if ((byte & bit) == 0) {
                ended = true;
            } else if (ended) {
                return std::nullopt;
            } else {
                ++ones;
            }
        }
    }
    return ones;
}

}  // namespace

void append_value(std::string& out, ValueForm form, std::string_view value) {
    const std::size_t before = out.size();
    if (append_in_form(out, form, value)) return;
    out.resize(before);
    append_word(out, value);
}

std::optional<net::Prefix> parse_prefix(std::string_view text, net::Family family) {
    const auto slash = text.find('/');
    const auto address = net::IpAddress::parse(text.substr(0, slash));
    if (!address || address->family() != family) return std::nullopt;
    if (slash == std::string_view::npos) return net::Prefix::host(*address);
    const std::string_view rest = text.substr(slash + 1);
    int length = 0;
    if (const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
        code != std::errc{} || end != rest.data() + rest.size()) {
        const auto mask = net::IpAddress::parse(rest);
        const auto ones = mask && mask->family() == family ? mask_length(*mask) : std::nullopt;
        if (!ones) return std::nullopt;
        length = *ones;
    }
    if (length < 0 || length > net::address_bits(family)) return std::nullopt;
    return net::Prefix{address->masked(length), length};
}

std::string protocol_text(std::string_view text) {
    std::string lower(text);
    for (auto& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (lower == "all" || lower == "0") return "";
    if (lower == "6") return "tcp";
    if (lower == "17") return "udp";
    if (lower == "132") return "sctp";
    if (lower == "1") return "icmp";
    if (lower == "58" || lower == "icmpv6") return "ipv6-icmp";
    return lower;
}

}  // namespace ghostip::kernel::iptables
