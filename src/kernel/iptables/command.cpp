#include "kernel/iptables/command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include "kernel/iptables/iptables.h"
#include "kernel/iptables/rule_reader.h"
#include "kernel/iptables/rule_text.h"
#include "kernel/iptables/words.h"

namespace ghostip::kernel::iptables {
namespace {

using Kind = Command::Kind;

constexpr std::array<std::string_view, 4> kVerdicts{"ACCEPT", "DROP", "QUEUE", "RETURN"};

Result<void> check_chain_name(std::string_view name) {
    if (name.size() > kLongestChain)
        return fail("chain name `{}' too long (must be under {} chars)", name, kLongestChain + 1);
    if (name.starts_with('-') || name.starts_with('!'))
        return fail("chain name not allowed to start with `{}'", name[0]);
    if (std::find(kVerdicts.begin(), kVerdicts.end(), name) != kVerdicts.end())
        return fail("chain name may not clash with target name");
    return {};
}

// `:CHAIN POLICY [packets:bytes]`
Result<Command> parse_declaration(const std::vector<Word>& words) {
    if (words.empty()) return fail("chain name invalid");
    if (words.size() < 2) return fail("policy invalid");
    RETURN_IF_ERROR(check_chain_name(words[0].value));
    Command command;
    command.kind = Kind::kDeclare;
    command.chain = words[0].value;
    command.policy = words[1].value;
    return command;
}

// Counters in front of a rule: `[1:2] -A`.
std::string_view without_counters(std::string_view line) {
    if (!line.starts_with('[')) return line;
    const auto end = line.find(']');
    return end == std::string_view::npos ? line : line.substr(end + 1);
}

std::optional<std::size_t> parse_count(std::string_view text) {
    std::size_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

Result<Command> parse_rule(std::string_view line, const std::vector<Word>& words, net::Family family) {
    const auto rule = read_rule(words);
    if (!rule || words.size() < 2) return fail("bad rule `{}'", line);
    const auto on_table = [](const Word& word) { return word.value == "-t" || word.value == "--table"; };
    if (std::any_of(words.begin(), words.end(), on_table)) return fail("The -t option cannot be used here");
    Command command;
    command.chain = rule->chain;
    if (rule->target) command.target = rule->target->name;
    command.go_to = rule->go_to;
    switch (rule->operation[1]) {
        case 'A': command.kind = Kind::kAppend; break;
        case 'I': command.kind = Kind::kInsert; break;
        case 'R': command.kind = Kind::kReplace; break;
        case 'D': command.kind = Kind::kDelete; break;
        default: return fail("-C has no place in a text");
    }
    command.number = command.kind == Kind::kInsert ? 1 : 0;
    std::string_view number = rule->number;
    if (command.kind == Kind::kDelete && words.size() == 3 && parse_count(words[2].value)) {
        command.kind = Kind::kDeleteNumber;
        number = words[2].value;
    }
    if (!number.empty()) command.number = parse_count(number).value_or(0);
    const bool numbered = command.kind != Kind::kAppend && command.kind != Kind::kDelete;
    if (numbered && command.number == 0) return fail("Invalid rule number `{}'", number);
    if (command.kind == Kind::kDeleteNumber) return command;
    // The same rule as if it was appended: of the form `-A CHAIN...`.
    command.rule = canonical(line, family).substr(rule->operation.size() + 1 + rule->chain.size());
    if (!rule->number.empty()) command.rule.erase(0, 1 + rule->number.size());
    return command;
}

Result<Command> parse_chain_command(const std::vector<Word>& words) {
    Command command;
    const std::string_view operation = words[0].value;
    const bool needs_chain = operation == "-N" || operation == "-P";
    if (needs_chain && words.size() < 2) return fail("option \"{}\" requires an argument", operation);
    const std::size_t most = operation == "-P" ? 3 : 2;
    if (words.size() > most) return fail("Bad argument `{}'", words[most].value);
    if (words.size() > 1) command.chain = words[1].value;
    if (operation == "-F") {
        command.kind = Kind::kFlush;
    } else if (operation == "-X") {
        command.kind = Kind::kRemove;
    } else if (operation == "-Z") {
        command.kind = Kind::kZero;
    } else if (operation == "-N") {
        command.kind = Kind::kNew;
        RETURN_IF_ERROR(check_chain_name(command.chain));
    } else if (operation == "-P") {
        command.kind = Kind::kPolicy;
        if (words.size() < 3) return fail("-P requires a chain and a policy");
        command.policy = words[2].value;
    } else {
        return fail("Bad argument `{}'", operation);
    }
    return command;
}

}  // namespace

Result<Command> parse_command(std::string_view line, net::Family family) {
    if (line.starts_with(':')) {
        const auto words = split_words(line.substr(1));
        if (!words) return fail("a quote is left open");
        return parse_declaration(*words);
    }
    line = without_counters(line);
    const auto words = split_words(line);
    if (!words) return fail("a quote is left open");
    if (words->empty()) return fail("no command specified");
    const std::string_view operation = words->front().value;
    const bool of_rule = operation == "-A" || operation == "-I" || operation == "-D" || operation == "-R" ||
                         operation == "-C" || operation.starts_with("--");
    return of_rule ? parse_rule(line, *words, family) : parse_chain_command(*words);
}

}  // namespace ghostip::kernel::iptables
