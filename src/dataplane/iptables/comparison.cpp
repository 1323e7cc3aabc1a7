#include "dataplane/iptables/comparison.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace ghostip::dataplane::iptables {
namespace {

constexpr std::size_t kMostExamples = 5;

std::uint64_t fingerprint(std::string_view text) { return std::hash<std::string_view>{}(text); }

std::uint64_t rule_key(Place place, std::string_view rule) {
    return fingerprint(rule) + 0x9e3779b97f4a7c15U * (static_cast<std::uint64_t>(place) + 1);
}

std::optional<Place> place_called(std::string_view table, std::string_view chain) {
    for (const auto place : kPlaces)
        if (table_of(place) == table && chain_of(place) == chain) return place;
    return std::nullopt;
}

std::string_view first_word(std::string_view text) { return text.substr(0, text.find(' ')); }

std::string_view without_prefix(std::string_view chain) {
    for (const auto prefix : kChainPrefixes)
        if (chain.starts_with(prefix)) return chain.substr(prefix.size());
    return {};
}

// Chains of service ports that a rule leads to. A comment that looks like a jump counts too: that only keeps more.
template <typename Take>
void each_target(std::string_view rule, Take take) {
    for (const std::string_view word : {" -j ", " -g "})
        for (auto at = rule.find(word); at != std::string_view::npos; at = rule.find(word, at + 1))
            if (const auto target = first_word(rule.substr(at + word.size())); is_service_chain(target)) take(target);
}

}  // namespace

