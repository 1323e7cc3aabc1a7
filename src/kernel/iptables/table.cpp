#include "kernel/iptables/table.h"

#include <algorithm>
#include <array>

namespace ghostip::kernel::iptables {
namespace {

using Kind = Command::Kind;
using Objection = Table::Objection;
using RefusedBy = Table::RefusedBy;

constexpr std::array<std::string_view, 3> kFilter{"INPUT", "FORWARD", "OUTPUT"};
constexpr std::array<std::string_view, 4> kNat{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"};
constexpr std::array<std::string_view, 5> kMangle{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
constexpr std::array<std::string_view, 2> kRaw{"PREROUTING", "OUTPUT"};

// What may stand behind -j without being a chain.
constexpr std::array<std::string_view, 27> kTargets{
    "ACCEPT", "AUDIT",  "CHECKSUM", "CLASSIFY", "CONNMARK", "CT",      "DNAT",    "DROP",  "DSCP",
    "HMARK",  "LOG",    "MARK",     "NETMAP",   "NFLOG",    "NFQUEUE", "NOTRACK", "QUEUE", "REDIRECT",
    "REJECT", "RETURN", "SET",      "SNAT",     "TCPMSS",   "TEE",     "TPROXY",  "TRACE", "MASQUERADE"};

Objection no_such_chain() { return {"No chain/target/match by that name.", RefusedBy::kProgram}; }
Objection no_such_rule() { return {"Bad rule (does a matching rule exist in that chain?).", RefusedBy::kProgram}; }
Objection too_big(std::string_view what) { return {fmt::format("Index of {} too big.", what), RefusedBy::kProgram}; }

}  // namespace

std::span<const std::string_view> built_in_chains(std::string_view table) {
    if (table == "filter" || table == "security") return kFilter;
    if (table == "nat") return kNat;
    if (table == "mangle") return kMangle;
    if (table == "raw") return kRaw;
    return {};
}

Table::Table(std::string_view name, Variant variant) : built_ins_(built_in_chains(name)), variant_(variant) {
    for (const auto chain : built_ins_) chains_.emplace(chain, std::make_shared<Chain>(Chain{"ACCEPT", {}}));
}

std::optional<Objection> Table::apply(const Command& command) {
    const bool exists = command.chain.empty() || has_chain(command.chain);
    switch (command.kind) {
        case Kind::kDeclare: return declare(command);
        case Kind::kAppend:
        case Kind::kInsert:
        case Kind::kReplace: return put_rule(command);
        case Kind::kDelete:
        case Kind::kDeleteNumber: return delete_rule(command);
        case Kind::kFlush:
            if (!exists) return no_such_chain();
            if (!command.chain.empty()) {
                flush(command.chain);
            } else {
                for (const auto& [name, chain] : chains_) flush(name);
            }
            return std::nullopt;
        case Kind::kNew:
            if (exists) return Objection{"Chain already exists.", RefusedBy::kProgram};
            chains_.emplace(command.chain, std::make_shared<Chain>(Chain{"-", {}}));
            return std::nullopt;
        case Kind::kRemove: return command.chain.empty() ? remove_all() : remove(command.chain);
        case Kind::kPolicy: return set_policy(command);
        case Kind::kZero: return exists ? std::nullopt : std::optional(no_such_chain());
    }
    return std::nullopt;
}

bool Table::built_in(std::string_view chain) const {
    return std::find(built_ins_.begin(), built_ins_.end(), chain) != built_ins_.end();
}

Table::Chain& Table::change(const std::string& chain) {
    auto& shared = chains_.find(chain)->second;
    if (shared.use_count() > 1) shared = std::make_shared<Chain>(*shared);
    return *shared;
}

std::optional<Objection> Table::declare(const Command& command) {
    if (built_in(command.chain)) return command.policy == "-" ? std::nullopt : set_policy(command);
    if (has_chain(command.chain)) {
        flush(command.chain);
    } else {
        chains_.emplace(command.chain, std::make_shared<Chain>(Chain{"-", {}}));
    }
    // iptables-nft does not look at the policy of such a chain.
    if (command.policy != "-" && variant_ == Variant::kLegacy)
        return Objection{fmt::format("Can't set policy `{}' on `{}'", command.policy, command.chain),
                         RefusedBy::kProgram};
    return std::nullopt;
}

std::optional<Objection> Table::set_policy(const Command& command) {
    if (!built_in(command.chain)) return Objection{"Bad built-in chain name.", RefusedBy::kProgram};
    if (command.policy != "ACCEPT" && command.policy != "DROP")
        return Objection{"Bad policy name.", RefusedBy::kProgram};
    change(command.chain).policy = command.policy;
    return std::nullopt;
}

std::optional<Objection> Table::check_target(const Command& command) const {
    if (command.target.empty()) return std::nullopt;
    if (has_chain(command.target)) {
        if (!built_in(command.target)) return std::nullopt;
        return Objection{fmt::format("a jump to the built-in chain {}", command.target),
                         variant_ == Variant::kNft ? RefusedBy::kKernel : RefusedBy::kProgram};
    }
    const bool known = std::find(kTargets.begin(), kTargets.end(), command.target) != kTargets.end();
    if (known && !command.go_to) return std::nullopt;
    // iptables-nft finds out when it has read all of the table's lines, and names the one that it has come to.
    return Objection{fmt::format("Chain '{}' does not exist", command.target),
                     variant_ == Variant::kNft ? RefusedBy::kProgramAtCommit : RefusedBy::kProgram};
}

std::optional<Objection> Table::put_rule(const Command& command) {
    auto refusal = check_target(command);
    if (refusal && refusal->by != RefusedBy::kKernel) return refusal;
    if (!has_chain(command.chain)) return no_such_chain();
    const std::size_t count = chains_.find(command.chain)->second->rules.size();
    if (command.kind == Kind::kInsert && command.number > count + 1) return too_big("insertion");
    if (command.kind == Kind::kReplace && command.number > count) return too_big("replacement");
    Rule rule{command.rule, has_chain(command.target) ? command.target : ""};
    count_use(rule.target, 1);
    auto& rules = change(command.chain).rules;
    const auto place = static_cast<std::ptrdiff_t>(command.number) - 1;
    if (command.kind == Kind::kAppend) {
        rules.push_back(std::move(rule));
    } else if (command.kind == Kind::kInsert) {
        rules.insert(rules.begin() + place, std::move(rule));
    } else {
        count_use(rules[command.number - 1].target, -1);
        rules[command.number - 1] = std::move(rule);
    }
    return refusal;
}

std::optional<Objection> Table::delete_rule(const Command& command) {
    if (auto objection = check_target(command); objection && objection->by != RefusedBy::kKernel) return objection;
    const auto found = chains_.find(command.chain);
    if (found == chains_.end()) return command.kind == Kind::kDelete ? no_such_rule() : no_such_chain();
    const auto& rules = found->second->rules;
    std::size_t place = command.number - 1;
    if (command.kind == Kind::kDelete) {
        const auto same = [&](const Rule& rule) { return rule.text == command.rule; };
        const auto rule = std::find_if(rules.begin(), rules.end(), same);
        if (rule == rules.end()) return no_such_rule();
        place = static_cast<std::size_t>(rule - rules.begin());
    }
    if (place >= rules.size()) return too_big("deletion");
    count_use(rules[place].target, -1);
    auto& changed = change(command.chain).rules;
    changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(place));
    return std::nullopt;
}

std::optional<Objection> Table::remove(const std::string& chain) {
    if (!has_chain(chain)) return no_such_chain();
    // iptables-nft would remove an empty one, which nobody wants to do here.
    if (built_in(chain)) return Objection{fmt::format("chain {} is built in", chain), RefusedBy::kProgram};
    const bool in_use = uses_.contains(chain) || !chains_.find(chain)->second->rules.empty();
    if (in_use && variant_ == Variant::kLegacy) return Objection{fmt::format("chain {} is in use", chain)};
    if (in_use) {
        flush(chain);
        chains_.erase(chain);
        return Objection{fmt::format("CHAIN_DEL failed (Device or resource busy): chain {}", chain),
                         RefusedBy::kKernel};
    }
    chains_.erase(chain);
    return std::nullopt;
}

std::optional<Objection> Table::remove_all() {
    std::optional<Objection> refusal;
    for (const auto& [name, chain] : Chains(chains_)) {
        if (built_in(name)) continue;
        auto refused = remove(name);
        if (refused && !refusal) refusal = std::move(refused);
    }
    return refusal;
}

void Table::clear() {
    for (const auto& [name, chain] : chains_) flush(name);
    std::erase_if(chains_, [&](const auto& entry) { return !built_in(entry.first); });
}

bool Table::delete_chain(std::string_view name) {
    const auto found = chains_.find(name);
    if (found == chains_.end() || built_in(name)) return false;
    flush(found->first);
    for (const auto& [caller, chain] : chains_) {
        const auto jumps = [&](const Rule& rule) { return rule.target == name; };
        if (std::any_of(chain->rules.begin(), chain->rules.end(), jumps)) std::erase_if(change(caller).rules, jumps);
    }
    uses_.erase(std::string(name));
    chains_.erase(found);
    return true;
}

void Table::flush(const std::string& chain) {
    for (const auto& rule : chains_.find(chain)->second->rules) count_use(rule.target, -1);
    change(chain).rules.clear();
}

void Table::count_use(const std::string& target, int by) {
    if (target.empty()) return;
    auto& uses = uses_[target];
    uses += by;
    if (uses == 0) uses_.erase(target);
}

bool Table::has_circle() const {
    std::map<std::string_view, bool> seen;  // true: on the way that is being walked
    struct Step {
        Chains::const_iterator chain;
        std::size_t next_rule = 0;
    };
    for (const auto name : built_ins_) {
        std::vector<Step> way{{chains_.find(name), 0}};
        while (!way.empty()) {
            auto& [chain, next_rule] = way.back();
            const auto& rules = chain->second->rules;
            if (next_rule == rules.size()) {
                seen[chain->first] = false;
                way.pop_back();
                continue;
            }
            const auto& target = rules[next_rule++].target;
            if (target.empty()) continue;
            const auto to = chains_.find(target);
            if (to == chains_.end()) continue;
            const auto [known, is_new] = seen.try_emplace(to->first, true);
            if (is_new) {
                way.push_back({to, 0});
            } else if (known->second) {
                return true;
            }
        }
    }
    return false;
}

void Table::save(const LineSink& line) const {
    std::vector<Chains::const_iterator> order;
    order.reserve(chains_.size());
    for (const auto name : built_ins_) order.push_back(chains_.find(name));
    for (auto chain = chains_.begin(); chain != chains_.end(); ++chain)
        if (!built_in(chain->first)) order.push_back(chain);
    std::string text;
    for (const auto& chain : order) {
        text = ":";
        text.append(chain->first).append(" ").append(chain->second->policy).append(" [0:0]");
        line(text);
    }
    for (const auto& chain : order) {
        for (const auto& rule : chain->second->rules) {
            text = "-A ";
            text.append(chain->first).append(rule.text);
            line(text);
        }
    }
}

std::size_t Table::rules() const {
    std::size_t count = 0;
    for (const auto& [name, chain] : chains_) count += chain->rules.size();
    return count;
}

}  // namespace ghostip::kernel::iptables
