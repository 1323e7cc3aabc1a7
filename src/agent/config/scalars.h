// Values as Go writes and reads them in flags and configuration files: durations, booleans, numbers, quantities. The
// texts of the errors are Go's, because people search for them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip::agent::config {

using Duration = std::chrono::nanoseconds;

// `300ms`, `1h5m`, `-1.5s`, `0`: time.ParseDuration.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);
// `1h5m0s`, `300ms`, `0s`: Duration.String.
[[nodiscard]] std::string duration_text(Duration duration);

// `1`, `t`, `true`, `True`, … : strconv.ParseBool.
[[nodiscard]] Result<bool> parse_bool(std::string_view text);
// Decimal, or with a prefix as in Go source (`0x1f`).
[[nodiscard]] Result<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most);
[[nodiscard]] Result<float> parse_float(std::string_view text);
[[nodiscard]] std::string float_text(float value);

// resource.Quantity, as far as sizes need it: bytes, kept with the text that Kubernetes would print.
struct Quantity {
    std::string text = "0";
    std::int64_t value = 0;

    friend bool operator==(const Quantity& a, const Quantity& b) { return a.value == b.value; }
};
// `512`, `1k`, `2Ki`, `1.5Mi`.
[[nodiscard]] Result<Quantity> parse_quantity(std::string_view text);

// The parts between separators; a text without one is one part, be it empty.
[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);
[[nodiscard]] std::string join(const std::vector<std::string>& parts, std::string_view separator);
// In double quotes, with what is not printable escaped: strconv.Quote.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace ghostip::agent::config
