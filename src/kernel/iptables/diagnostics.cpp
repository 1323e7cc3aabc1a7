#include "kernel/iptables/diagnostics.h"

#include <charconv>

#include <fmt/format.h>

namespace ghostip::kernel::iptables {
namespace {

constexpr std::size_t kLongestReason = 1000;

// The number behind the first `words`; 0: there is none.
std::size_t number_behind(std::string_view text, std::string_view words) {
    for (auto at = text.find(words); at != std::string_view::npos; at = text.find(words, at + 1)) {
        std::size_t number = 0;
        const char* const start = text.data() + at + words.size();
        if (std::from_chars(start, text.data() + text.size(), number).ec == std::errc{}) return number;
    }
    return 0;
}

bool says_nothing(std::string_view line) {
    return line.empty() || line.starts_with("Try `") || line.starts_with('#') || line.starts_with("Error occurred at");
}

std::string on_one_line(std::string_view text) {
    std::string result;
    while (!text.empty() && result.size() < kLongestReason) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (says_nothing(line)) continue;
        if (!result.empty() && !result.ends_with(' ')) result += "; ";
        result += line;
    }
    while (result.ends_with(' ')) result.pop_back();
    if (result.size() > kLongestReason) result.resize(kLongestReason);
    return result;
}

}  // namespace

Refusal read_refusal(Variant variant, int status, std::string_view said) {
    Refusal refusal;
    refusal.reason = on_one_line(said);
    if (refusal.reason.empty()) refusal.reason = fmt::format("exit code {}", status);
    // Parser:  Error occurred at line: 3
    // Legacy:  iptables-restore: line 3 failed
    // Kernel:  line 3: RULE_APPEND failed (Invalid argument): rule in chain A
    refusal.line = number_behind(said, "Error occurred at line: ");
    if (refusal.line == 0) refusal.line = number_behind(said, "line ");
    refusal.lock_held = said.find("holding the xtables lock") != std::string_view::npos ||
                        (variant == Variant::kLegacy && status == kResourceProblem);
    return refusal;
}

}  // namespace ghostip::kernel::iptables
