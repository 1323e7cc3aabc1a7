#include "kernel/iptables/words.h"

namespace ghostip::kernel::iptables {
namespace {

constexpr bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

}  // namespace

std::optional<std::vector<Word>> split_words(std::string_view rule) {
    std::vector<Word> words;
    words.reserve(24);
    std::size_t at = 0;
    while (true) {
        while (at < rule.size() && is_space(rule[at])) ++at;
        if (at == rule.size()) return words;
        const std::size_t start = at;
        std::string value;
        bool quoted = false;
        bool ended = false;
        for (; at < rule.size() && !ended; ++at) {
            const char c = rule[at];
            if (c == '"') {
                ended = quoted;
                quoted = !quoted;
            } else if (quoted && c == '\\' && at + 1 < rule.size()) {
                value += rule[++at];
            } else if (!quoted && is_space(c)) {
                break;
            } else {
                value += c;
            }
        }
        if (quoted) return std::nullopt;
        words.push_back({rule.substr(start, at - start), std::move(value)});
    }
}

}  // namespace ghostip::kernel::iptables
