#include "agent/iptables_traces.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace ghostip::agent {
namespace {

struct TableChain {
    std::string_view table;
    std::string_view chain;
    bool of_iptables_mode = true;  // of today
};

// kube-proxy 1.24 to 1.36.
constexpr std::array<TableChain, 19> kChains{{
    {"nat", "KUBE-SERVICES"},
    {"nat", "KUBE-NODEPORTS"},
    {"nat", "KUBE-POSTROUTING"},
    {"nat", "KUBE-MARK-MASQ"},
    {"nat", "KUBE-PROXY-CANARY"},
    {"nat", "KUBE-NODE-PORT", false},
    {"nat", "KUBE-LOAD-BALANCER", false},
    {"filter", "KUBE-SERVICES"},
    {"filter", "KUBE-EXTERNAL-SERVICES"},
    {"filter", "KUBE-FORWARD"},
    {"filter", "KUBE-NODEPORTS"},
    {"filter", "KUBE-PROXY-FIREWALL"},
    {"filter", "KUBE-PROXY-CANARY"},
    {"filter", "KUBE-NODE-PORT", false},
    {"filter", "KUBE-SOURCE-RANGES-FIREWALL", false},
    {"filter", "KUBE-IPVS-FILTER", false},
    {"filter", "KUBE-IPVS-OUT-FILTER", false},
    {"mangle", "KUBE-PROXY-CANARY"},
    {"mangle", kOwnChain},
}};
// In nat, followed by a hash.
constexpr std::array<TableChain, 6> kPrefixes{{
    {"nat", "KUBE-SVC-"},
    {"nat", "KUBE-SVL-"},
    {"nat", "KUBE-EXT-"},
    {"nat", "KUBE-FW-"},
    {"nat", "KUBE-SEP-"},
    {"nat", "KUBE-XLB-", false},  // 1.23 and before
}};

// Words of a rule; those in quotation marks lose them.
std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    std::string word;
    bool quoted = false;
    bool inside = false;
    for (std::size_t index = 0; index < line.size(); ++index) {
        char c = line[index];
        if (c == ' ' && !quoted) {
            if (inside) words.push_back(std::exchange(word, {}));
            inside = false;
            continue;
        }
        inside = true;
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (c == '\\' && index + 1 < line.size()) c = line[++index];
        word += c;
    }
    if (inside) words.push_back(std::move(word));
    return words;
}

struct Rule {
    std::string chain;
    std::string target;     // of -j or -g; empty: none
    std::string_view line;  // as saved, from its chain's name on
    bool plain_jump = false;
};

// A jump as kube-proxy makes them: no match but a comment and that the connection is new.
Rule parse_rule(std::string_view line) {
    constexpr std::string_view kAppend = "-A ";
    Rule rule;
    rule.line = line.substr(kAppend.size());
    const auto words = words_of(rule.line);
    if (words.empty()) return rule;
    rule.chain = words[0];
    rule.plain_jump = true;
    for (std::size_t index = 1; index < words.size(); ++index) {
        const std::string& flag = words[index];
        const bool has_value =
            flag == "-m" || flag == "--comment" || flag == "--ctstate" || flag == "-j" || flag == "-g";
        const std::string value = has_value && index + 1 < words.size() ? words[++index] : "";
        if (flag == "-j" || flag == "-g") rule.target = value;
        const bool known = (flag == "-m" && (value == "comment" || value == "conntrack")) || flag == "--comment" ||
                           (flag == "--ctstate" && value == "NEW") || flag == "-j";
        if (!known) rule.plain_jump = false;
    }
    return rule;
}

struct Table {
    std::string name;
    Chains chains = Chains::kAll;  // that are ours to take
    std::set<std::string> built_in;
    std::set<std::string> ours;  // on the list and there
    std::vector<Rule> rules;
};

// From a chain on the list to those that it leads to.
using Ways = std::multimap<std::string, std::string>;

