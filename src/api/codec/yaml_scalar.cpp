#include "api/codec/yaml_scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

namespace ghostip::api::codec {
namespace {

constexpr std::array<std::string_view, 5> kNulls{"", "~", "null", "Null", "NULL"};
constexpr std::array<std::string_view, 11> kTrue{"y",    "Y",    "yes", "Yes", "YES", "true",
                                                 "True", "TRUE", "on",  "On",  "ON"};
constexpr std::array<std::string_view, 11> kFalse{"n",     "N",     "no",  "No",  "NO", "false",
                                                  "False", "FALSE", "off", "Off", "OFF"};

bool is_one_of(std::string_view text, const auto& words) {
    return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_digit(char character) { return character >= '0' && character <= '9'; }

// Go's strconv.ParseInt with base 0, after the underscores are gone.
std::optional<std::string> read_integer(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) base = 16;
    if (text.starts_with("0o") || text.starts_with("0O")) base = 8;
    if (text.starts_with("0b") || text.starts_with("0B")) base = 2;
    if (base != 10)
        text.remove_prefix(2);
    else if (text.size() > 1 && text[0] == '0')
        base = 8;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return fmt::format("{}{}", negative && value != 0 ? "-" : "", value);
}

// ^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$
bool is_float(std::string_view text) {
    const auto digits = [&] {
        const auto count =
            static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
        text.remove_prefix(count);
        return count;
    };
    const auto take = [&](std::string_view any) {
        const bool found = !text.empty() && any.find(text.front()) != std::string_view::npos;
        if (found) text.remove_prefix(1);
        return found;
    };
    take("+-");
    const std::size_t whole = digits();
    const std::size_t fraction = take(".") ? digits() : 0;
    if (whole + fraction == 0) return false;
    if (!take("eE")) return text.empty();
    take("+-");
    return digits() > 0 && text.empty();
}

}  // namespace

YamlScalar read_plain_scalar(std::string_view text) {
    if (is_one_of(text, kNulls)) return {NodeKind::kNull, {}};
    const char first = text.front();
    if (!is_digit(first) && first != '-' && first != '+' && first != '.') {
        // Most text ends here: no word below is longer than five.
        if (text.size() <= 5 && is_one_of(text, kTrue)) return {NodeKind::kBool, "true"};
        if (text.size() <= 5 && is_one_of(text, kFalse)) return {NodeKind::kBool, "false"};
        return {NodeKind::kString, std::string(text)};
    }
    std::string plain(text);
    std::erase(plain, '_');
    if (auto integer = read_integer(plain)) return {NodeKind::kNumber, std::move(*integer)};
    if (is_float(plain)) return {NodeKind::kNumber, plain};
    return {NodeKind::kString, std::string(text)};
}

}  // namespace ghostip::api::codec
