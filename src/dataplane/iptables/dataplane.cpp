#include "dataplane/iptables/dataplane.h"

#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "dataplane/iptables/cleanup.h"
#include "dataplane/iptables/counters.h"
#include "dataplane/iptables/desired.h"
#include "dataplane/iptables/drift.h"
#include "dataplane/iptables/render.h"
#include "dataplane/iptables/sighting.h"
#include "dataplane/iptables/supported.h"
#include "dataplane/iptables/trial.h"
#include "dataplane/iptables/variant.h"
#include "kernel/iptables/linux.h"
#include "kernel/iptables/versions.h"
#include "kernel/nfacct/linux.h"
#include "kernel/sysctl/linux.h"
#include "plan/handovers.h"

namespace ghostip::dataplane::iptables {

using kernel::iptables::Refusal;

namespace {

constexpr const char* kRouteLoopback = "/proc/sys/net/ipv4/conf/all/route_localnet";
constexpr const char* kTcpIsLiberal = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

// Does a change of these concern rules of service ports that are the same in the plan?
bool same_for_service_ports(const plan::NodeRules& a, const plan::NodeRules& b) {
    return a.detector == b.detector && a.node_ports.loopback == b.node_ports.loopback;
}

Edit fixed_edit(const Context& before, const Context& after) {
    Edit edit;
    const auto known = render_fixed_chains(before);
    for (const auto& chain : render_fixed_chains(after))
        if (std::find(known.begin(), known.end(), chain) == known.end()) write_chain(edit, chain);
    const auto tail_before = render_tail(before);
    const auto tail_after = render_tail(after);
    if (tail_before == tail_after) return edit;
    for (const auto& rule : tail_before) delete_rule(edit, Place::kServices, rule);
    for (const auto& rule : tail_after) append_rule(edit, Part::kNat, chains::kServices, rule);
    return edit;
}

std::uint64_t fixed_rules(const Context& context, std::string_view table) {
    const RuleCounts counts = Rules{render_fixed_chains(context), {}}.count();
    return table == tables::kNat ? counts.nat + render_tail(context).size() : counts.filter;
}

}  // namespace

IptablesDataplane::IptablesDataplane(Host host, const Limits& limits)
    : family_(host.iptables->family()), host_(std::move(host)), limits_(limits) {
    abilities_.random_fully = kernel::iptables::has_random_fully(host_.iptables->version());
    // Read once: what the process itself sets, it sets before.
    const auto liberal = host_.sysctl->read(kTcpIsLiberal);
    abilities_.tcp_is_strict = !liberal || *liberal == 0;
}

// Services go on without these; what needs them is told.
Result<void> IptablesDataplane::try_abilities() {
    // Each time: who removes a counter that no rule uses at the moment does no harm.
    auto counters = host_.counters ? Result<void>() : Result<void>(fail("the kernel has no counters"));
    for (const char* name : {kInvalidDropped, kLoopbackNodePorts})
        if (counters) counters = host_.counters->create(name);
    if (abilities_known_) return {};
    abilities_.counters = counters.has_value();
    if (abilities_.counters) {
        ASSIGN_OR_RETURN(const auto refused, try_out(*host_.iptables, limits_, {counting_rule(family_)}));
        abilities_.counters = !refused;
    }
    ASSIGN_OR_RETURN(const auto refused, try_out(*host_.iptables, limits_, {affinity_rule(family_)}));
    abilities_.affinity = !refused;
    if (refused) lacks_["session affinity (xt_recent)"] = refused->reason;
    abilities_known_ = true;
    return {};
}

// The kernel drops packets from loopback that leave by other interfaces; it is never told again to do so.
void IptablesDataplane::open_loopback(const plan::NodeRules& node) {
    constexpr const char* kWhat = "node ports on loopback";
    lacks_.erase(kWhat);
    if (!node.node_ports.loopback || family_ != net::Family::kIpv4) return;
    const auto value = host_.sysctl->read(kRouteLoopback);
    if (value && *value == 1) return;
    if (const auto written = host_.sysctl->write(kRouteLoopback, 1); !written) lacks_[kWhat] = written.error().message;
}

std::uint16_t IptablesDataplane::health_port(const plan::ServiceName& service) const {
    const auto found = state_->health_ports.find(service);
    return found == state_->health_ports.end() ? std::uint16_t{0} : found->second;
}

// The service ports whose rules may change; those that hand a destination from one to the other are one unit.
std::vector<IptablesDataplane::Unit> IptablesDataplane::units_of(const plan::Delta& delta) const {
    std::map<plan::ServiceName, std::uint16_t> health_after;
    for (const auto& check : delta.health_checks)
        health_after[check.service] = check.after ? check.after->node_port : std::uint16_t{0};
    const auto change_of = [&](const plan::ServicePortPlanPtr& before, const plan::ServicePortPlanPtr& after) {
        const auto& service = (before ? before : after)->name.service;
        Change change{before, after, health_port(service), health_port(service)};
        if (const auto found = health_after.find(service); found != health_after.end())
            change.health_port_after = found->second;
        return change;
    };
    std::vector<Unit> units;
    std::set<plan::ServicePortName> changed;
    const plan::Handovers handovers(delta);
    for (std::size_t i = 0; i < delta.service_ports.size(); ++i) {
        const auto& own = delta.service_ports[i];
        changed.insert((own.before ? own.before : own.after)->name);
        if (handovers.follows(i)) continue;
        Unit unit{change_of(own.before, own.after)};
        for (const auto other : handovers.followers(i))
            unit.push_back(change_of(delta.service_ports[other].before, delta.service_ports[other].after));
        units.push_back(std::move(unit));
    }
    const auto add_unchanged = [&](const plan::ServicePortPlanPtr& service_port) {
        if (changed.insert(service_port->name).second) units.push_back({change_of(service_port, service_port)});
    };
    if (delta.node_rules && !same_for_service_ports(state_->node, delta.node_rules->after))
        for (const auto& service_port : state_->service_ports) add_unchanged(service_port);
    for (const auto& [service, port] : health_after) {
        if (port == health_port(service)) continue;
        // Its ports stand together, in the order of their names.
        for (auto one = state_->service_ports.lower_bound(plan::ServicePortName{service, "", net::Protocol::kTcp});
             one != state_->service_ports.end() && (*one)->name.service == service; ++one)
            add_unchanged(*one);
    }
    return units;
}

Rules IptablesDataplane::rules_before(const Change& change, const Context& context) const {
    const auto& name = (change.before ? change.before : change.after)->name;
    if (const auto aside = state_->aside.find(name); aside != state_->aside.end()) return aside->second.landed;
    if (!change.before) return {};
    return render_service_port(*change.before, change.health_port_before, context);
}

Edit IptablesDataplane::edit_of(const Unit& unit, const Context& before, const Context& after) const {
    Edit edit;
    for (const auto& change : unit)
        edit +=
            edit_between(rules_before(change, before),
                         change.after ? render_service_port(*change.after, change.health_port_after, after) : Rules{});
    return edit;
}

void IptablesDataplane::conclude(const Unit& unit, const Context& before, const Context& after, const Refusal* refusal,
                                 Outcome& outcome) {
    for (const auto& change : unit) {
        const auto& name = (change.before ? change.before : change.after)->name;
        Rules held = rules_before(change, before);
        if (refusal != nullptr) {
            state_->aside[name] = {std::move(held), refusal->reason};
            outcome.set_aside.push_back({name.text(), refusal->reason});
            continue;
        }
        state_->aside.erase(name);
        state_->rules -= held.count();
        if (change.after) state_->rules += render_service_port(*change.after, change.health_port_after, after).count();
    }
}

Result<Outcome> IptablesDataplane::apply(const plan::Delta& delta) {
    if (!state_) return Error{"the first call has to be reconcile()", ENOENT};
    Outcome outcome;
    written_ = {};
    const auto units = units_of(delta);
    const plan::NodeRules node_before = state_->node;
    if (delta.node_rules) state_->node = delta.node_rules->after;
    for (const auto& change : delta.service_ports) {
        if (change.before) {
            state_->known_endpoints -= change.before->known_endpoints;
            state_->service_ports.erase(change.before);
        }
        if (!change.after) continue;
        state_->known_endpoints += change.after->known_endpoints;
        state_->service_ports.insert(change.after);
    }
    for (const auto& check : delta.health_checks) {
        if (check.after)
            state_->health_ports[check.service] = check.after->node_port;
        else
            state_->health_ports.erase(check.service);
    }
    if (delta.node_rules) open_loopback(state_->node);

    // Whether endpoints have comments is no difference.
    const Context before = context_for(node_before, family_, abilities_, state_->known_endpoints);
    const Context after = context_for(state_->node, family_, abilities_, state_->known_endpoints);
    std::optional<std::string> fixed_refused;
    Writer writer(*host_.iptables, limits_, Mismatch::kError, outcome, written_);
    // The node's own rules are unit 0.
    RETURN_IF_ERROR(writer.write({
        .units = units.size() + 1,
        .edit_of =
            [&](std::size_t unit) {
                if (unit == 0) return delta.node_rules ? fixed_edit(before, after) : Edit{};
                return edit_of(units[unit - 1], before, after);
            },
        .done =
            [&](std::size_t unit, const Refusal* refusal) {
                if (unit != 0) return conclude(units[unit - 1], before, after, refusal, outcome);
                if (refusal != nullptr) fixed_refused = refusal->reason;
            },
    }));
    if (fixed_refused) return fail("iptables refuses the node's own rules: {}", *fixed_refused);
    if (delta.node_rules) {
        state_->rules.nat += fixed_rules(after, tables::kNat) - fixed_rules(before, tables::kNat);
        state_->rules.filter += fixed_rules(after, tables::kFilter) - fixed_rules(before, tables::kFilter);
    }
    report_rules(outcome);
    return outcome;
}

void IptablesDataplane::report_rules(Outcome& outcome) const {
    const auto positive = [](std::int64_t count) {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0));
    };
    outcome.rules = {{tables::kNat, state_->rules.nat, positive(written_.nat)},
                     {tables::kFilter, state_->rules.filter, positive(written_.filter)}};
}