Ways ways_of(const Table& table) {
    Ways ways;
    for (const auto& rule : table.rules)
        if (table.ours.contains(rule.chain) && table.ours.contains(rule.target)) ways.emplace(rule.chain, rule.target);
    // The mark is worth nothing without the chain that masquerades what has it.
    if (table.ours.contains("KUBE-POSTROUTING")) ways.emplace("KUBE-MARK-MASQ", "KUBE-POSTROUTING");
    return ways;
}

// `chain` and all that it leads to.
void keep(const std::string& chain, const Ways& ways, std::set<std::string>& kept) {
    std::vector<std::string> left{chain};
    while (!left.empty()) {
        const std::string next = std::move(left.back());
        left.pop_back();
        if (!kept.insert(next).second) continue;
        const auto [first, last] = ways.equal_range(next);
        for (auto way = first; way != last; ++way) left.push_back(way->second);
    }
}

void remove_from(const Table& table, IptablesRemoval& removal) {
    std::set<std::string> kept;
    const Ways ways = ways_of(table);
    for (const auto& rule : table.rules) {
        if (!table.ours.contains(rule.target) || table.ours.contains(rule.chain)) continue;
        if (rule.plain_jump && table.built_in.contains(rule.chain)) continue;
        if (!kept.contains(rule.target))
            removal.kept.push_back(fmt::format("table {}: chain {} stays, because a rule of chain {} leads into it",
                                               table.name, rule.target, rule.chain));
        keep(rule.target, ways, kept);
    }
    std::vector<std::string> chains;
    std::set_difference(table.ours.begin(), table.ours.end(), kept.begin(), kept.end(), std::back_inserter(chains));
    if (chains.empty()) return;
    std::string text = "*" + table.name + "\n";
    for (const auto& chain : chains) text += ":" + chain + " - [0:0]\n";  // also empties it
    for (const auto& rule : table.rules) {
        if (!table.built_in.contains(rule.chain) || !std::binary_search(chains.begin(), chains.end(), rule.target))
            continue;
        text += "-D ";
        text += rule.line;
        text += '\n';
        ++removal.jumps;
    }
    for (const auto& chain : chains) text += "-X " + chain + "\n";
    removal.restore += text + "COMMIT\n";
    removal.chains += chains.size();
}

// ":FORWARD ACCEPT [0:0]"; chains that are not built in have "-" for a policy.
void take_chain(std::string_view line, Table& table) {
    const auto words = words_of(line.substr(1));
    if (words.size() < 2) return;
    if (words[1] != "-") table.built_in.insert(words[0]);
    if (words[1] == "-" && is_kube_proxy_chain(table.name, words[0], table.chains)) table.ours.insert(words[0]);
}

}  // namespace

bool is_kube_proxy_chain(std::string_view table, std::string_view chain, Chains chains) {
    const auto wanted = [&](const TableChain& one) {
        return one.table == table && (chains == Chains::kAll || !one.of_iptables_mode);
    };
    const auto listed = [&](const TableChain& one) { return wanted(one) && one.chain == chain; };
    if (std::any_of(kChains.begin(), kChains.end(), listed)) return true;
    const auto hashed = [&](const TableChain& prefix) {
        return wanted(prefix) && chain.size() > prefix.chain.size() && chain.starts_with(prefix.chain);
    };
    return std::any_of(kPrefixes.begin(), kPrefixes.end(), hashed);
}

bool are_own_rules(std::string_view save) {
    return save.find(fmt::format("\n:{} ", kOwnChain)) != std::string_view::npos;
}

IptablesRemoval iptables_removal(std::string_view save, Chains chains) {
    IptablesRemoval removal;
    std::optional<Table> table;
    while (!save.empty()) {
        const auto end = std::min(save.find('\n'), save.size());
        const std::string_view line = save.substr(0, end);
        save.remove_prefix(std::min(end + 1, save.size()));
        if (line.starts_with('*')) {
            table = Table{std::string(line.substr(1)), chains, {}, {}, {}};
        } else if (!table) {
            continue;
        } else if (line.starts_with(':')) {
            take_chain(line, *table);
        } else if (line.starts_with("-A ")) {
            table->rules.push_back(parse_rule(line));
        } else if (line == "COMMIT") {
            remove_from(*table, removal);
            table.reset();
        }
    }
    return removal;
}

}  // namespace ghostip::agent
