#include "agent/config/scalars.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace ghostip::agent::config {
namespace {

constexpr std::uint64_t kMostNanoseconds = std::uint64_t{1} << 63U;  // what the smallest duration takes

struct Unit {
    std::string_view name;
    std::uint64_t nanoseconds;
};
constexpr std::array kUnits{Unit{"ns", 1},
                            Unit{"us", 1'000},
                            Unit{"\xc2\xb5s", 1'000},  // U+00B5, micro
                            Unit{"\xce\xbcs", 1'000},  // U+03BC, mu
                            Unit{"ms", 1'000'000},
                            Unit{"s", 1'000'000'000},
                            Unit{"m", 60'000'000'000},
                            Unit{"h", 3'600'000'000'000}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view take_digits(std::string_view& text) {
    const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
    const auto count = static_cast<std::size_t>(end - text.begin());
    const auto digits = text.substr(0, count);
    text.remove_prefix(count);
    return digits;
}

std::optional<std::uint64_t> to_unsigned(std::string_view digits) {
    std::uint64_t value = 0;
    if (digits.empty()) return value;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{}) return std::nullopt;
    return value;
}

// The digits behind a point, times `unit`; further digits than a double holds do not matter.
std::uint64_t fraction_of(std::string_view digits, std::uint64_t unit) {
    constexpr std::size_t kEnough = 18;
    std::uint64_t value = 0;
    double scale = 1;
    for (const char digit : digits.substr(0, kEnough)) {
        value = value * 10 + static_cast<std::uint64_t>(digit - '0');
        scale *= 10;
    }
    return static_cast<std::uint64_t>(static_cast<double>(value) * (static_cast<double>(unit) / scale));
}

// `0.001500000` -> `0.0015`, without a point where nothing is left behind it.
std::string decimal(std::uint64_t value, int digits) {
    std::uint64_t power = 1;
    for (int i = 0; i < digits; ++i) power *= 10;
    std::string text = fmt::format("{}", value / power);
    if (value % power == 0) return text;
    text += fmt::format(".{:0{}}", value % power, digits);
    return text.substr(0, text.find_last_not_of('0') + 1);
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
    const auto invalid = [whole = text](std::string_view why) { return fail("time: {} {}", why, quoted(whole)); };
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text == "0") return Duration(0);
    if (text.empty()) return invalid("invalid duration");
    std::uint64_t sum = 0;
    while (!text.empty()) {
        const auto whole = take_digits(text);
        std::string_view fraction;
        const bool point = text.starts_with('.');
        if (point) {
            text.remove_prefix(1);
            fraction = take_digits(text);
        }
        if (whole.empty() && fraction.empty()) return invalid("invalid duration");
        const auto end = std::find_if(text.begin(), text.end(), [](char c) { return is_digit(c) || c == '.'; });
        const auto name = text.substr(0, static_cast<std::size_t>(end - text.begin()));
        if (name.empty()) return invalid("missing unit in duration");
        const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
        if (unit == kUnits.end()) return invalid(fmt::format("unknown unit {} in duration", quoted(name)));
        text.remove_prefix(name.size());
        const auto count = to_unsigned(whole);
        if (!count || *count > kMostNanoseconds / unit->nanoseconds) return invalid("invalid duration");
        sum += *count * unit->nanoseconds + fraction_of(fraction, unit->nanoseconds);
        if (sum > kMostNanoseconds) return invalid("invalid duration");
    }
    if (negative) return Duration(static_cast<std::int64_t>(~sum + 1));
    if (sum == kMostNanoseconds) return invalid("invalid duration");
    return Duration(static_cast<std::int64_t>(sum));
}

std::string duration_text(Duration duration) {
    if (duration.count() == 0) return "0s";
    const bool negative = duration.count() < 0;
    const auto value =
        negative ? ~static_cast<std::uint64_t>(duration.count()) + 1 : static_cast<std::uint64_t>(duration.count());
    std::string text = negative ? "-" : "";
    if (value < 1'000) return text + fmt::format("{}ns", value);
    if (value < 1'000'000) return text + decimal(value, 3) + "\xc2\xb5s";
    if (value < 1'000'000'000) return text + decimal(value, 6) + "ms";
    constexpr std::uint64_t kMinute = 60'000'000'000;
    const auto minutes = value / kMinute;
    if (minutes >= 60) text += fmt::format("{}h", minutes / 60);
    if (minutes > 0) text += fmt::format("{}m", minutes % 60);
    return text + decimal(value % kMinute, 9) + "s";
}

Result<bool> parse_bool(std::string_view text) {
    constexpr std::array<std::string_view, 6> kTrue{"1", "t", "T", "true", "TRUE", "True"};
    constexpr std::array<std::string_view, 6> kFalse{"0", "f", "F", "false", "FALSE", "False"};
    if (std::find(kTrue.begin(), kTrue.end(), text) != kTrue.end()) return true;
    if (std::find(kFalse.begin(), kFalse.end(), text) != kFalse.end()) return false;
    return fail("strconv.ParseBool: parsing {}: invalid syntax", quoted(text));
}

Result<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most) {
    std::string_view digits = text;
    const std::string_view name = least < 0 ? "ParseInt" : "ParseUint";
    const bool negative = digits.starts_with('-') && least < 0;
    if (negative || (digits.starts_with('+') && least < 0)) digits.remove_prefix(1);
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) base = 16;
    if (digits.starts_with("0b") || digits.starts_with("0B")) base = 2;
    if (digits.starts_with("0o") || digits.starts_with("0O")) base = 8;
    if (base != 10)
        digits.remove_prefix(2);
    else if (digits.size() > 1 && digits.front() == '0')
        base = 8;
    std::uint64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
    if (digits.empty() || stop != end || error == std::errc::invalid_argument)
        return fail("strconv.{}: parsing {}: invalid syntax", name, quoted(text));
    constexpr std::uint64_t kHighest = std::numeric_limits<std::int64_t>::max();
    const bool fits = error == std::errc{} && value <= kHighest;
    const auto number = negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
    if (!fits || number < least || number > most)
        return fail("strconv.{}: parsing {}: value out of range", name, quoted(text));
    return number;
}

Result<float> parse_float(std::string_view text) {
    float value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range)
        return fail("strconv.ParseFloat: parsing {}: value out of range", quoted(text));
    if (text.empty() || error != std::errc{} || stop != end || !std::isfinite(value))
        return fail("strconv.ParseFloat: parsing {}: invalid syntax", quoted(text));
    return value;
}

std::string float_text(float value) { return fmt::format("{}", value); }

Result<Quantity> parse_quantity(std::string_view text) {
    // Smallest first, so that the loop below ends with the largest that divides.
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 12> kSuffixes{{{"Ki", 1ULL << 10U},
                                                                                    {"Mi", 1ULL << 20U},
                                                                                    {"Gi", 1ULL << 30U},
                                                                                    {"Ti", 1ULL << 40U},
                                                                                    {"Pi", 1ULL << 50U},
                                                                                    {"Ei", 1ULL << 60U},
                                                                                    {"k", 1'000},
                                                                                    {"M", 1'000'000},
                                                                                    {"G", 1'000'000'000},
                                                                                    {"T", 1'000'000'000'000},
                                                                                    {"P", 1'000'000'000'000'000},
                                                                                    {"E", 1'000'000'000'000'000'000}}};
    std::string_view rest = text;
    const auto whole = take_digits(rest);
    std::string_view fraction;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction = take_digits(rest);
    }
    std::uint64_t unit = 1;
    if (!rest.empty()) {
        const auto* found =
            std::find_if(kSuffixes.begin(), kSuffixes.end(), [&](const auto& s) { return s.first == rest; });
        unit = found == kSuffixes.end() ? 0 : found->second;
    }
    const auto count = to_unsigned(whole);
    constexpr std::uint64_t kHighest = std::numeric_limits<std::int64_t>::max();
    if ((whole.empty() && fraction.empty()) || unit == 0 || !count || *count > kHighest / unit ||
        *count * unit + fraction_of(fraction, unit) > kHighest)
        return fail("{} is not a size such as 512, 1k or 2Ki", quoted(text));
    const std::uint64_t value = *count * unit + fraction_of(fraction, unit);
    Quantity quantity{fmt::format("{}", value), static_cast<std::int64_t>(value)};
    const bool binary = rest.ends_with('i');
    for (const auto& [suffix, size] : kSuffixes)
        if (value != 0 && suffix.ends_with('i') == binary && value % size == 0)
            quantity.text = fmt::format("{}{}", value / size, suffix);
    return quantity;
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    while (true) {
        const auto at = text.find(separator);
        parts.emplace_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    return fmt::format("{}", fmt::join(parts, separator));
}

std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            (result += '\\') += c;
        else if (c == '\n')
            result += "\\n";
        else if (c == '\t')
            result += "\\t";
        else if (c == '\r')
            result += "\\r";
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            result += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
        else
            result += c;
    }
    return result + '"';
}

}  // namespace ghostip::agent::config
