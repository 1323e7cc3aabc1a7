// canonical() of rule_text.h: a rule is taken apart, and its parts are written again as they are saved.
#include <algorithm>

#include "kernel/iptables/rule_reader.h"
#include "kernel/iptables/rule_text.h"
#include "kernel/iptables/text.h"

namespace ghostip::kernel::iptables {
namespace {

class Writer {
  public:
    Writer(std::string& out, net::Family family) : out_(out), family_(family) {}

    void write(const Rule& rule) {
        out_ += rule.operation;
        append(rule.chain);
        if (!rule.number.empty()) append(rule.number);
        address("-s", rule.source);
        address("-d", rule.destination);
        interface("-i", rule.in);
        interface("-o", rule.out);
        protocol(rule.protocol);
        if (rule.fragment) name("-f", rule.fragment->negated);
        rest(rule.rest);
        for (const auto& match : rule.matches) part("-m", match);
        if (rule.target) part(rule.go_to ? "-g" : "-j", *rule.target);
    }

  private:
    void append(std::string_view word) {
        out_ += ' ';
        append_word(out_, word);
    }
    void name(std::string_view option, bool negated) {
        if (negated) out_ += " !";
        out_ += ' ';
        out_ += option;
    }
    void address(std::string_view option, const Head& head) {
        if (!head) return;
        const auto prefix = parse_prefix(head->value, family_);
        if (prefix && prefix->length == 0 && !head->negated) return;
        name(option, head->negated);
        if (!prefix) return append(head->value);
        out_ += ' ';
        append_prefix(out_, *prefix);
    }
    void interface(std::string_view option, const Head& head) {
        if (!head || (head->value == "+" && !head->negated)) return;
        name(option, head->negated);
        append(head->value);
    }
    void protocol(const Head& head) {
        if (!head) return;
        const std::string text = protocol_text(head->value);
        if (text.empty() && !head->negated) return;
        name("-p", head->negated);
        append(text);
    }
    void rest(const std::vector<std::string_view>& words) {
        for (const auto word : words) {
            out_ += ' ';
            out_ += word;
        }
    }
    void part(std::string_view option, const Part& part) {
        name(option, false);
        append(part.name);
        if (part.module != nullptr) options(part);
        rest(part.rest);
    }
    void options(const Part& part) {
        const auto& rows = part.module->options;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            const auto given = std::find_if(part.options.begin(), part.options.end(),
                                            [&](const Option& option) { return option.row == row; });
            if (given != part.options.end()) {
                append_option(out_, rows[row], given->negated, given->values);
            } else if (rows[row].excludes.empty() || !part.has(part.module->find(rows[row].excludes))) {
                out_ += family_ == net::Family::kIpv4 ? rows[row].default_ipv4 : rows[row].default_ipv6;
            }
        }
    }

    std::string& out_;
    const net::Family family_;
};

}  // namespace

std::string canonical(std::string_view rule, net::Family family) {
    const auto words = split_words(rule);
    if (!words) return std::string(rule);
    const auto read = read_rule(*words);
    if (!read) return std::string(rule);
    std::string text;
    text.reserve(rule.size() + 64);
    Writer(text, family).write(*read);
    return text;
}

}  // namespace ghostip::kernel::iptables
