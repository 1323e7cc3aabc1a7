// The names that the API server accepts (apimachinery pkg/util/validation).
#pragma once

#include <string_view>

namespace ghostip::api::codec {

// RFC 1123 label: at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit. What the RFC 1035 labels
// of older Services are a part of.
[[nodiscard]] bool is_dns_label(std::string_view name);
// RFC 1123 subdomain: labels joined by dots, at most 253 characters together.
[[nodiscard]] bool is_dns_subdomain(std::string_view name);

inline constexpr std::string_view kDnsLabelRule =
    "must be at most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit";
inline constexpr std::string_view kDnsSubdomainRule =
    "must be at most 253 of a-z, 0-9, '-' and '.', each part beginning and ending with a letter or digit";

}  // namespace ghostip::api::codec