Comparison::Comparison(const Context& context, std::size_t units, std::size_t endpoints, RulesOf rules_of,
                       const std::map<std::size_t, plan::ServicePortName>& kept)
    : family_(context.family), comments_(context.endpoint_comments), units_(units), rules_of_(std::move(rules_of)) {
    for (const auto& [unit, name] : kept) {
        kept_[unit] = {name.text(), {}};
        kept_by_hash_[hash_of(name)] = unit;
    }
    for (auto& chain : render_fixed_chains(context)) {
        expected_rules_ += Rules{{chain}, {}}.count();
        fixed_.push_back({std::move(chain), State::kMissing});
    }
    for (auto& rule : render_tail(context)) {
        ++expected_rules_.nat;
        tail_.push_back({std::move(rule), false});
    }
    for (auto& jump : render_jumps(context)) jumps_.push_back({std::move(jump), false});
    chains_.reserve(units + endpoints);
    rules_.reserve(units);
    for (std::size_t unit = 0; unit < units; ++unit) {
        if (kept_.contains(unit)) continue;
        const auto number = static_cast<std::uint32_t>(unit);
        const Rules rules = rules_of_(unit, comments_);
        for (const auto& chain : rules.chains) {
            const auto id = ChainId::of(chain.name);
            if (!id) continue;  // the kernel cannot have it either
            const auto count = count_lines(chain.rules).lines;
            expected_rules_.nat += count;
            chains_.push_back({fingerprint(chain.rules), *id, number, count, State::kMissing});
        }
        for (const auto& one : rules.dispatch) {
            const bool nat = table_of(one.place) == tables::kNat;
            ++(nat ? expected_rules_.nat : expected_rules_.filter);
            rules_.push_back({rule_key(one.place, one.rule), number, nat ? Part::kNat : Part::kFilterIn, false});
        }
    }
    std::sort(chains_.begin(), chains_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    std::sort(rules_.begin(), rules_.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
}

Result<void> Comparison::look(kernel::iptables::Iptables& iptables) {
    for (const char* table : {tables::kNat, tables::kFilter}) {
        table_ = table;
        RETURN_IF_ERROR(iptables.save(table, [&](std::string_view line) {
            if (line.starts_with(':'))
                take_chain(line.substr(1));
            else if (line.starts_with("-A "))
                take_rule(line);
        }));
        end_chain();
    }
    for (std::size_t i = 0; i < kNeededChains.size(); ++i) {
        if (kNeededChains[i].table != tables::kMangle) continue;
        ASSIGN_OR_RETURN(present_[i], iptables.has_chain(tables::kMangle, kNeededChains[i].chain));
    }
    sort_out_stale();
    add_up();
    return {};
}

void Comparison::take_chain(std::string_view line) {
    const auto name = first_word(line);
    for (std::size_t i = 0; i < kNeededChains.size(); ++i)
        if (kNeededChains[i].table == table_ && kNeededChains[i].chain == name) present_[i] = true;
    for (auto& fixed : fixed_)
        if (fixed.chain.table == table_ && fixed.chain.name == name) fixed.state = State::kDifferent;
    // It has no rules until some come.
    if (auto* expected = find_chain(table_, name))
        expected->state = State::kDifferent;
    else if (table_ == tables::kNat && is_service_chain(name))
        stale_.try_emplace(std::string(name));
}

void Comparison::take_rule(std::string_view line) {
    const auto after = line.substr(3);
    const auto name = first_word(after);
    if (name != current_.name) {
        end_chain();
        begin_chain(name);
    }
    const auto rule = after.substr(name.size());
    switch (current_.kind) {
        case Current::Kind::kShared: take_shared(static_cast<Place>(current_.index), line, rule); break;
        case Current::Kind::kExpected:
        case Current::Kind::kFixed: current_.body.append(line).append("\n"); break;
        case Current::Kind::kStale: {
            auto& stale = stale_.find(current_.name)->second;
            each_target(rule, [&](std::string_view target) { stale.targets.emplace_back(target); });
            if (!kept_.empty()) stale.body.append(line).append("\n");
            break;
        }
        case Current::Kind::kOther:
            take_jump(line);
            note_targets(rule);
            break;
    }
}

void Comparison::begin_chain(std::string_view name) {
    using Kind = Current::Kind;
    current_ = {std::string(name), Kind::kOther, 0, {}};
    if (const auto place = place_called(table_, name)) {
        current_.kind = Kind::kShared;
        current_.index = static_cast<std::size_t>(*place);
        return;
    }
    for (std::size_t i = 0; i < fixed_.size(); ++i)
        if (fixed_[i].chain.table == table_ && fixed_[i].chain.name == name) {
            current_.kind = Kind::kFixed;
            current_.index = i;
            return;
        }
    if (table_ != tables::kNat || !is_service_chain(name)) return;
    if (const auto* expected = find_chain(table_, name)) {
        current_.kind = Kind::kExpected;
        current_.index = static_cast<std::size_t>(expected - chains_.data());
    } else {
        stale_.try_emplace(current_.name);
        current_.kind = Kind::kStale;
    }
}

void Comparison::end_chain() {
    const Current ended = std::exchange(current_, {});
    if (ended.kind == Current::Kind::kFixed) {
        auto& fixed = fixed_[ended.index];
        const bool same = fixed.chain.rules == ended.body || fixed.chain.rules == canonical_body(ended.body);
        fixed.state = same ? State::kSame : State::kDifferent;
    }
    if (ended.kind != Current::Kind::kExpected) return;
    auto& chain = chains_[ended.index];
    if (fingerprint(ended.body) == chain.body) {
        chain.state = State::kSame;
        return;
    }
    const std::string canonical = canonical_body(ended.body);
    const auto* plain = plain_rules(chain.unit).find(table_, ended.name);
    if (fingerprint(canonical) == chain.body)
        chain.state = State::kSame;
    else
        chain.state = plain != nullptr && plain->rules == canonical ? State::kCommented : State::kDifferent;
}

std::string Comparison::canonical_body(const std::string& body) const {
    std::string text;
    std::string_view left = body;
    while (!left.empty()) {
        const auto end = std::min(left.find('\n'), left.size());
        text += kernel::iptables::canonical(left.substr(0, end), family_);
        text += '\n';
        left.remove_prefix(std::min(end + 1, left.size()));
    }
    return text;
}

// The rules of a unit with comments of endpoints where they should be without, or the other way round.
const Rules& Comparison::plain_rules(std::size_t unit) {
    if (plain_unit_ != unit) plain_ = rules_of_(unit, !comments_);
    plain_unit_ = unit;
    return plain_;
}

Comparison::ExpectedChain* Comparison::find_chain(std::string_view table, std::string_view name) {
    return const_cast<ExpectedChain*>(std::as_const(*this).find_chain(table, name));
}

const Comparison::ExpectedChain* Comparison::find_chain(std::string_view table, std::string_view name) const {
    const auto id = table == tables::kNat ? ChainId::of(name) : std::nullopt;
    if (!id) return nullptr;
    const auto found = std::lower_bound(chains_.begin(), chains_.end(), *id,
                                        [](const auto& chain, const ChainId& wanted) { return chain.id < wanted; });
    return found == chains_.end() || found->id != *id ? nullptr : &*found;
}

std::pair<std::vector<Comparison::ExpectedRule>::const_iterator, std::vector<Comparison::ExpectedRule>::const_iterator>
Comparison::find_rules(Place place, std::string_view rule) const {
    const ExpectedRule wanted{rule_key(place, rule), 0, Part::kNat, false};
    return std::equal_range(rules_.begin(), rules_.end(), wanted,
                            [](const auto& a, const auto& b) { return a.key < b.key; });
}

bool Comparison::claim(Place place, std::string_view rule, bool& is_tail) {
    if (place == Place::kServices)
        for (auto& tail : tail_)
            if (!tail.found && tail.rule == rule) {
                is_tail = true;
                return tail.found = true;
            }
    const auto [first, last] = find_rules(place, rule);
    for (auto one = first; one != last; ++one)
        if (!one->found) return rules_[static_cast<std::size_t>(one - rules_.begin())].found = true;
    return false;
}

// Is it of a unit that is left as it is?
bool Comparison::keep_rule(Place place, std::string_view rule) {
    for (auto& [unit, kept] : kept_) {
        bool own = rule.find(fmt::format("--comment \"{}\"", kept.name)) != std::string_view::npos ||
                   rule.find(fmt::format("--comment \"{} ", kept.name)) != std::string_view::npos;
        each_target(rule, [&, number = unit](std::string_view target) {
            const auto found = kept_by_hash_.find(without_prefix(target));
            if (found != kept_by_hash_.end()) own = found->second == number;
        });
        if (!own) continue;
        kept.landed.dispatch.push_back({place, std::string(rule)});
        return true;
    }
    return false;
}

void Comparison::take_shared(Place place, std::string_view line, std::string_view rule) {
    bool is_tail = false;
    bool known = claim(place, rule, is_tail);
    if (!known) {
        const std::string canonical = kernel::iptables::canonical(line, family_);
        const auto after = std::string_view(canonical).substr(std::min(canonical.size(), 3 + current_.name.size()));
        known = claim(place, after, is_tail);
    }
    const bool wanted = known || keep_rule(place, rule);
    if (tail_begun_ && !is_tail && place == Place::kServices) {
        tail_is_last_ = false;
        tail_is_misplaced_ = tail_is_misplaced_ || wanted;  // another one goes anyhow
    }
    tail_begun_ = tail_begun_ || is_tail;
    if (!wanted) foreign_.push_back({place, std::string(rule)});
}

void Comparison::take_jump(std::string_view line) {
    std::string canonical;
    for (auto& state : jumps_) {
        if (state.found || state.jump.table != table_ || state.jump.chain != current_.name) continue;
        if (canonical.empty()) canonical = kernel::iptables::canonical(line, family_).substr(3 + current_.name.size());
        if (canonical != state.jump.rule) continue;
        state.found = true;
        return;
    }
}

void Comparison::note_targets(std::string_view line) {
    if (table_ == tables::kNat) each_target(line, [&](std::string_view target) { wanted_elsewhere_.emplace(target); });
}

// Chains that nobody expects are removed, but for those that rules of others lead to, and those of kept units.
void Comparison::sort_out_stale() {
    for (auto& [hash, unit] : kept_by_hash_) {
        std::set<std::string> own;
        for (auto& [name, stale] : stale_)
            if (without_prefix(name) == hash) {
                own.insert(name);
                for (const auto& target : stale.targets)
                    if (target.starts_with(kChainPrefixes[static_cast<std::size_t>(ChainKind::kEndpoint)]))
                        own.insert(target);
            }
        for (const auto& name : own) {
            const auto found = stale_.find(name);
            if (found == stale_.end()) continue;
            kept_[unit].landed.chains.push_back({tables::kNat, name, canonical_body(found->second.body)});
            stale_.erase(found);
        }
    }
    std::vector<std::string> left(wanted_elsewhere_.begin(), wanted_elsewhere_.end());
    while (!left.empty()) {
        const auto found = stale_.find(left.back());
        left.pop_back();
        if (found == stale_.end()) continue;
        left.insert(left.end(), found->second.targets.begin(), found->second.targets.end());
        stale_.erase(found);
    }
}

// Only the first few are put into words: at a start there are a hundred thousand.
template <typename Describe>
void Comparison::differ(const Describe& describe) {
    ++differences_;
    if (examples_.size() < kMostExamples) examples_.push_back(describe());
}

void Comparison::add_up() {
    for (std::size_t i = 0; i < kNeededChains.size(); ++i)
        if (!present_[i])
            differ([&] {
                return fmt::format("chain {} of table {} is missing", kNeededChains[i].chain, kNeededChains[i].table);
            });
    for (const auto& fixed : fixed_)
        if (fixed.state == State::kDifferent)
            differ([&] {
                return fmt::format("chain {} of table {} has other rules", fixed.chain.name, fixed.chain.table);
            });
    for (const auto& state : jumps_)
        if (!state.found)
            differ([&] {
                return fmt::format("table {} lacks the rule {}{}", state.jump.table, state.jump.chain, state.jump.rule);
            });
    const bool tail_complete = std::all_of(tail_.begin(), tail_.end(), [](const auto& tail) { return tail.found; });
    if (!tail_complete)
        differ([] { return fmt::format("chain {} of table nat does not lead to node ports", chains::kServices); });
    if (tail_is_misplaced_)
        differ([] { return fmt::format("chain {} of table nat has rules behind its last ones", chains::kServices); });
    for (const auto& rule : foreign_)
        differ([&] {
            return fmt::format("chain {} of table {} has a rule too many:{}", chain_of(rule.place),
                               table_of(rule.place), rule.rule);
        });
    for (const auto& stale : stale_)
        differ([&] { return fmt::format("chain {} of table nat is nobody's", stale.first); });
    for (const auto& chain : chains_)
        if (chain.state == State::kMissing || chain.state == State::kDifferent)
            differ([&] {
                return fmt::format("chain {} of table nat {}", chain.id.name(),
                                   chain.state == State::kMissing ? "is missing" : "has other rules");
            });
    for (const auto& rule : rules_)
        if (!rule.found) differ([&] { return fmt::format("rule {} is missing", rule_text(rule)); });
}

// Only fingerprints are known: its unit is rendered once more.
std::string Comparison::rule_text(const ExpectedRule& rule) const {
    for (const auto& one : rules_of_(rule.unit, comments_).dispatch)
        if (rule_key(one.place, one.rule) == rule.key) return fmt::format("{}{}", chain_of(one.place), one.rule);
    return {};
}

}  // namespace ghostip::dataplane::iptables