std::vector<SetAside> IptablesDataplane::set_aside() const {
    std::vector<SetAside> list;
    for (const auto& [what, reason] : lacks_) list.push_back({what, reason});
    if (state_)
        for (const auto& [name, aside] : state_->aside) list.push_back({name.text(), aside.reason});
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.object < b.object; });
    return list;
}

Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options) {
    using kernel::iptables::LinuxIptables;
    ASSIGN_OR_RETURN(const auto variant, choose_variant(options));
    IptablesDataplane::Host host;
    host.writers = std::make_shared<RunningPrograms>();
    kernel::iptables::LinuxOptions writing;
    writing.writers = host.writers;
    ASSIGN_OR_RETURN(host.iptables, LinuxIptables::open(variant, family, std::move(writing)));
    ASSIGN_OR_RETURN(host.background, LinuxIptables::open(variant, family));
    host.sysctl = std::make_unique<kernel::sysctl::LinuxSysctl>();
    if (auto counters = kernel::nfacct::LinuxNfacct::open()) host.counters = std::move(*counters);
    return std::unique_ptr<Dataplane>(std::make_unique<IptablesDataplane>(std::move(host)));
}

const Mode& mode() {
    static constexpr std::array<int, 2> kCapabilities{CAP_NET_ADMIN, CAP_NET_RAW};
    static constexpr std::array<std::string_view, 2> kVariants{"nft", "legacy"};
    static const Mode instance{
        .name = "iptables",
        .profile = plan::iptables_profile,
        .calls = Calls::kRunPrograms,
        .capabilities = kCapabilities,
        .variants = kVariants,
        .missing = missing,
        .open = open_dataplane,
        .watch = watch_drift,
        .render = render,
        .sight = sight,
        .cleanup = cleanup,
        .packet_counts = packet_counts,
    };
    return instance;
}

}  // namespace ghostip::dataplane::iptables
