// Points in time as Kubernetes writes them: RFC 3339, in UTC, with as many fractional digits as there are.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace ghostip::api::codec {

// `2026-01-02T03:04:05.678Z`, also with an offset (`+02:00`). Digits behind the nanoseconds are dropped. Nothing for
// any other text, for a day that does not exist, and for a year that the clock cannot count in nanoseconds (before
// 1678, after 2261).
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_rfc3339(std::string_view text);

[[nodiscard]] std::string rfc3339_text(std::chrono::system_clock::time_point time);

}  // namespace ghostip::api::codec
