// One rule taken apart: the head, the matches, the target, each with the words that belong to it. Views into the words
// that it was read from. Does not judge whether a program would take the rule.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "kernel/iptables/modules.h"
#include "kernel/iptables/words.h"

namespace ghostip::kernel::iptables {

struct Option {
    std::size_t row = 0;  // in the module
    bool negated = false;
    std::vector<std::string_view> values;
};

// A match or a target, with what was said of it.
struct Part {
    std::string_view name;
    const Module* module = nullptr;  // null: not known
    std::vector<Option> options;     // that are known
    std::vector<std::string_view> rest;

    [[nodiscard]] bool knows(std::string_view option) const;
    [[nodiscard]] bool has(std::size_t row) const;
};

struct HeadValue {
    std::string_view value;
    bool negated = false;
};
using Head = std::optional<HeadValue>;

// Words are by their short names: -A, -s.
struct Rule {
    std::string_view operation;
    std::string_view chain;
    std::string_view number;  // of -I, -R
    Head source, destination, in, out, protocol;
    Head fragment;
    std::vector<std::string_view> rest;  // what stands before any match and is not known
    std::vector<Part> matches;
    std::optional<Part> target;
    bool go_to = false;
};

// Absent: no rule at all, or one of which no program could make sense (an option without its value).
[[nodiscard]] std::optional<Rule> read_rule(const std::vector<Word>& words);

}  // namespace ghostip::kernel::iptables
