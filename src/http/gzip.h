// Content-Encoding: gzip.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ghostip::http {

// Does this Accept-Encoding header allow it? (RFC 9110, 12.5.3; `*` counts, a weight of 0 forbids.)
[[nodiscard]] bool accepts_gzip(std::string_view accept_encoding);

// Absent: there was no memory for it.
[[nodiscard]] std::optional<std::string> gzip(const std::string& text);

}  // namespace ghostip::http
