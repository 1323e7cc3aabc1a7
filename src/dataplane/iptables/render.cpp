#include "dataplane/iptables/render.h"

#include <map>

#include "dataplane/iptables/desired.h"
#include "dataplane/iptables/render_fixed.h"

namespace ghostip::dataplane::iptables {

std::string render(const plan::Plan& plan) {
    const auto context =
        context_for(plan.node, plan.family, {}, known_endpoints(plan), kernel::iptables::Form::kRestore);
    struct Table {
        std::map<std::string, std::string, std::less<>> shared;  // rules of shared chains
        std::string names;                                       // of all chains
        std::string rules;                                       // of all other chains
        std::string jumps;
    };
    std::map<std::string_view, Table> tables;
    const auto add_chain = [&](const Chain& chain) { tables[chain.table].rules += chain.rules; };
    const auto add_rule = [&](std::string_view table, std::string_view chain, std::string_view rule) {
        std::string& text = tables[table].shared[std::string(chain)];
        text.append("-A ").append(chain).append(rule).append("\n");
    };
    const auto add_name = [&](std::string_view table, std::string_view chain) {
        tables[table].names.append(":").append(chain).append(" - [0:0]\n");
    };
    for (const auto& needed : kNeededChains) add_name(needed.table, needed.chain);
    for (const auto& chain : render_fixed_chains(context)) add_chain(chain);
    for (const auto& [name, service_port] : plan.service_ports) {
        const auto rules = render_service_port(*service_port, health_check_port(plan, name), context);
        for (const auto& chain : rules.chains) {
            add_name(chain.table, chain.name);
            add_chain(chain);
        }
        for (const auto& one : rules.dispatch) add_rule(table_of(one.place), chain_of(one.place), one.rule);
    }
    for (const auto& rule : render_tail(context)) add_rule(tables::kNat, chains::kServices, rule);
    for (const auto& jump : render_jumps(context))
        tables[jump.table].jumps.append("-I ").append(jump.chain).append(jump.rule).append("\n");

    std::string text;
    for (const auto* name : {tables::kFilter, tables::kNat, tables::kMangle}) {
        const Table& table = tables[name];
        text.append("*").append(name).append("\n").append(table.names);
        for (const auto& [chain, rules] : table.shared) text += rules;
        text.append(table.rules).append(table.jumps).append("COMMIT\n");
    }
    return text;
}

}  // namespace ghostip::dataplane::iptables
