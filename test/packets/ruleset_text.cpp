#include "packets/ruleset_text.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <tuple>
#include <vector>

#include <fmt/format.h>

namespace ghostip::packets {
namespace {

constexpr std::string_view kBlank = " \t\n";
constexpr std::string_view kElements = "elements = {";

std::string_view trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char by) {
    std::vector<std::string_view> parts;
    for (std::size_t from = 0; from <= text.size();) {
        const auto to = std::min(text.find(by, from), text.size());
        if (const auto part = trimmed(text.substr(from, to - from)); !part.empty()) parts.push_back(part);
        from = to + 1;
    }
    return parts;
}

// `172.30.0.1 . tcp . 80 . 2 : 10.180.0.3 . 8080`: the endpoint is one thing to know, that slot 2 is taken another.
void add_slot(std::string_view element, std::vector<std::string>& lines) {
    const auto colon = element.find(" : ");
    const auto key = element.substr(0, colon);
    const auto dot = key.rfind(" . ");
    lines.push_back(fmt::format("{} slot {}", key.substr(0, dot), key.substr(dot + 3)));
    lines.push_back(fmt::format("{}{}", key.substr(0, dot), element.substr(std::min(colon, element.size()))));
}

// What stands between the braces of one set, map or chain.
std::string normal_block(std::string_view head, std::string_view body) {
    std::vector<std::string> elements;
    std::string text(head);
    text += " {\n";
    const auto at = body.find(kElements);
    for (const auto line : split(body.substr(0, at), '\n')) text += fmt::format("\t{}\n", line);
    const bool learned = body.find("flags dynamic") != std::string_view::npos;
    if (at != std::string_view::npos && !learned) {
        const auto inside = body.substr(at + kElements.size());
        const bool slots = head.ends_with("endpoints") && head.starts_with("map");
        for (const auto element : split(inside.substr(0, inside.find('}')), ','))
            if (slots)
                add_slot(element, elements);
            else
                elements.emplace_back(element);
    }
    std::sort(elements.begin(), elements.end());
    for (const auto& element : elements) text += fmt::format("\t\t{} has {}\n", head, element);
    return text + "}\n";
}

bool is_block(std::string_view line) {
    return line.starts_with("set ") || line.starts_with("map ") || line.starts_with("chain ");
}

}  // namespace

std::string normal_ruleset(std::string_view listing) {
    std::vector<std::string> blocks;
    std::string head;
    std::string body;
    for (std::size_t from = 0; from < listing.size();) {
        const auto to = std::min(listing.find('\n', from), listing.size());
        const auto line = listing.substr(from, to - from);
        from = to + 1;
        // Blocks open and close with one tab; what is inside has two or more.
        if (head.empty() && line.starts_with('\t') && line.ends_with(" {") && is_block(trimmed(line))) {
            head = trimmed(line.substr(0, line.size() - 1));
            body.clear();
        } else if (!head.empty() && line == "\t}") {
            blocks.push_back(normal_block(head, body));
            head.clear();
        } else if (!head.empty()) {
            body += line;
            body += '\n';
        } else if (!trimmed(line).empty()) {
            blocks.emplace_back(trimmed(line));
            blocks.back() += '\n';
        }
    }
    std::sort(blocks.begin(), blocks.end());
    std::string text;
    for (const auto& block : blocks) text += block;
    return text;
}

std::string with_prefixed_names(std::string_view rules, std::string_view prefix) {
    std::set<std::string, std::less<>> names;
    for (const auto line : split(rules, '\n'))
        if (is_block(line) && line.ends_with(" {"))
            names.emplace(line.substr(line.find(' ') + 1, line.size() - line.find(' ') - 3));
    std::string text;
    std::string before;
    std::istringstream lines{std::string(rules)};
    for (std::string line; std::getline(lines, line); text += '\n') {
        const auto indent = std::min(line.find_first_not_of(kBlank), line.size());
        text += line.substr(0, indent);
        before.clear();
        for (const auto word : split(std::string_view(line).substr(indent), ' ')) {
            if (!before.empty()) text += ' ';
            const bool refers = word.starts_with('@');
            const bool leads = before == "jump" || before == "goto";
            const bool declares = line.ends_with(" {") && (before == "set" || before == "map" || before == "chain");
            const auto name = refers ? word.substr(1) : word;
            if ((refers || leads || declares) && names.contains(name))
                text += fmt::format("{}{}{}", refers ? "@" : "", prefix, name);
            else
                text += word;
            before = word;
        }
    }
    return text;
}

std::string first_difference(std::string_view there, std::string_view wanted) {
    if (there == wanted) return {};
    const auto mine = split(there, '\n');
    const auto theirs = split(wanted, '\n');
    const std::multiset<std::string_view> have(mine.begin(), mine.end());
    const std::multiset<std::string_view> want(theirs.begin(), theirs.end());
    constexpr int kShown = 5;
    std::string text;
    int shown = 0;
    for (const auto& [from, other, what] : {std::tuple{&have, &want, "too much"}, std::tuple{&want, &have, "missing"}})
        for (const auto line : *from) {
            if (from->count(line) <= other->count(line) || shown == kShown) continue;
            text += fmt::format("  {}: {}\n", what, line);
            ++shown;
        }
    if (!text.empty()) return text;
    const auto [at, other] = std::mismatch(mine.begin(), mine.end(), theirs.begin(), theirs.end());
    return fmt::format("  the same lines in another order: {} before {}\n", at == mine.end() ? "" : *at,
                       other == theirs.end() ? "" : *other);
}

std::string normal_save(const std::string& saved) {
    static const std::set<std::string, std::less<>> kDispatch{"KUBE-SERVICES", "KUBE-NODEPORTS",
                                                              "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"};
    std::map<std::string, std::vector<std::string>> rules;  // by table and chain
    std::string table;
    std::istringstream lines(saved);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('*')) table = line.substr(1);
        if (line.find("KUBE-") == std::string::npos) continue;
        if (line.starts_with(":KUBE-")) rules[table + " " + line.substr(1, line.find(' ') - 1)];
        if (!line.starts_with("-A ")) continue;
        rules[table + " " + line.substr(3, line.find(' ', 3) - 3)].push_back(line);
    }
    std::string text;
    for (auto& [chain, own] : rules) {
        text += chain + "\n";
        // Jumps from built-in chains are checked by presence, as kube-proxy does.
        const auto name = std::string_view(chain).substr(chain.find(' ') + 1);
        if (kDispatch.contains(name) || !name.starts_with("KUBE-")) std::sort(own.begin(), own.end());
        for (const auto& rule : own) text += "  " + rule + "\n";
    }
    return text;
}

}  // namespace ghostip::packets
