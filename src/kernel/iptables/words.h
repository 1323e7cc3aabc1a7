// The words of a rule, split as iptables-restore splits them: at spaces; quotes hold a word together and `\` inside of
// them takes the next character as it is; a closing quote ends the word. Not for command lines of a shell.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ghostip::kernel::iptables {

struct Word {
    std::string_view raw;  // as it stands in the rule, with its quotes
    std::string value;     // what it means
};

// Absent: a quote is left open.
[[nodiscard]] std::optional<std::vector<Word>> split_words(std::string_view rule);

}  // namespace ghostip::kernel::iptables
