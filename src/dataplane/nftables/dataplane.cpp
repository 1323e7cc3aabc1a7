#include "dataplane/nftables/dataplane.h"

#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/nftables/cleanup.h"
#include "dataplane/nftables/counts.h"
#include "dataplane/nftables/drift.h"
#include "dataplane/nftables/element_changes.h"
#include "dataplane/nftables/render.h"
#include "dataplane/nftables/sighting.h"
#include "dataplane/nftables/stuck_clients.h"
#include "dataplane/nftables/supported.h"
#include "kernel/nft/linux.h"
#include "plan/handovers.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::AddChain;
using kernel::nft::AddElements;
using kernel::nft::AddRule;
using kernel::nft::AddSet;
using kernel::nft::AddTable;
using kernel::nft::Batch;
using kernel::nft::DeleteTable;
using kernel::nft::FlushChain;
using kernel::nft::Operation;

namespace {

constexpr std::size_t kShared = SIZE_MAX;  // the tag of pieces that are no service port's

}  // namespace

NftablesDataplane::NftablesDataplane(net::Family family, std::unique_ptr<kernel::nft::Kernel> kernel,
                                     std::unique_ptr<kernel::nft::Kernel> background, const Limits& limits,
                                     std::shared_ptr<kernel::nft::Kernel> counts)
    : family_(family),
      kernel_(std::move(kernel)),
      background_(std::move(background)),
      limits_(limits),
      counts_(std::move(counts)),
      counting_(counts_ ? Counting::kOn : Counting::kOff) {}

Batch NftablesDataplane::full_batch(const plan::Plan& plan, Counting counting) {
    Classes classes;
    for (const auto& [name, service_port] : plan.service_ports) collect_classes(*service_port, classes);
    const Structure structure = render_structure({plan.family, plan.node, classes, counting});
    // Adding it first makes the deletion work where there is no table yet.
    Batch batch{table(plan.family), {AddTable{}, DeleteTable{}, AddTable{}}};
    for (const auto& set : structure.sets) batch.operations.emplace_back(AddSet{set});
    for (const auto& chain : structure.chains) batch.operations.emplace_back(AddChain{chain.name, chain.base});
    // Rules when all chains are there, since they refer to each other.
    for (const auto& chain : structure.chains)
        for (const auto& rule : chain.rules) batch.operations.emplace_back(AddRule{chain.name, rule});
    for (auto& [ref, elements] : expected_elements(plan, {}, counting))
        batch.operations.emplace_back(AddElements{std::move(elements)});
    return batch;
}

Result<Outcome> NftablesDataplane::apply(const plan::Delta& delta) {
    Outcome outcome;
    RETURN_IF_ERROR(write(delta, Start::kWarm, outcome));
    sweep_later(sticky_change(delta), outcome);
    return outcome;
}

void NftablesDataplane::sweep_later(const StickyChange& change, Outcome& outcome) const {
    if (change.now.empty() || !sweep_->add(change)) return;
    outcome.later.emplace_back([kernel = background_ ? background_.get() : kernel_.get(), family = family_,
                                sweep = sweep_] { return sweep->run(*kernel, family); });
}

