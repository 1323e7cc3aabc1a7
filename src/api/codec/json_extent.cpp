#include "api/codec/json_extent.h"

#include <array>

namespace ghostip::api::codec {
namespace {

constexpr auto table_of(std::string_view characters) {
    std::array<bool, 256> table{};
    for (const char character : characters) table[static_cast<unsigned char>(character)] = true;
    return table;
}

// The bytes at which a scan must stop to look: everything else inside of brackets, or of a string, is passed over.
constexpr auto kBracketsAndQuotes = table_of("{}[]\"");
constexpr auto kBehindScalar = table_of(" \n\t\r,:]}[{\"");

// The first byte at or after `at` that is in the table, or the end.
std::size_t find(std::string_view bytes, std::size_t at, const std::array<bool, 256>& table) {
    while (at < bytes.size() && !table[static_cast<unsigned char>(bytes[at])]) ++at;
    return at;
}

}  // namespace

std::size_t JsonExtent::take(std::string_view bytes) {
    if (bytes.empty()) return 0;
    if (shape_ == Shape::kUnknown) {
        const char first = bytes.front();
        shape_ = first == '"' ? Shape::kString : first == '{' || first == '[' ? Shape::kBrackets : Shape::kScalar;
    }
    std::size_t at = 0;
    if (shape_ == Shape::kScalar) {
        at = find(bytes, 0, kBehindScalar);
        complete_ = at < bytes.size();
        return at;
    }
    while (at < bytes.size() && !complete_) {
        if (escaped_) {
            escaped_ = false;
            ++at;
        } else if (in_string_) {
            while (at < bytes.size() && bytes[at] != '"' && bytes[at] != '\\') ++at;
            if (at == bytes.size()) break;
            escaped_ = bytes[at] == '\\';
            in_string_ = escaped_;
            complete_ = !in_string_ && depth_ == 0;
            ++at;
        } else {
            at = find(bytes, at, kBracketsAndQuotes);
            if (at == bytes.size()) break;
            const char character = bytes[at++];
            if (character == '"')
                in_string_ = true;
            else
                depth_ += character == '{' || character == '[' ? 1 : -1;
            complete_ = depth_ == 0 && !in_string_;
        }
    }
    return at;
}

}  // namespace ghostip::api::codec
