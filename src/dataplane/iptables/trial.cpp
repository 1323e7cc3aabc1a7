#include "dataplane/iptables/trial.h"

#include "dataplane/iptables/names.h"
#include "kernel/iptables/rule_text.h"

namespace ghostip::dataplane::iptables {

using kernel::iptables::Form;
using kernel::iptables::Refused;
using kernel::iptables::RuleText;

namespace {

constexpr std::string_view kTrialChain = "GHOSTIP-TRIAL";

template <typename Words>
Trial trial(std::string_view table, std::string_view needs, net::Family family, Words words) {
    Trial result{table, needs, {}};
    RuleText text(result.rule, Form::kRestore, family);
    words(text);
    return result;
}

}  // namespace

std::vector<Trial> needed_rules(net::Family family) {
    const net::IpAddress anywhere(family);
    const auto of = [&](std::string_view table, std::string_view needs, auto words) {
        return trial(table, needs, family, words);
    };
    return {
        of(tables::kNat, "comments (xt_comment)", [](RuleText& rule) { rule.comment("a trial").jump("RETURN"); }),
        of(tables::kNat, "random choices (xt_statistic)", [](RuleText& rule) { rule.one_of(2).jump("RETURN"); }),
        of(tables::kNat, "address types (xt_addrtype)",
           [](RuleText& rule) { rule.source_type_local().jump("RETURN"); }),
        of(tables::kNat, "matching marks (xt_mark)", [](RuleText& rule) { rule.mark(0x4000).jump("RETURN"); }),
        of(tables::kNat, "setting marks (xt_mark)", [](RuleText& rule) { rule.or_mark(0x4000); }),
        of(tables::kNat, "destination NAT (xt_nat)",
           [&](RuleText& rule) {
               rule.protocol(net::Protocol::kTcp).protocol_module(net::Protocol::kTcp).translate(anywhere, 1);
           }),
        of(tables::kFilter, "connection tracking state (xt_conntrack)",
           [](RuleText& rule) { rule.connection_state("NEW").jump("RETURN"); }),
        of(tables::kFilter, "rejecting (ipt_REJECT, ip6t_REJECT)", [](RuleText& rule) { rule.reject(); }),
    };
}

Trial affinity_rule(net::Family family) {
    return trial(tables::kNat, "session affinity (xt_recent)", family,
                 [](RuleText& rule) { rule.recent_check("GHOSTIP-TRIAL", 1).jump("RETURN"); });
}

Trial counting_rule(net::Family family) {
    return trial(tables::kFilter, "packet counters (xt_nfacct)", family,
                 [](RuleText& rule) { rule.accounted(kInvalidDropped).jump("RETURN"); });
}

// In two texts: within one, iptables-legacy would never show the rules to the kernel.
Result<Refused> try_out(kernel::iptables::Iptables& iptables, const Limits& limits, const std::vector<Trial>& trials) {
    std::string make;
    std::string remove;
    for (const char* table : {tables::kNat, tables::kFilter}) {
        std::string rules;
        for (const auto& one : trials)
            if (one.table == table) rules.append("-A ").append(kTrialChain).append(one.rule).append("\n");
        if (rules.empty()) continue;
        const std::string declared = "*" + std::string(table) + "\n:" + std::string(kTrialChain) + " - [0:0]\n";
        make += declared + rules + "COMMIT\n";
        remove += declared + "-X " + std::string(kTrialChain) + "\nCOMMIT\n";
    }
    ASSIGN_OR_RETURN(auto refused, restore_patiently(iptables, limits, make));
    // Also after a refusal: the first of two tables may be in. Should this fail, an unused chain stays.
    RETURN_IF_ERROR(restore_patiently(iptables, limits, remove));
    return refused;
}

}  // namespace ghostip::dataplane::iptables
