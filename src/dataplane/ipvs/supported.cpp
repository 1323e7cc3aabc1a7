#include "dataplane/ipvs/supported.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include <fmt/format.h>

#include "dataplane/iptables_variant.h"
#include "dataplane/ipvs/names.h"
#include "kernel/ipset/linux.h"
#include "kernel/iptables/linux.h"
#include "kernel/iptables/rule_text.h"
#include "kernel/ipvs/linux.h"
#include "kernel/link/linux.h"

namespace ghostip::dataplane::ipvs {
namespace {

using kernel::iptables::Form;
using kernel::iptables::RuleText;

constexpr const char* kTrial = "GHOSTIP-TRIAL";
constexpr const char* kTrialDevice = "ghostip-trial";
constexpr std::uint16_t kTrialPort = 20000;

// Of addresses that documents use and nobody has.
kernel::ipvs::Service trial_service(net::Family family, const std::string& scheduler) {
    kernel::ipvs::Service service;
    service.key.address = *net::IpAddress::parse(family == net::Family::kIpv4 ? "198.51.100.0" : "2001:db8:ffff::");
    service.key.port = kTrialPort;
    service.scheduler = scheduler;
    return service;
}

struct Trial {
    std::string_view table;
    std::string_view needs;
    std::string rule;  // of chain kTrial
};

std::vector<Trial> trials(net::Family family, const std::string& set) {
    std::vector<Trial> all;
    const auto next = [&](std::string_view table, std::string_view needs) {
        all.push_back({table, needs, {}});
        RuleText text(all.back().rule, Form::kRestore, family);
        text.begin("-A", kTrial);
        return text;
    };
    all.reserve(8);  // texts point into it
    next(tables::kNat, "asking IP sets (xt_set)").in_set(set, "dst,dst").jump("RETURN").end();
    next(tables::kNat, "comments (xt_comment)").comment("a trial").jump("RETURN").end();
    next(tables::kNat, "address types (xt_addrtype)").source_type_local().jump("RETURN").end();
    next(tables::kNat, "marks (xt_mark)").or_mark(0x4000).end();
    next(tables::kNat, "destination NAT (xt_nat)")
        .protocol(net::Protocol::kTcp)
        .protocol_module(net::Protocol::kTcp)
        .translate(net::IpAddress(family), 1)
        .end();
    next(tables::kFilter, "connection tracking state (xt_conntrack)").connection_state("NEW").jump("RETURN").end();
    next(tables::kFilter, "rejecting (ipt_REJECT, ip6t_REJECT)").reject().end();
    next(tables::kMangle, "the table mangle").jump("RETURN").end();
    return all;
}

// In two texts: within one, iptables-legacy would never show the rules to the kernel.
Result<kernel::iptables::Refused> try_out(kernel::iptables::Iptables& iptables, const std::vector<Trial>& all) {
    std::string make;
    std::string remove;
    for (const char* table : tables::kAll) {
        std::string rules;
        for (const auto& one : all)
            if (one.table == table) rules += one.rule;
        if (rules.empty()) continue;
        const auto declared = fmt::format("*{}\n:{} - [0:0]\n", table, kTrial);
        make += declared + rules + "COMMIT\n";
        remove += fmt::format("{}-X {}\nCOMMIT\n", declared, kTrial);
    }
    ASSIGN_OR_RETURN(auto refused, iptables.restore(make));
    RETURN_IF_ERROR(iptables.restore(remove));
    return refused;
}

std::vector<std::string> lacks_rules_for(kernel::iptables::Iptables& iptables, const std::string& set) {
    const auto all = trials(iptables.family(), set);
    const auto together = try_out(iptables, all);
    if (!together) return {together.error().message};
    if (!*together) return {};
    std::vector<std::string> lacks;
    const auto say = [&](std::string_view what, std::string_view reason) {
        lacks.push_back(fmt::format("{}: iptables-{} cannot do {}: {}", net::family_name(iptables.family()),
                                    variant_name(iptables.variant()), what, reason));
    };
    for (const auto& one : all) {
        const auto alone = try_out(iptables, {one});
        if (!alone) return {alone.error().message};
        if (*alone) say(one.needs, (*alone)->reason);
    }
    if (lacks.empty()) say("together what it can do one by one", (*together)->reason);
    return lacks;
}

}  // namespace

std::optional<std::string> lacks_scheduler(kernel::ipvs::Ipvs& ipvs, net::Family family, const std::string& scheduler) {
    const auto uses = [&](const auto& service) { return service.scheduler == scheduler; };
    const auto before = ipvs.services();
    if (!before) return before.error().message;
    if (std::any_of(before->begin(), before->end(), uses)) return std::nullopt;
    const kernel::ipvs::Command add{kernel::ipvs::Verb::kNewService, trial_service(family, scheduler), {}};
    const kernel::ipvs::Command remove{kernel::ipvs::Verb::kDeleteService, add.service, {}};
    const auto refused = ipvs.apply({&add, 1});
    if (!refused) return refused.error().message;
    if (!refused->empty()) {
        const auto& error = refused->front().error;
        if (error.code == ENOENT)
            return fmt::format("{}: this kernel has no IPVS scheduler {} (module ip_vs_{})", net::family_name(family),
                               scheduler, scheduler);
        return fmt::format("{}: IPVS takes no virtual server: {}", net::family_name(family), error.message);
    }
    // Some kernels say that it is done and have done nothing.
    const auto after = ipvs.services();
    const bool there = after && std::any_of(after->begin(), after->end(), uses);
    if (const auto removed = ipvs.apply({&remove, 1}); !removed) return removed.error().message;
    if (!there) return fmt::format("{}: virtual servers of IPVS do not stay", net::family_name(family));
    return std::nullopt;
}

std::vector<std::string> lacks_sets(kernel::ipset::Sets& sets, net::Family family) {
    std::vector<std::string> lacks;
    for (const auto type : kernel::ipset::kTypes) {
        const auto created = sets.create({kTrial, type, family});
        if (!created) lacks.push_back(fmt::format("{}: {}", net::family_name(family), created.error().message));
        if (const auto destroyed = sets.destroy(kTrial); !destroyed) return {destroyed.error().message};
    }
    return lacks;
}

std::optional<std::string> lacks_device(kernel::link::Links& links) {
    const auto there = links.find(kDevice);
    if (!there) return there.error().message;
    if (*there && (*there)->kind != kernel::link::kDummy) return not_a_dummy(**there).message;
    if (*there) return std::nullopt;
    const auto created = links.create_dummy(kTrialDevice);
    const auto deleted = links.delete_dummy(kTrialDevice);
    if (!created && created.error().code != EEXIST)
        return fmt::format("this kernel makes no dummy devices: {}", created.error().message);
    if (!deleted) return deleted.error().message;
    return std::nullopt;
}

std::vector<std::string> lacks_rules(kernel::iptables::Iptables& iptables, kernel::ipset::Sets& sets) {
    const auto created = sets.create({kTrial, kernel::ipset::Type::kIpPort, iptables.family()});
    if (!created) return {created.error().message};
    auto lacks = lacks_rules_for(iptables, kTrial);
    if (const auto destroyed = sets.destroy(kTrial); !destroyed) lacks.push_back(destroyed.error().message);
    return lacks;
}

std::vector<std::string> missing(net::Family family, const Options& options) {
    std::vector<std::string> lacks;
    const auto add = [&](std::optional<std::string> one) {
        if (one) lacks.push_back(std::move(*one));
    };
    const auto ipvs = kernel::ipvs::LinuxIpvs::open();
    add(ipvs ? lacks_scheduler(**ipvs, family, options.ipvs.scheduler) : ipvs.error().message);
    const auto links = kernel::link::LinuxLinks::open();
    add(links ? lacks_device(**links) : links.error().message);
    const auto variant = choose_variant(options);
    if (!variant) lacks.push_back(variant.error().message);
    const auto sets = kernel::ipset::LinuxSets::open();
    if (!sets) lacks.push_back(sets.error().message);
    if (!sets || !variant) return lacks;
    auto without = lacks_sets(**sets, family);
    const bool has_sets = without.empty();
    std::move(without.begin(), without.end(), std::back_inserter(lacks));
    auto iptables = kernel::iptables::LinuxIptables::open(*variant, family);
    if (!iptables) {
        lacks.push_back(iptables.error().message);
    } else if (const auto usable = (*iptables)->check_usable(); !usable) {
        lacks.push_back(usable.error().message);
    } else if (has_sets) {
        auto rules = lacks_rules(**iptables, **sets);
        std::move(rules.begin(), rules.end(), std::back_inserter(lacks));
    }
    return lacks;
}

}  // namespace ghostip::dataplane::ipvs
