#include "dataplane/ipvs/dataplane.h"

#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "dataplane/iptables_variant.h"
#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/render.h"
#include "dataplane/ipvs/sighting.h"
#include "dataplane/ipvs/supported.h"
#include "kernel/ipset/linux.h"
#include "kernel/iptables/linux.h"
#include "kernel/iptables/versions.h"
#include "kernel/ipvs/linux.h"
#include "kernel/link/linux.h"

namespace ghostip::dataplane::ipvs {
namespace {

// Does a change of these concern fronts that are the same in the plan?
bool same_for_fronts(const plan::NodeRules& a, const plan::NodeRules& b) {
    return a.node_ports == b.node_ports && a.addresses == b.addresses;
}

std::uint64_t lines(const std::vector<Chain>& chains, std::string_view table) {
    std::uint64_t count = 0;
    for (const auto& chain : chains)
        if (chain.table == table)
            count += static_cast<std::uint64_t>(std::count(chain.rules.begin(), chain.rules.end(), '\n'));
    return count;
}

}  // namespace

IpvsDataplane::IpvsDataplane(Host host, IpvsOptions options)
    : family_(host.kernel.iptables->family()),
      host_(std::move(host)),
      options_(std::move(options)),
      random_fully_(kernel::iptables::has_random_fully(host_.kernel.iptables->version())) {}

Context IpvsDataplane::context(const plan::NodeRules& node) const { return {node, family_, options_, limits_}; }

std::vector<Chain> IpvsDataplane::chains_of(const plan::NodeRules& node, const ShortCircuits& short_circuits) const {
    return render_chains({node, family_, random_fully_}, text_of(short_circuits));
}

Result<void> IpvsDataplane::write_rules(const RuleChange& change, Outcome& outcome) {
    const auto chains = chains_of(state_->node, state_->short_circuits);
    state_->nat_rules = lines(chains, tables::kNat);
    state_->filter_rules = lines(chains, tables::kFilter);
    if (change.text.empty()) return {};
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(restore(*host_.kernel.iptables, change.text));
    outcome.committed(start);
    return {};
}

// By destination, so that one which passes from a service port to another is one change.
std::vector<FrontChange> IpvsDataplane::changes_of(const plan::Delta& delta, const plan::NodeRules& before) {
    Fronts held;
    Fronts wanted;
    const auto render = [&](const plan::ServicePortPlan& plan, const plan::NodeRules& node, Fronts& into) {
        for (auto& front : render_fronts(plan, context(node))) {
            const auto key = front.key;
            into.insert_or_assign(key, std::move(front));
        }
    };
    std::set<plan::ServicePortName> changed;
    for (const auto& change : delta.service_ports) {
        changed.insert((change.before ? change.before : change.after)->name);
        if (change.before) render(*change.before, before, held);
        if (change.after) render(*change.after, state_->node, wanted);
    }
    if (!same_for_fronts(before, state_->node))
        for (const auto& plan : state_->service_ports) {
            if (changed.contains(plan->name)) continue;
            render(*plan, before, held);
            render(*plan, state_->node, wanted);
        }
    // Nothing of these is in the kernel, unless they landed.
    for (auto one = held.begin(); one != held.end();) {
        const auto aside = state_->aside.find(one->first);
        const bool absent = aside != state_->aside.end() && !aside->second.landed;
        if (aside != state_->aside.end()) state_->aside.erase(aside);
        one = absent ? held.erase(one) : std::next(one);
    }
    std::vector<FrontChange> changes;
    for (auto& [key, front] : wanted) {
        if (auto aside = Aside::beforehand(front, context(state_->node))) {
            state_->aside.insert_or_assign(key, std::move(*aside));
            continue;
        }
        state_->aside.erase(key);
        const auto there = held.find(key);
        if (there == held.end()) {
            changes.push_back({{}, std::move(front)});
            continue;
        }
        if (there->second != front) changes.push_back({std::move(there->second), std::move(front)});
        held.erase(there);
    }
    for (auto& [key, front] : held) changes.push_back({std::move(front), {}});
    return changes;
}

IpvsDataplane::Extras IpvsDataplane::extras_of(const plan::Delta& delta) const {
    Extras extras;
    for (const auto& hairpin : delta.hairpins_added) extras.added.push_back(hairpin_entry(hairpin));
    for (const auto& hairpin : delta.hairpins_removed) extras.removed.push_back(hairpin_entry(hairpin));
    // A port may pass from one to another.
    std::set<std::uint16_t> came;
    for (const auto& check : delta.health_checks)
        if (check.after && came.insert(check.after->node_port).second)
            extras.added.push_back(health_check_entry(check.after->node_port));
    for (const auto& check : delta.health_checks)
        if (check.before && !came.contains(check.before->node_port))
            extras.removed.push_back(health_check_entry(check.before->node_port));
    return extras;
}

Result<std::set<net::IpAddress>> IpvsDataplane::bind(const std::vector<net::IpAddress>& addresses, Outcome& outcome) {
    std::set<net::IpAddress> refused;
    if (addresses.empty()) return refused;
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const auto refusals, host_.kernel.links->add_addresses(kDevice, addresses));
    outcome.committed(start);
    outcome.elements_added += addresses.size() - refusals.size();
    for (const auto& refusal : refusals) {
        // The family is switched off on the device: that is no fault of the address.
        if (refusal.error.code == EACCES) return refusal.error;
        const auto& address = addresses[refusal.address];
        limits_.refused_addresses.insert_or_assign(address, refusal.error.message);
        refused.insert(address);
    }
    return refused;
}

