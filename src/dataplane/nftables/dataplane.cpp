#include "dataplane/nftables/dataplane.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "dataplane/nftables/cleanup.h"
#include "dataplane/nftables/element_changes.h"
#include "dataplane/nftables/render.h"
#include "dataplane/nftables/stuck_clients.h"
#include "dataplane/nftables/supported.h"
#include "kernel/nft/linux.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::AddChain;
using kernel::nft::AddElements;
using kernel::nft::AddRule;
using kernel::nft::AddSet;
using kernel::nft::AddTable;
using kernel::nft::Batch;
using kernel::nft::DeleteElements;
using kernel::nft::DeleteTable;
using kernel::nft::FlushChain;

namespace {

// A service port's slots as they stand in the kernel.
template <typename Remembered>
ServicePortSlots slots_of(const Remembered& remembered, const plan::ServicePortPlan& plan) {
    const auto found = remembered.find(plan.name);
    if (found != remembered.end()) return found->second;
    return {plan.cluster, plan.local};
}

bool same_order(const Slots& slots, const plan::Pool& pool) {
    return std::equal(slots.begin(), slots.end(), pool.begin(), pool.end());
}

}  // namespace

NftablesDataplane::NftablesDataplane(net::Family family, std::unique_ptr<kernel::nft::Kernel> kernel)
    : family_(family), kernel_(std::move(kernel)) {}

Batch NftablesDataplane::full_batch(const plan::Plan& plan) { return stage_all(plan).batch; }

NftablesDataplane::Staged NftablesDataplane::stage_all(const plan::Plan& plan) {
    Staged staged = stage(plan.family, State{}, plan::everything(plan));
    // Adding it first makes the deletion work where there is no table yet.
    const std::array<kernel::nft::Operation, 3> fresh{AddTable{}, DeleteTable{}, AddTable{}};
    staged.batch.operations.insert(staged.batch.operations.begin(), fresh.begin(), fresh.end());
    return staged;
}

Result<void> NftablesDataplane::replace(const plan::Plan& plan) {
    Staged staged = stage_all(plan);
    ASSIGN_OR_RETURN(auto clients, remembered_clients(*kernel_, plan));
    for (auto& elements : clients) staged.batch.operations.emplace_back(AddElements{std::move(elements)});
    RETURN_IF_ERROR(kernel_->commit(staged.batch));
    state_ = State{};
    remember(std::move(staged), state_);
    return {};
}

Result<void> NftablesDataplane::apply(const plan::Delta& delta) {
    Staged staged = stage(family_, state_, delta);
    RETURN_IF_ERROR(kernel_->commit(staged.batch));
    remember(std::move(staged), state_);
    return forget_stuck_clients(delta);
}

NftablesDataplane::Staged NftablesDataplane::stage(net::Family family, const State& state, const plan::Delta& delta) {
    Staged staged;
    staged.batch.table = table(family);
    staged.node = delta.node_rules ? delta.node_rules->after : state.node;
    staged.classes = state.classes;
    for (const auto& change : delta.service_ports)
        if (change.after) collect_classes(*change.after, staged.classes);
    // Almost always only elements change; the structure depends on nothing else.
    if (state.chains.empty() || delta.node_rules || !(staged.classes == state.classes))
        stage_structure(family, state, staged);
    stage_elements(state, delta, staged);
    return staged;
}

void NftablesDataplane::stage_structure(net::Family family, const State& state, Staged& staged) {
    auto& operations = staged.batch.operations;
    Structure structure = render_structure({family, staged.node, staged.classes});
    for (auto& set : structure.sets) {
        if (state.sets.contains(set.name)) continue;
        operations.emplace_back(AddSet{set});
        staged.sets[set.name] = std::move(set);
    }
    std::vector<const kernel::nft::Chain*> changed;
    for (const auto& chain : structure.chains) {
        const auto known = state.chains.find(chain.name);
        if (known != state.chains.end() && known->second == chain) continue;
        changed.push_back(&chain);
        if (known == state.chains.end())
            operations.emplace_back(AddChain{chain.name, chain.base});
        else
            operations.emplace_back(FlushChain{chain.name});
    }
    // Rules when all chains are there, since they refer to each other.
    for (const auto* chain : changed)
        for (const auto& rule : chain->rules) operations.emplace_back(AddRule{chain->name, rule});
    for (auto& chain : structure.chains) staged.chains[chain.name] = std::move(chain);
}

void NftablesDataplane::stage_elements(const State& state, const plan::Delta& delta, Staged& staged) {
    PackedElements deleted;
    PackedElements added;
    for (const auto& change : delta.service_ports) {
        if (!change.before) {
            render_elements(*change.after, {change.after->cluster, change.after->local}, added);
            continue;
        }
        const ServicePortSlots slots_before = slots_of(state.slots, *change.before);
        ElementList before;
        render_elements(*change.before, slots_before, before);
        ElementList after;
        if (change.after) {
            ServicePortSlots slots{assign_slots(slots_before.cluster, change.after->cluster),
                                   assign_slots(slots_before.local, change.after->local)};
            render_elements(*change.after, slots, after);
            if (same_order(slots.cluster, change.after->cluster) && same_order(slots.local, change.after->local))
                staged.canonical.push_back(change.after->name);
            else
                staged.slots.emplace_back(change.after->name, std::move(slots));
        } else {
            staged.canonical.push_back(change.before->name);
        }
        difference(before, after, deleted, added);
    }
    for (const auto& address : delta.cluster_ips_removed) render_cluster_ip(address, deleted);
    for (const auto& address : delta.cluster_ips_added) render_cluster_ip(address, added);
    for (const auto& hairpin : delta.hairpins_removed) render_hairpin(hairpin, deleted);
    for (const auto& hairpin : delta.hairpins_added) render_hairpin(hairpin, added);
    if (delta.node_rules) {
        ElementList before;
        ElementList after;
        if (!state.chains.empty()) render_node_port_ips(state.node, before);
        render_node_port_ips(staged.node, after);
        difference(before, after, deleted, added);
    }
    for (auto& [ref, elements] : deleted.sets())
        staged.batch.operations.emplace_back(DeleteElements{std::move(elements)});
    for (auto& [ref, elements] : added.sets()) staged.batch.operations.emplace_back(AddElements{std::move(elements)});
}

void NftablesDataplane::remember(Staged staged, State& state) {
    state.node = std::move(staged.node);
    state.classes = std::move(staged.classes);
    for (auto& [name, chain] : staged.chains) state.chains[name] = std::move(chain);
    for (auto& [name, set] : staged.sets) state.sets[name] = std::move(set);
    for (auto& name : staged.canonical) state.slots.erase(name);
    for (auto& [name, slots] : staged.slots) state.slots[name] = std::move(slots);
}

Result<void> NftablesDataplane::forget_stuck_clients(const plan::Delta& delta) {
    return nftables::forget_stuck_clients(*kernel_, family_, delta);
}

const Mode& mode() {
    static const Mode instance{
        .name = "nftables",
        .profile = plan::nftables_profile,
        .missing = missing,
        .open = [](net::Family family) -> Result<std::unique_ptr<Dataplane>> {
            ASSIGN_OR_RETURN(auto kernel, kernel::nft::LinuxKernel::open());
            return std::unique_ptr<Dataplane>(std::make_unique<NftablesDataplane>(family, std::move(kernel)));
        },
        .render = render,
        .cleanup = cleanup,
    };
    return instance;
}

}  // namespace ghostip::dataplane::nftables
