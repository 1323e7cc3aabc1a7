#include "dataplane/ipvs/rules.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "dataplane/ipvs/names.h"
#include "kernel/iptables/rule_text.h"

namespace ghostip::dataplane::ipvs {
namespace {

constexpr std::string_view kJump = " -j ";

std::string jump_text(std::string_view table, std::string_view chain, std::string_view rule) {
    return fmt::format("{} {}{}", table, chain, rule);
}

// Chains come before rules, so that a rule may lead into any of them.
class Text {
  public:
    void write(const Chain& chain) {
        auto& table = tables_[std::string(chain.table)];
        table.names.append(":").append(chain.name).append(" - [0:0]\n");
        table.rules += chain.rules;
    }
    void insert(const Jump& jump) {
        tables_[std::string(jump.table)].rules.append("-I ").append(jump.chain).append(jump.rule).append("\n");
    }
    // What refuses comes before what leads to services (filter, mangle, nat).
    [[nodiscard]] std::string take() const {
        std::string text;
        for (const auto& [name, table] : tables_)
            text.append("*").append(name).append("\n").append(table.names).append(table.rules).append("COMMIT\n");
        return text;
    }

  private:
    struct Table {
        std::string names;
        std::string rules;
    };
    std::map<std::string, Table> tables_;
};

}  // namespace

Result<ObservedRules> observe_rules(kernel::iptables::Iptables& iptables) {
    ObservedRules observed;
    for (const char* table : tables::kAll)
        RETURN_IF_ERROR(iptables.save(table, [&](std::string_view line) {
            const bool declares = line.starts_with(':');
            if (!declares && !line.starts_with("-A ")) return;
            const std::size_t start = declares ? 1 : 3;
            const std::string chain(line.substr(start, line.find(' ', start) - start));
            if (is_own_chain(table, chain)) {
                auto& rules = observed.chains[{table, chain}];
                if (!declares) rules.append(kernel::iptables::canonical(line, iptables.family())).append("\n");
                return;
            }
            const auto target = line.rfind(kJump);
            if (declares || target == std::string_view::npos) return;
            if (!is_own_chain(table, line.substr(target + kJump.size()))) return;
            const auto rule = kernel::iptables::canonical(line, iptables.family());
            observed.jumps.insert(jump_text(table, chain, std::string_view(rule).substr(start + chain.size())));
        }));
    return observed;
}

RuleChange change_of(const std::vector<Chain>& wanted, const std::vector<Jump>& jumps, const ObservedRules& observed) {
    RuleChange change;
    Text text;
    for (const auto& chain : wanted) {
        const auto there = observed.chains.find({std::string(chain.table), std::string(chain.name)});
        if (there != observed.chains.end() && there->second == chain.rules) continue;
        text.write(chain);
        change.differs.push_back(fmt::format("chain {} of table {}", chain.name, chain.table));
    }
    for (const auto& jump : jumps) {
        if (observed.jumps.contains(jump_text(jump.table, jump.chain, jump.rule))) continue;
        text.insert(jump);
        change.differs.push_back(fmt::format("a jump in chain {} of table {}", jump.chain, jump.table));
    }
    change.text = text.take();
    return change;
}

RuleChange change_of(const std::vector<Chain>& before, const std::vector<Chain>& after) {
    ObservedRules known;
    for (const auto& chain : before) known.chains[{std::string(chain.table), std::string(chain.name)}] = chain.rules;
    return change_of(after, {}, known);
}

Result<void> restore(kernel::iptables::Iptables& iptables, const std::string& text) {
    if (text.empty()) return {};
    ASSIGN_OR_RETURN(const auto refused, iptables.restore(text));
    if (!refused) return {};
    if (refused->lock_held) return Error{"another program holds the lock of iptables: " + refused->reason, EBUSY};
    return fail("iptables refuses the node's own rules: {}", refused->reason);
}

}  // namespace ghostip::dataplane::ipvs