Result<void> IpvsDataplane::unbind(const std::vector<net::IpAddress>& addresses, Outcome& outcome) {
    if (addresses.empty()) return {};
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const auto refusals, host_.kernel.links->remove_addresses(kDevice, addresses));
    outcome.committed(start);
    outcome.elements_deleted += addresses.size();
    if (!refusals.empty()) return refusals.front().error;
    return {};
}

Result<void> IpvsDataplane::write(std::vector<FrontChange>& changes, const Extras& extras,
                                  const plan::NodeRules& node_before, Outcome& outcome) {
    RETURN_IF_ERROR(leave_to_others(changes, outcome));
    Writer writer(host_.kernel, family_, options_, Writer::Refused::kError, limits_, state_->draining, outcome);
    RETURN_IF_ERROR(writer.add(extras.added));
    RETURN_IF_ERROR(writer.arrive(changes));

    std::map<net::IpAddress, bool> touched;  // was it wanted?
    const auto touch = [&](const net::IpAddress& address) -> std::uint32_t& {
        auto& count = state_->addresses[address];
        touched.emplace(address, count > 0);
        return count;
    };
    ShortCircuits lost;
    ShortCircuits won;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        const auto& [before, after] = changes[i];
        if (before.address) --touch(*before.address);
        if (!before.short_circuit.empty()) {
            lost[before.key] = before.short_circuit;
            state_->short_circuits.erase(before.key);
        }
        if (const auto aside = writer.asides().find(i); aside != writer.asides().end()) {
            state_->aside[after.key] = aside->second;
            continue;
        }
        if (after.address) ++touch(*after.address);
        if (after.short_circuit.empty()) continue;
        won[after.key] = after.short_circuit;
        state_->short_circuits[after.key] = after.short_circuit;
    }
    std::vector<net::IpAddress> come;
    std::vector<net::IpAddress> gone;
    std::vector<SetEntry> entries_come;
    std::vector<SetEntry> entries_gone = extras.removed;
    for (const auto& [address, wanted_before] : touched) {
        const bool wanted = state_->addresses.at(address) > 0;
        if (!wanted) state_->addresses.erase(address);
        if (wanted == wanted_before) continue;
        (wanted ? come : gone).push_back(address);
        (wanted ? entries_come : entries_gone).push_back(address_entry(Set::kIpvsIps, address));
    }

    if (!(node_before == state_->node) || lost != won) {
        auto held = state_->short_circuits;
        for (const auto& [key, rule] : won) held.erase(key);
        held.merge(lost);
        RETURN_IF_ERROR(write_rules(
            change_of(chains_of(node_before, held), chains_of(state_->node, state_->short_circuits)), outcome));
    }
    RETURN_IF_ERROR(writer.add(entries_come));
    ASSIGN_OR_RETURN(const auto refused, bind(come, outcome));
    RETURN_IF_ERROR(unbind(gone, outcome));
    RETURN_IF_ERROR(writer.depart(changes));
    RETURN_IF_ERROR(writer.remove(entries_gone));
    return withdraw(refused, outcome);
}