// Structure in front, then service ports, then what leads to them. A start from nothing is also done in this order, so
// that a packet that meets it half way passes as if there were no proxy yet, or meets a service that is whole; that
// addresses nobody owns are dropped comes when all owners are known.
Result<void> NftablesDataplane::write(const plan::Delta& delta, Start start, Outcome& outcome) {
    Classes classes = state_.classes;
    for (const auto& change : delta.service_ports)
        if (change.after) collect_classes(*change.after, classes);
    const plan::NodeRules node = delta.node_rules ? delta.node_rules->after : state_.node;
    plan::NodeRules node_at_first = node;
    // Where nobody owns an address of a range that is new, it is dropped when all owners are known.
    std::erase_if(node_at_first.service_cidrs, [&](const auto& range) {
        const auto& known = state_.node.service_cidrs;
        return start == Start::kCold || std::find(known.begin(), known.end(), range) == known.end();
    });

    std::map<std::size_t, Pending> pending;  // by tag; those that are not written yet
    PieceWriter writer(*kernel_, table(family_), limits_.elements_at_once, Mismatch::kError, outcome,
                       [&](const Piece& piece, const Error* refusal) {
                           if (piece.tag == kShared && piece.size() != 0) conclude_shared(piece, refusal, outcome);
                           const auto found = pending.find(piece.tag);
                           if (found == pending.end()) return;
                           conclude(found->second, refusal, outcome);
                           pending.erase(found);
                       });
    // Almost always only elements change; the structure depends on nothing else.
    if (start == Start::kCold) writer.first({AddTable{}});
    if (state_.chains.empty() || delta.node_rules || !(classes == state_.classes)) {
        // In a transaction of its own: a packet goes on with the rules that it began with, but finds the elements of
        // today, and those must not need rules that it does not have. So the last one of these is waited for.
        const bool had_rules = !state_.chains.empty();
        writer.first(stage_structure(node_at_first, classes));
        RETURN_IF_ERROR(writer.finish());
        if (had_rules) kernel_->wait_for_packets();
    }

    RETURN_IF_ERROR(write_shared(delta, true, writer));
    const plan::Handovers handovers(delta);
    for (std::size_t i = 0; i < delta.service_ports.size(); ++i) {
        if (handovers.follows(i)) continue;
        auto& own = pending[i];
        own.changes.push_back(&delta.service_ports[i]);
        for (const auto other : handovers.followers(i)) own.changes.push_back(&delta.service_ports[other]);
        Piece piece = stage_service_ports(own);
        piece.tag = i;
        RETURN_IF_ERROR(writer.add(std::move(piece)));
    }
    RETURN_IF_ERROR(write_shared(delta, false, writer));
    return writer.finish(node_at_first == node ? std::vector<Operation>{} : stage_structure(node, classes));
}

// What differs from the structure that is there; remembers the new one.
std::vector<Operation> NftablesDataplane::stage_structure(const plan::NodeRules& node, const Classes& classes) {
    std::vector<Operation> operations;
    Structure structure = render_structure({family_, node, classes, counting_});
    for (auto& set : structure.sets) {
        if (state_.sets.contains(set.name)) continue;
        operations.emplace_back(AddSet{set});
        state_.sets[set.name] = std::move(set);
    }
    std::vector<const kernel::nft::Chain*> changed;
    for (const auto& chain : structure.chains) {
        const auto known = state_.chains.find(chain.name);
        if (known != state_.chains.end() && known->second == chain) continue;
        changed.push_back(&chain);
        if (known == state_.chains.end())
            operations.emplace_back(AddChain{chain.name, chain.base});
        else
            operations.emplace_back(FlushChain{chain.name});
    }
    for (const auto* chain : changed)
        for (const auto& rule : chain->rules) operations.emplace_back(AddRule{chain->name, rule});
    for (auto& chain : structure.chains) state_.chains[chain.name] = std::move(chain);
    state_.classes = classes;
    state_.node = node;
    return operations;
}

// Hairpins and cluster IPs are counted by the plan, over all service ports; the rest is the node's.
Result<void> NftablesDataplane::write_shared(const plan::Delta& delta, bool front, PieceWriter& writer) const {
    const auto write = [&](auto render, const auto& values, auto member) -> Result<void> {
        for (const auto& value : values) {
            ElementList list;
            render(value, list);
            Piece piece;
            piece.tag = kShared;
            piece.*member = std::move(list.elements());
            RETURN_IF_ERROR(writer.add(std::move(piece)));
        }
        return {};
    };
    if (!front) {
        RETURN_IF_ERROR(write(render_cluster_ip, delta.cluster_ips_removed, &Piece::deleted));
        RETURN_IF_ERROR(write(render_cluster_ip, delta.cluster_ips_added, &Piece::added));
        return write(render_hairpin, delta.hairpins_removed, &Piece::deleted);
    }
    RETURN_IF_ERROR(write(render_hairpin, delta.hairpins_added, &Piece::added));
    if (!delta.node_rules) return {};
    ElementList before;
    ElementList after;
    render_node(delta.node_rules->before, before);
    render_node(delta.node_rules->after, after);
    Piece piece;
    piece.tag = kShared;
    difference(before, after, piece.deleted, piece.added);
    return writer.add(std::move(piece));
}

