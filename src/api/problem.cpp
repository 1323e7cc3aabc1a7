#include "api/problem.h"

#include <simdjson.h>

#include <fmt/format.h>

namespace ghostip::api {
namespace {

// Enough for any address, name or range; a certificate pasted into the wrong field must not fill the log.
constexpr std::size_t kLongestShown = 96;

}  // namespace

std::string Problem::text() const {
    std::string line_text = line > 0 ? fmt::format("{}:{}", file, line) : file;
    for (const std::string* part : {&object, &field, &value, &message}) {
        if (part->empty()) continue;
        if (!line_text.empty()) line_text += ": ";
        line_text += *part;
    }
    // Whatever a file may be called: one line.
    for (char& character : line_text)
        if (static_cast<unsigned char>(character) < 0x20) character = '?';
    return line_text;
}

std::string printable(std::string_view text) {
    std::string shown;
    const bool is_utf8 = simdjson::validate_utf8(text.data(), text.size());
    for (const char character : text) {
        if (shown.size() >= kLongestShown) {
            // Never half of a UTF-8 sequence.
            while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xc0U) == 0x80U) shown.pop_back();
            if (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0x80U) != 0) shown.pop_back();
            return shown + "...";
        }
        if (character == '"' || character == '\\')
            (shown += '\\') += character;
        else if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f ||
                 (!is_utf8 && static_cast<unsigned char>(character) >= 0x80))
            shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(character));
        else
            shown += character;
    }
    return shown;
}

}  // namespace ghostip::api
