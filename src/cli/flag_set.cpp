#include "cli/flag_set.h"

#include <algorithm>

#include <fmt/format.h>

namespace ghostip::cli {
namespace {

using agent::config::quoted;

std::string hyphens(std::string name) {
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

// Values that say nothing are not worth a "(default …)".
bool is_zero(const std::string& text) {
    return text.empty() || text == "false" || text == "0" || text == "0s" || text == "[]";
}

}  // namespace

void FlagSet::add(Flag flag) {
    flag.usual = flag.value.text();
    flags_.push_back(std::move(flag));
}

Flag* FlagSet::find(std::string_view name) {
    const auto found = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& flag) { return flag.name == name; });
    return found == flags_.end() ? nullptr : &*found;
}

bool FlagSet::changed(std::string_view name) const {
    return std::any_of(flags_.begin(), flags_.end(),
                       [&](const Flag& flag) { return flag.name == name && flag.changed; });
}

Result<FlagSet::Parsed> FlagSet::parse(const std::vector<std::string>& words) {
    Parsed parsed;
    for (std::size_t at = 0; at < words.size() && !parsed.help; ++at) {
        const auto& word = words[at];
        if (word == "--") {
            parsed.others.insert(parsed.others.end(), words.begin() + static_cast<std::ptrdiff_t>(at) + 1, words.end());
            break;
        }
        if (word.starts_with("--")) {
            RETURN_IF_ERROR(parse_long(words, at, parsed));
        } else if (word.size() > 1 && word.front() == '-') {
            RETURN_IF_ERROR(parse_letters(words, at, parsed));
        } else {
            parsed.others.push_back(word);
        }
    }
    return parsed;
}

Result<void> FlagSet::parse_long(const std::vector<std::string>& words, std::size_t& at, Parsed& parsed) {
    const auto& word = words[at];
    const auto equals = word.find('=');
    const auto name = hyphens(word.substr(2, equals == std::string::npos ? equals : equals - 2));
    if (name.empty() || name.front() == '-') return fail("bad flag syntax: {}", word);
    Flag* flag = find(name);
    if (flag == nullptr) {
        parsed.help = name == "help";
        return parsed.help ? Result<void>() : fail("unknown flag: --{}", name);
    }
    if (equals != std::string::npos) return set(*flag, word.substr(equals + 1), parsed);
    if (!flag->value.alone.empty()) return set(*flag, flag->value.alone, parsed);
    if (at + 1 == words.size()) return fail("flag needs an argument: --{}", name);
    return set(*flag, words[++at], parsed);
}

Result<void> FlagSet::parse_letters(const std::vector<std::string>& words, std::size_t& at, Parsed& parsed) {
    const std::string letters = words[at].substr(1);
    for (std::size_t i = 0; i < letters.size(); ++i) {
        const char letter = letters[i];
        const auto flag = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) { return f.letter == letter; });
        if (flag == flags_.end()) {
            parsed.help = letter == 'h';
            if (parsed.help) return {};
            return fail("unknown shorthand flag: '{}' in -{}", letter, letters.substr(i));
        }
        const std::string rest = letters.substr(i + 1);
        if (rest.size() > 1 && rest.front() == '=') return set(*flag, rest.substr(1), parsed);
        if (!flag->value.alone.empty()) {
            RETURN_IF_ERROR(set(*flag, flag->value.alone, parsed));
            continue;
        }
        if (!rest.empty()) return set(*flag, rest, parsed);
        if (at + 1 == words.size()) return fail("flag needs an argument: '{}' in -{}", letter, letters.substr(i));
        return set(*flag, words[++at], parsed);
    }
    return {};
}

Result<void> FlagSet::set(Flag& flag, const std::string& text, Parsed& parsed) {
    if (const auto done = flag.value.set(text); !done) {
        const auto letter = flag.letter == 0 ? std::string() : fmt::format("-{}, ", flag.letter);
        return fail("invalid argument {} for \"{}--{}\" flag: {}", quoted(text), letter, flag.name,
                    done.error().message);
    }
    if (!flag.changed && !flag.deprecated.empty())
        parsed.notes.push_back(fmt::format("Flag --{} has been deprecated, {}", flag.name, flag.deprecated));
    flag.changed = true;
    return {};
}

std::vector<std::pair<std::string, std::string>> FlagSet::values() const {
    std::vector<std::pair<std::string, std::string>> values;
    for (const auto& flag : flags_) values.emplace_back(flag.name, flag.value.text());
    std::sort(values.begin(), values.end());
    return values;
}

std::vector<std::string> FlagSet::names() const {
    std::vector<std::string> names{"--help"};
    for (const auto& flag : flags_) names.push_back("--" + flag.name);
    return names;
}

std::string FlagSet::help() const {
    constexpr std::size_t kHelpColumn = 44;
    std::string text;
    for (std::size_t i = 0; i < flags_.size(); ++i) {
        for (const auto& [heading, first] : groups_)
            if (first == i) text += fmt::format("{}{}:\n", i == 0 ? "" : "\n", heading);
        const auto& flag = flags_[i];
        if (!flag.deprecated.empty()) continue;
        std::string line = flag.letter == 0 ? "      " : fmt::format("  -{}, ", flag.letter);
        line += "--" + flag.name;
        if (!flag.value.type.empty()) line += " " + flag.value.type;
        line += line.size() + 2 > kHelpColumn ? "\n" + std::string(kHelpColumn, ' ')
                                              : std::string(kHelpColumn - line.size(), ' ');
        line += flag.help;
        if (!is_zero(flag.usual)) line += fmt::format(" (default {})", flag.usual);
        text += line + "\n";
    }
    return text;
}

}  // namespace ghostip::cli
