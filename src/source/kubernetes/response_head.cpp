#include "source/kubernetes/response_head.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace ghostip::source::kubernetes {
namespace {

// A server has a handful to say; the rest is not worth the memory.
constexpr std::size_t kMostWarnings = 32;
constexpr std::size_t kLongestWarning = 1024;

bool same_name(std::string_view name, std::string_view lower) {
    return std::equal(name.begin(), name.end(), lower.begin(), lower.end(), [](char letter, char wanted) {
        return std::tolower(static_cast<unsigned char>(letter)) == wanted;
    });
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
    return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// `299 - "text"`, several with commas between them (RFC 7234, 5.5); other codes are for caches.
void read_warnings(std::string_view value, std::vector<std::string>& warnings) {
    while (!value.empty() && warnings.size() < kMostWarnings) {
        const bool wanted = trimmed(value).starts_with("299 ");
        const std::size_t open = value.find('"');
        if (open == std::string_view::npos) return;
        std::string text;
        std::size_t at = open + 1;
        for (; at < value.size() && value[at] != '"'; ++at) {
            if (value[at] == '\\' && at + 1 < value.size()) ++at;
            if (text.size() < kLongestWarning) text += value[at];
        }
        if (at >= value.size()) return;  // no end of the text
        if (wanted) warnings.push_back(std::move(text));
        const std::size_t comma = value.find(',', at);
        value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    }
}

}  // namespace

void read_header_line(std::string_view line, ResponseHead& head) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (same_name(name, "content-type")) head.content_type = value;
    if (same_name(name, "warning")) read_warnings(value, head.warnings);
    if (same_name(name, "retry-after")) {
        int seconds = 0;
        const char* const end = value.data() + value.size();
        if (std::from_chars(value.data(), end, seconds) == std::from_chars_result{end, std::errc()} && seconds >= 0)
            head.retry_after = std::chrono::seconds(seconds);
    }
}

}  // namespace ghostip::source::kubernetes