NftablesDataplane::Elements NftablesDataplane::elements_before(const plan::ServicePortChange& change) const {
    const auto& name = change.before ? change.before->name : change.after->name;
    if (const auto aside = state_.aside.find(name); aside != state_.aside.end()) return aside->second.landed;
    ElementList list;
    if (change.before) {
        const auto slots = state_.slots.find(name);
        render_elements(*change.before,
                        slots != state_.slots.end() ? slots->second
                                                    : ServicePortSlots{change.before->cluster, change.before->local},
                        counting_, list);
    }
    return std::move(list.elements());
}

Piece NftablesDataplane::stage_service_ports(Pending& pending) {
    Piece piece;
    ElementList before;
    ElementList after;
    for (const auto* change : pending.changes) {
        auto& slots = pending.slots.emplace_back();
        for (auto& element : elements_before(*change)) before.elements().push_back(element);
        if (!change->after) continue;
        ServicePortSlots assigned{change->after->cluster, change->after->local};
        if (change->before) {
            const auto known = state_.slots.find(change->before->name);
            const bool own_order = known == state_.slots.end();
            assigned.cluster =
                assign_slots(own_order ? change->before->cluster : known->second.cluster, change->after->cluster);
            assigned.local =
                assign_slots(own_order ? change->before->local : known->second.local, change->after->local);
        }
        render_elements(*change->after, assigned, counting_, after);
        if (assigned.cluster != change->after->cluster || assigned.local != change->after->local)
            slots = std::move(assigned);
    }
    if (before.elements().empty())
        piece.added = std::move(after.elements());
    else
        difference(before, after, piece.deleted, piece.added);
    return piece;
}

void NftablesDataplane::conclude(const Pending& pending, const Error* refusal, Outcome& outcome) {
    for (std::size_t i = 0; i < pending.changes.size(); ++i) {
        const auto& change = *pending.changes[i];
        const auto& name = change.before ? change.before->name : change.after->name;
        if (refusal != nullptr) {
            state_.aside[name] = {elements_before(change), refusal->message};
            outcome.set_aside.push_back({name.text(), refusal->message});
            continue;
        }
        state_.aside.erase(name);
        if (pending.slots[i])
            state_.slots[name] = *pending.slots[i];
        else
            state_.slots.erase(name);
    }
}

void NftablesDataplane::conclude_shared(const Piece& piece, const Error* refusal, Outcome& outcome) {
    if (refusal == nullptr && state_.shared_aside.empty()) return;  // almost always
    const std::string text = text_of(piece, family_);
    if (refusal == nullptr) {
        state_.shared_aside.erase(text);
        return;
    }
    state_.shared_aside[text] = refusal->message;
    outcome.set_aside.push_back({text, refusal->message});
}

std::vector<SetAside> NftablesDataplane::set_aside() const {
    std::vector<SetAside> list;
    for (const auto& [what, reason] : state_.shared_aside) list.push_back({what, reason});
    for (const auto& [name, aside] : state_.aside) list.push_back({name.text(), aside.reason});
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.object < b.object; });
    return list;
}

Dataplane::CountReader NftablesDataplane::count_reader() const {
    if (!counts_) return nullptr;
    return [kernel = counts_, family = family_] { return read_counts(*kernel, family); };
}

std::vector<std::uint32_t> NftablesDataplane::port_ids() const {
    std::vector<std::uint32_t> ids;
    for (const auto* kernel : {kernel_.get(), background_.get()})
        if (kernel != nullptr && kernel->port_id() != 0) ids.push_back(kernel->port_id());
    return ids;
}

const Mode& mode() {
    static constexpr std::array<int, 1> kCapabilities{CAP_NET_ADMIN};
    static const Mode instance{
        .name = "nftables",
        .profile = plan::nftables_profile,
        .calls = Calls::kQuick,
        .capabilities = kCapabilities,
        .variants = {},
        .missing = [](net::Family family, const Options& /*options*/) { return missing(family); },
        .open = open_dataplane,
        .watch = watch_drift,
        .render = render,
        .sight = sight,
        .cleanup = [](std::vector<std::string>& /*kept*/) { return cleanup(); },
        .packet_counts = packet_counts,
    };
    return instance;
}

}  // namespace ghostip::dataplane::nftables
