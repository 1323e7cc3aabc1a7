// What the extensions of iptables that a service proxy meets print when a rule is saved: which options they have, in
// which order, and in which form the values come back. A table for canonical.cpp; other extensions are left as they
// are.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/iptables/saved_value.h"

namespace ghostip::kernel::iptables {

struct OptionRule {
    std::string_view name;        // as it is saved
    std::string_view alias = {};  // another name that the program takes
    ValueForm form = ValueForm::kAsIs;
    // Saved where a rule has not got the option, unless it has got `excludes`.
    std::string_view default_ipv4 = {};
    std::string_view default_ipv6 = {};
    std::string_view excludes = {};

    [[nodiscard]] std::size_t values() const;
};

struct Module {
    std::string_view name;
    std::vector<OptionRule> options;  // in the order in which they are saved

    // The place in `options`; their number: not one of them.
    [[nodiscard]] std::size_t find(std::string_view option) const;
};

// Null: not in the table.
[[nodiscard]] const Module* find_match(std::string_view name);
[[nodiscard]] const Module* find_target(std::string_view name);

// Appends the option as it is saved, with a space in front. `values` has option.values() elements.
void append_option(std::string& out, const OptionRule& option, bool negated,
                   const std::vector<std::string_view>& values);

}  // namespace ghostip::kernel::iptables
