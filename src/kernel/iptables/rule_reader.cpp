#include "kernel/iptables/rule_reader.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace ghostip::kernel::iptables {
namespace {

struct LongName {
    std::string_view text;
    std::string_view letter;
};

constexpr std::array<LongName, 19> kLongNames{{
    {"--append", "-A"}, {"--insert", "-I"},       {"--delete", "-D"},        {"--replace", "-R"},
    {"--check", "-C"},  {"--source", "-s"},       {"--src", "-s"},           {"--destination", "-d"},
    {"--dst", "-d"},    {"--in-interface", "-i"}, {"--out-interface", "-o"}, {"--protocol", "-p"},
    {"--proto", "-p"},  {"--fragments", "-f"},    {"--fragment", "-f"},      {"--match", "-m"},
    {"--jump", "-j"},   {"--goto", "-g"},         {"--set-counters", "-c"},
}};

constexpr std::array<std::string_view, 5> kOperations{"-A", "-I", "-D", "-R", "-C"};

std::string_view short_name(std::string_view option) {
    const auto* const found =
        std::find_if(kLongNames.begin(), kLongNames.end(), [&](const LongName& name) { return name.text == option; });
    return found == kLongNames.end() ? option : found->letter;
}

// Reads the words from left to right. What belongs to whom follows the rules of the programs: an option is its
// module's wherever it stands behind the module's name, and -p loads the module of its protocol when an option asks
// for it.
class Reader {
  public:
    explicit Reader(const std::vector<Word>& words) : words_(words) {}

    // Absent: no rule that a program would take.
    std::optional<Rule> read() {
        if (words_.size() < 2) return std::nullopt;
        rule_.operation = short_name(words_[0].value);
        if (std::find(kOperations.begin(), kOperations.end(), rule_.operation) == kOperations.end())
            return std::nullopt;
        rule_.chain = words_[1].value;
        at_ = 2;
        if ((rule_.operation == "-I" || rule_.operation == "-R") && at_ < words_.size() && is_number(words_[at_].value))
            rule_.number = words_[at_++].value;
        for (; at_ < words_.size(); ++at_) {
            if (words_[at_].value == "!" && !negated_) {
                negated_ = true;
                continue;
            }
            if (!take(short_name(words_[at_].value))) return std::nullopt;
            negated_ = false;
        }
        if (negated_) sink().emplace_back("!");
        return std::move(rule_);
    }

  private:
    static bool is_number(std::string_view text) {
        return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    }

    // The next word, as the value of an option. An exclamation mark in front of it is the older way to negate.
    std::optional<std::string_view> value() {
        if (at_ + 1 < words_.size() && words_[at_ + 1].value == "!" && !negated_) {
            negated_ = true;
            ++at_;
        }
        if (at_ + 1 >= words_.size()) return std::nullopt;
        return words_[++at_].value;
    }

    std::vector<std::string_view>& sink() {
        if (last_ == Last::kTarget) return rule_.target->rest;
        return last_ == Last::kMatch ? rule_.matches.back().rest : rule_.rest;
    }

    bool take(std::string_view option) {
        if (option == "-s") return take_head(rule_.source);
        if (option == "-d") return take_head(rule_.destination);
        if (option == "-i") return take_head(rule_.in);
        if (option == "-o") return take_head(rule_.out);
        if (option == "-p") return take_head(rule_.protocol);
        if (option == "-f") {
            rule_.fragment = HeadValue{"", negated_};
            return true;
        }
        if (option == "-c") {  // counters are not part of a rule
            at_ += 2;
            return !negated_ && at_ < words_.size();
        }
        if (option == "-m") return take_match();
        if (option == "-j" || option == "-g") return take_target(option);
        return take_option(option);
    }

    bool take_head(Head& head) {
        const auto text = value();
        if (!text || head) return false;
        head = HeadValue{*text, negated_};
        return true;
    }

    bool take_match() {
        const bool negated = negated_;
        const auto name = value();
        if (!name || negated || negated_) return false;
        rule_.matches.push_back({*name, find_match(*name), {}, {}});
        last_ = Last::kMatch;
        return true;
    }

    bool take_target(std::string_view option) {
        const auto name = value();
        if (!name || negated_ || rule_.target) return false;
        rule_.go_to = option == "-g";
        rule_.target = Part{*name, rule_.go_to ? nullptr : find_target(*name), {}, {}};
        last_ = Last::kTarget;
        return true;
    }

    Part* owner(std::string_view option) {
        if (rule_.target && rule_.target->knows(option)) return &*rule_.target;
        for (auto match = rule_.matches.rbegin(); match != rule_.matches.rend(); ++match)
            if (match->knows(option)) return &*match;
        if (!rule_.protocol || rule_.protocol->negated) return nullptr;
        const auto* const module = find_match(protocol_text(rule_.protocol->value));
        if (module == nullptr || module->find(option) == module->options.size()) return nullptr;
        rule_.matches.push_back({module->name, module, {}, {}});
        if (last_ == Last::kNothing) last_ = Last::kMatch;
        return &rule_.matches.back();
    }

    bool take_option(std::string_view option) {
        auto* const part = owner(option);
        if (part == nullptr) {
            if (negated_) sink().emplace_back("!");
            sink().push_back(words_[at_].raw);
            return true;
        }
        const std::size_t row = part->module->find(option);
        const std::string_view name = part->module->options[row].name;
        for (const auto& given : part->options)
            if (part->module->options[given.row].name == name) return false;
        Option taken{row, negated_, {}};
        for (std::size_t left = part->module->options[row].values(); left > 0; --left) {
            const auto text = value();
            if (!text) return false;
            taken.values.push_back(*text);
        }
        taken.negated = negated_;
        part->options.push_back(std::move(taken));
        return true;
    }

    enum class Last : std::uint8_t { kNothing, kMatch, kTarget };

    const std::vector<Word>& words_;
    std::size_t at_ = 0;
    bool negated_ = false;
    Last last_ = Last::kNothing;  // whose the words are that nobody knows
    Rule rule_;
};

}  // namespace

bool Part::knows(std::string_view option) const {
    return module != nullptr && module->find(option) < module->options.size();
}

bool Part::has(std::size_t row) const {
    return std::any_of(options.begin(), options.end(), [&](const Option& option) { return option.row == row; });
}

std::optional<Rule> read_rule(const std::vector<Word>& words) { return Reader(words).read(); }

}  // namespace ghostip::kernel::iptables