Result<Outcome> IpvsDataplane::apply(const plan::Delta& delta) {
    if (!state_) return Error{"the first call has to be reconcile()", ENOENT};
    Outcome outcome;
    for (const auto& change : delta.service_ports)
        for (const auto* const side : {&change.before, &change.after}) {
            if (!*side) continue;
            for (const auto& destination : (*side)->destinations)
                if (const auto aside = state_->aside.find(destination.key);
                    aside != state_->aside.end() && aside->second.landed) {
                    state_.reset();
                    return fail("{} was refused in part and changes: all is looked at", destination.key.text());
                }
        }
    const plan::NodeRules node_before = state_->node;
    if (delta.node_rules) state_->node = delta.node_rules->after;
    for (const auto& change : delta.service_ports) {
        if (change.before) state_->service_ports.erase(change.before);
        if (change.after) state_->service_ports.insert(change.after);
    }
    const auto written = [&]() -> Result<void> {
        auto changes = changes_of(delta, node_before);
        if (!delta.node_rules) RETURN_IF_ERROR(give_way(changes, outcome));
        RETURN_IF_ERROR(write(changes, extras_of(delta), node_before, outcome));
        return take_places(changes, outcome);
    }();
    if (!written) {
        state_.reset();
        return written.error();
    }
    report_rules(outcome);
    return outcome;
}

void IpvsDataplane::report_rules(Outcome& outcome) const {
    outcome.rules = {{tables::kNat, state_->nat_rules, 0}, {tables::kFilter, state_->filter_rules, 0}};
}

std::vector<SetAside> IpvsDataplane::set_aside() const {
    std::vector<SetAside> list;
    if (!state_) return list;
    for (const auto& [key, aside] : state_->aside) list.push_back({aside.name.text(), aside.reason});
    list_taken(list);
    list_refused_endpoints(list);
    if (!limits_.unknown_schedulers.empty())
        for (const auto& plan : state_->service_ports)
            if (limits_.unknown_schedulers.contains(plan->scheduler))
                list.push_back({fmt::format("scheduler of {}", plan->name.text()),
                                fmt::format("the kernel knows no scheduler {}; {} serves instead", plan->scheduler,
                                            options_.scheduler)});
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.object < b.object; });
    return list;
}

Result<Kernel> open_kernel(net::Family family, kernel::iptables::Variant variant) {
    Kernel opened;
    ASSIGN_OR_RETURN(opened.ipvs, kernel::ipvs::LinuxIpvs::open());
    ASSIGN_OR_RETURN(opened.sets, kernel::ipset::LinuxSets::open());
    ASSIGN_OR_RETURN(opened.links, kernel::link::LinuxLinks::open());
    ASSIGN_OR_RETURN(opened.iptables, kernel::iptables::LinuxIptables::open(variant, family));
    return opened;
}

Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options) {
    ASSIGN_OR_RETURN(const auto variant, choose_variant(options));
    IpvsDataplane::Host host;
    ASSIGN_OR_RETURN(host.kernel, open_kernel(family, variant));
    ASSIGN_OR_RETURN(host.background, open_kernel(family, variant));
    return std::unique_ptr<Dataplane>(std::make_unique<IpvsDataplane>(std::move(host), options.ipvs));
}

const Mode& mode() {
    static constexpr std::array<int, 2> kCapabilities{CAP_NET_ADMIN, CAP_NET_RAW};
    static constexpr std::array<std::string_view, 2> kVariants{"nft", "legacy"};
    static const Mode instance{
        .name = "ipvs",
        .profile = plan::ipvs_profile,
        .calls = Calls::kRunPrograms,
        .capabilities = kCapabilities,
        .variants = kVariants,
        .missing = missing,
        .open = open_dataplane,
        .watch = nullptr,
        .render = render,
        .sight = sight,
        .cleanup = cleanup,
        .automatic = false,
    };
    return instance;
}

}  // namespace ghostip::dataplane::ipvs
