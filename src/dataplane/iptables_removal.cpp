#include "dataplane/iptables_removal.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "kernel/iptables/words.h"

namespace ghostip::dataplane {
namespace {

// From a chain on the list to those that it leads to.
using Ways = std::multimap<std::string, std::string>;

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

}  // namespace

void TableRemoval::take(std::string_view line) {
    if (line.starts_with(':')) return take_chain(line.substr(1));
    if (!line.starts_with("-A ")) return;
    Rule rule = parse(line.substr(3));
    // All chains are named before the first rule.
    if (listed_.contains(rule.target)) rules_.push_back(std::move(rule));
}

// ":FORWARD ACCEPT [0:0]"; chains that are not built in have "-" for a policy.
void TableRemoval::take_chain(std::string_view line) {
    const auto end = line.find(' ');
    if (end == std::string_view::npos) return;
    const std::string name(line.substr(0, end));
    if (line.substr(end + 1).starts_with('-')) {
        if (is_listed_(name)) listed_.insert(name);
    } else {
        built_in_.insert(name);
    }
}

// A plain jump is one as proxies make them: no match but a comment and that the connection is new.
TableRemoval::Rule TableRemoval::parse(std::string_view line) {
    Rule rule;
    rule.text = line;
    const auto words = kernel::iptables::split_words(line);
    if (!words || words->empty()) return rule;
    rule.chain = (*words)[0].value;
    rule.plain_jump = true;
    for (std::size_t index = 1; index < words->size(); ++index) {
        const std::string& flag = (*words)[index].value;
        const bool has_value =
            flag == "-m" || flag == "--comment" || flag == "--ctstate" || flag == "-j" || flag == "-g";
        const std::string value = has_value && index + 1 < words->size() ? (*words)[++index].value : "";
        if (flag == "-j" || flag == "-g") rule.target = value;
        const bool known = (flag == "-m" && (value == "comment" || value == "conntrack")) || flag == "--comment" ||
                           (flag == "--ctstate" && value == "NEW") || flag == "-j";
        if (!known) rule.plain_jump = false;
    }
    return rule;
}

std::set<std::string> TableRemoval::kept(Removal& removal) const {
    Ways ways;
    for (const auto& rule : rules_)
        if (listed_.contains(rule.chain)) ways.emplace(rule.chain, rule.target);
    // The mark is worth nothing without the chain that masquerades what has it.
    if (listed_.contains("KUBE-POSTROUTING")) ways.emplace("KUBE-MARK-MASQ", "KUBE-POSTROUTING");
    std::set<std::string> kept;
    for (const auto& rule : rules_) {
        if (listed_.contains(rule.chain) || (rule.plain_jump && built_in_.contains(rule.chain))) continue;
        if (!kept.contains(rule.target))
            removal.kept.push_back(fmt::format("table {}: chain {} stays, because a rule of chain {} leads into it",
                                               name_, rule.target, rule.chain));
        keep(rule.target, ways, kept);
    }
    return kept;
}

void TableRemoval::add_to(Removal& removal) const {
    const auto stay = kept(removal);
    std::vector<std::string> chains;
    std::set_difference(listed_.begin(), listed_.end(), stay.begin(), stay.end(), std::back_inserter(chains));
    if (chains.empty()) return;
    std::string text = "*" + name_ + "\n";
    for (const auto& chain : chains) text += ":" + chain + " - [0:0]\n";  // also empties it
    for (const auto& rule : rules_) {
        if (!built_in_.contains(rule.chain) || !std::binary_search(chains.begin(), chains.end(), rule.target)) continue;
        text += "-D " + rule.text + "\n";
        ++removal.jumps;
    }
    for (const auto& chain : chains) text += "-X " + chain + "\n";
    removal.restore += text + "COMMIT\n";
    removal.chains += chains.size();
}

void IpvsOwner::take(std::string_view line) {
    if (!line.starts_with("-A KUBE-SERVICES ")) return;
    balances_ = balances_ || line.ends_with(" -j KUBE-NODE-PORT");
    leads_to_ours_ = leads_to_ours_ || line.ends_with(" -j GHOSTIP-EXTERNAL-LOCAL");
}

}  // namespace ghostip::dataplane
