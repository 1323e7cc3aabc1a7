#include "api/codec/names.h"

#include <algorithm>

namespace ghostip::api::codec {
namespace {

bool is_alphanumeric(char character) {
    return (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
}

// A part of a subdomain may be longer than a label on its own.
bool is_part(std::string_view part) {
    return !part.empty() && is_alphanumeric(part.front()) && is_alphanumeric(part.back()) &&
           std::all_of(part.begin(), part.end(),
                       [](char character) { return is_alphanumeric(character) || character == '-'; });
}

}  // namespace

bool is_dns_label(std::string_view name) { return name.size() <= 63 && is_part(name); }

bool is_dns_subdomain(std::string_view name) {
    if (name.size() > 253) return false;
    while (true) {
        const auto dot = name.find('.');
        if (!is_part(name.substr(0, dot))) return false;
        if (dot == std::string_view::npos) return true;
        name.remove_prefix(dot + 1);
    }
}

}  // namespace ghostip::api::codec
