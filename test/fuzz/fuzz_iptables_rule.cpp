// One rule of iptables, whatever it is, brought into its saved form. One that is understood to its last word is left as
// it is when it comes again; one that cannot be split into words, at once.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kernel/iptables/rule_reader.h"
#include "kernel/iptables/rule_text.h"
#include "kernel/iptables/words.h"

namespace {

using namespace ghostip::kernel::iptables;

bool understood(const Rule& rule) {
    return rule.rest.empty() && (!rule.target || rule.target->rest.empty()) &&
           std::all_of(rule.matches.begin(), rule.matches.end(), [](const Part& match) { return match.rest.empty(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto words = split_words(text);
    const auto rule = words ? read_rule(*words) : std::nullopt;
    for (const auto family : ghostip::net::kFamilies) {
        const std::string once = canonical(text, family);
        if (!rule && once != text) std::abort();
        const std::string twice = canonical(once, family);
        if (rule && understood(*rule) && twice != once) std::abort();
    }
    return 0;
}
