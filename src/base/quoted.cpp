#include "base/quoted.h"

#include <cstddef>
#include <cstdint>
#include <iterator>

#include <fmt/format.h>

namespace ghostip {
namespace {

constexpr unsigned char kFirstPrintable = 0x20;
constexpr unsigned char kDelete = 0x7f;

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t length = 0;  // 0: no UTF-8 here
};

// RFC 3629: shortest forms only, no surrogates, nothing above U+10FFFF.
CodePoint decode(std::string_view text) {
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned first = byte(0);
    if (first < 0x80) return {first, 1};
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
    std::uint32_t value = first & (0xffU >> (length + 1));
    for (std::size_t index = 1; index < length; ++index) {
        if ((byte(index) & 0xc0U) != 0x80) return {};
        value = value << 6U | (byte(index) & 0x3fU);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    const bool longer_than_needed = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
    if (surrogate || longer_than_needed || value > 0x10ffff) return {};
    return {value, length};
}

// Characters that some readers take for the end of a line.
bool breaks_lines(std::uint32_t value) { return value == 0x2028 || value == 0x2029 || (value >= 0x80 && value < 0xa0); }

// The letter behind the backslash, where both languages have one; 0 if they have none.
char short_escape(char c) {
    switch (c) {
        case '"': return '"';
        case '\\': return '\\';
        case '\b': return 'b';
        case '\f': return 'f';
        case '\n': return 'n';
        case '\r': return 'r';
        case '\t': return 't';
        default: return 0;
    }
}

enum class Language : std::uint8_t { kJson, kGo };

void append(std::string& out, std::string_view text, Language language) {
    const auto to = std::back_inserter(out);
    out += '"';
    while (!text.empty()) {
        const auto [value, length] = decode(text);
        if (length == 0) {
            if (language == Language::kJson) {
                out += "\\ufffd";
            } else {
                fmt::format_to(to, "\\x{:02x}", static_cast<unsigned char>(text[0]));
            }
            text.remove_prefix(1);
            continue;
        }
        const char letter = short_escape(text[0]);
        if (letter != 0) {
            out += '\\';
            out += letter;
        } else if (value < kFirstPrintable || value == kDelete) {
            fmt::format_to(to, fmt::runtime(language == Language::kJson ? "\\u{:04x}" : "\\x{:02x}"), value);
        } else if (breaks_lines(value)) {
            fmt::format_to(to, "\\u{:04x}", value);
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(length);
    }
    out += '"';
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) { append(out, text, Language::kJson); }

void append_go_string(std::string& out, std::string_view text) { append(out, text, Language::kGo); }

}  // namespace ghostip
