// Small pieces of JSON for pages that are written by hand, because their bytes are promised.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace ghostip::agent {

// With its quotes.
[[nodiscard]] std::string json_string(std::string_view text);

// RFC 3339 in UTC with up to nine digits, zeros at the end left out, as Go prints a time.
[[nodiscard]] std::string rfc3339(std::chrono::system_clock::time_point time);

}  // namespace ghostip::agent
