// What is to be written where the kernel differs.
#include <algorithm>

#include "dataplane/iptables/comparison.h"

namespace ghostip::dataplane::iptables {
namespace {

std::size_t kind_rank(std::string_view chain) {
    for (std::size_t rank = 0; rank < kChainPrefixes.size(); ++rank)
        if (chain.starts_with(kChainPrefixes[rank])) return rank;
    return kChainPrefixes.size();
}

}  // namespace

// Chains first, since jumps and rules lead to them; the jumps last, when what they lead to is whole.
std::string Comparison::frame_text() const {
    std::string text;
    for (const std::string_view table : {tables::kNat, tables::kFilter, tables::kMangle}) {
        std::string lines;
        for (std::size_t i = 0; i < kNeededChains.size(); ++i)
            if (kNeededChains[i].table == table && !present_[i])
                lines.append(":").append(kNeededChains[i].chain).append(" - [0:0]\n");
        for (const auto& fixed : fixed_)
            if (fixed.chain.table == table && fixed.state != State::kSame)
                lines.append(":").append(fixed.chain.name).append(" - [0:0]\n").append(fixed.chain.rules);
        if (table == tables::kNat && !tail_is_right()) {
            for (const auto& tail : tail_)
                if (tail.found) lines.append("-D ").append(chains::kServices).append(tail.rule).append("\n");
            for (const auto& tail : tail_) lines.append("-A ").append(chains::kServices).append(tail.rule).append("\n");
        }
        for (const auto& state : jumps_)
            if (state.jump.table == table && !state.found)
                lines.append("-I ").append(state.jump.chain).append(state.jump.rule).append("\n");
        if (!lines.empty()) text.append("*").append(table).append("\n").append(lines).append("COMMIT\n");
    }
    return text;
}

RuleCounts Comparison::frame_rules() const {
    Rules rules;
    for (const auto& fixed : fixed_)
        if (fixed.state != State::kSame) rules.chains.push_back(fixed.chain);
    RuleCounts counts = rules.count();
    if (!tail_is_right()) counts.nat += tail_.size();
    return counts;
}

bool Comparison::tail_is_right() const {
    return tail_is_last_ && std::all_of(tail_.begin(), tail_.end(), [](const auto& tail) { return tail.found; });
}

std::vector<Lacking> Comparison::lacking() const {
    std::vector<Lacking> units(units_);
    for (const auto& chain : chains_) {
        if (chain.state == State::kSame) continue;
        auto& counts = units[chain.unit].counts.in(Part::kNat);
        counts.lines += 1 + chain.rules;
        counts.brought += chain.rules;
    }
    for (const auto& rule : rules_) {
        if (rule.found) continue;
        auto& counts = units[rule.unit].counts.in(rule.part);
        ++counts.lines;
        ++counts.brought;
    }
    for (std::size_t unit = 0; unit < units_; ++unit) units[unit].unit = unit;
    units.erase(std::remove_if(units.begin(), units.end(), [](const auto& one) { return one.counts.lines() == 0; }),
                units.end());
    return units;
}

bool Comparison::lacks_rule(std::size_t unit, const Dispatch& rule) const {
    const auto [first, last] = find_rules(rule.place, rule.rule);
    return std::any_of(first, last, [&](const auto& one) { return one.unit == unit && !one.found; });
}

Edit Comparison::edit_of(std::size_t unit) const {
    Edit edit;
    if (kept_.contains(unit)) return edit;
    const Rules rules = rules_of_(unit, comments_);
    for (const auto& chain : rules.chains) {
        const auto* expected = find_chain(chain.table, chain.name);
        if (expected != nullptr && expected->state != State::kSame) write_chain(edit, chain);
    }
    for (auto rule = rules.dispatch.rbegin(); rule != rules.dispatch.rend(); ++rule)
        if (lacks_rule(unit, *rule)) insert_rule(edit, *rule);
    return edit;
}

// iptables-legacy keeps chains in a sorted list, where the first place is found at once: of 60,000 chains in any other
// order half of its time is the search.
ChainSource Comparison::chains_of_edits() const {
    return [next = chains_.rbegin(), end = chains_.rend()]() mutable -> std::optional<DeclaredChain> {
        while (next != end && next->state == State::kSame) ++next;
        if (next == end) return std::nullopt;
        const auto& chain = *next++;
        return DeclaredChain{chain.unit, chain.id.name()};
    };
}

// Rules before the chains that they lead to, and those before the chains that they lead to in turn.
std::vector<Edit> Comparison::removals() const {
    std::vector<Edit> edits;
    for (const auto& rule : foreign_) delete_rule(edits.emplace_back(), rule.place, rule.rule);
    std::vector<std::string_view> chains;
    for (const auto& [name, stale] : stale_) chains.push_back(name);
    std::stable_sort(chains.begin(), chains.end(),
                     [](std::string_view a, std::string_view b) { return kind_rank(a) < kind_rank(b); });
    for (const auto chain : chains) remove_chain(edits.emplace_back(), tables::kNat, chain);
    return edits;
}

std::set<Place> Comparison::littered() const {
    std::set<Place> places;
    for (const auto& rule : foreign_) places.insert(rule.place);
    return places;
}

std::string Comparison::place_text(Place place) const {
    std::string text;
    const auto append = [&](std::string_view rule) {
        text.append("-A ").append(chain_of(place)).append(rule).append("\n");
    };
    text.append("*").append(table_of(place)).append("\n:").append(chain_of(place)).append(" - [0:0]\n");
    for (std::size_t unit = 0; unit < units_; ++unit) {
        const auto kept = kept_.find(unit);
        const Rules rules = kept != kept_.end() ? kept->second.landed : rules_of_(unit, comments_);
        for (const auto& one : rules.dispatch)
            if (one.place == place) append(one.rule);
    }
    if (place == Place::kServices)
        for (const auto& tail : tail_) append(tail.rule);
    return text + "COMMIT\n";
}

}  // namespace ghostip::dataplane::iptables
