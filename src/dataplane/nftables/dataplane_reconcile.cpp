// The part of the dataplane that looks at what the kernel holds.
#include <cerrno>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/drift.h"
#include "dataplane/nftables/stuck_clients.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::AddElements;
using kernel::nft::Batch;

namespace {

// Somebody may write while we look and write; so often the difference is taken anew.
constexpr int kAttempts = 4;

bool is_mismatch(const Error& error) { return error.code == ENOENT || error.code == EEXIST; }

std::string bytes_text(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// Lets elements through that are in the focus.
class FocusSink final : public ElementSink {
  public:
    explicit FocusSink(const Focus& focus) {
        for (const auto& [ref, keys] : focus)
            for (std::size_t i = 0; i < keys.count(); ++i)
                wanted_[ref].insert(bytes_text(keys.at(i).first(keys.key_bytes)));
    }
    void add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) override {
        const auto found = wanted_.find(set);
        if (found != wanted_.end() && found->second.contains(bytes_text(key))) packed_.add(set, key, data);
    }
    [[nodiscard]] std::map<SetRef, kernel::nft::Elements>& sets() { return packed_.sets(); }

  private:
    std::map<SetRef, std::unordered_set<std::string>> wanted_;
    PackedElements packed_;
};

Classes classes_of(const plan::Plan& plan) {
    Classes classes;
    for (const auto& [name, service_port] : plan.service_ports) collect_classes(*service_port, classes);
    return classes;
}

kernel::nft::Elements none_of(const SetRef& set, net::Family family) {
    const auto declared = declare(set);
    return {declared.name,
            static_cast<std::uint16_t>(fields_size(declared.key, family)),
            static_cast<std::uint16_t>(fields_size(declared.data, family)),
            {}};
}

// The slots that a running process believes in, as far as they fit the plan: after a refusal they are those of the pool
// before.
SlotOrders orders_for(const plan::Plan& plan, const SlotOrders& known) {
    SlotOrders orders;
    for (const auto& [name, slots] : known) {
        const auto found = plan.service_ports.find(name);
        if (found == plan.service_ports.end()) continue;
        orders.emplace(name, ServicePortSlots{assign_slots(slots.cluster, found->second->cluster),
                                              assign_slots(slots.local, found->second->local)});
    }
    return orders;
}

const kernel::nft::Elements& elements_in(const std::map<SetRef, kernel::nft::Elements>& sets, const SetRef& set,
                                         const kernel::nft::Elements& none) {
    const auto found = sets.find(set);
    return found == sets.end() ? none : found->second;
}

}  // namespace

Result<Outcome> NftablesDataplane::reconcile(const plan::Plan& plan) {
    Outcome outcome;
    RETURN_IF_ERROR(end_handover(outcome));  // of a process that was killed in the middle of one
    for (int attempt = 1;; ++attempt) {
        ASSIGN_OR_RETURN(const auto observed, observe(*kernel_, plan, limits_.largest_dump));
        const auto mismatch = attempt < kAttempts ? Mismatch::kError : Mismatch::kSetAside;
        const auto result =
            observed ? settle(plan, *observed, Look::kFresh, {}, mismatch, outcome) : start_anew(plan, outcome);
        if (result) break;
        if (!is_mismatch(result.error()) || attempt == kAttempts) return result.error();
    }
    sweep_later({stale_clients(plan, state_.classes), true}, outcome);
    return outcome;
}

Result<Outcome> NftablesDataplane::repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) {
    const Suspicion suspicion = suspicion_of(writes, family_);
    if (suspicion.everything || state_.chains.empty() || !state_.aside.empty()) return reconcile(plan);
    Outcome outcome;
    Observed observed;
    if (suspicion.structure) {
        ASSIGN_OR_RETURN(auto contents, kernel_->contents(table(family_)));
        if (!contents) return reconcile(plan);
        for (const auto& [name, set] : state_.sets)  // its elements went with it
            if (!is_declared(*contents, set)) return reconcile(plan);
        observed.structure = std::move(*contents);
    } else {
        observed.structure = {state_.chains, state_.sets, 0};
    }
    for (const auto& [ref, keys] : suspicion.focus) {
        if (!state_.sets.contains(set_name(ref))) continue;
        ASSIGN_OR_RETURN(observed.elements[ref], kernel_->look_up(table(family_), declare(ref), keys));
    }
    const auto result = settle(plan, observed, Look::kPlaces, suspicion.focus, Mismatch::kError, outcome);
    if (!result && is_mismatch(result.error())) return reconcile(plan);
    if (!result) return result.error();
    return outcome;
}

std::function<Result<Dataplane::Sight>()> NftablesDataplane::look(const plan::Plan& plan) const {
    return [kernel = background_ ? background_.get() : kernel_.get(), plan,
            largest_dump = limits_.largest_dump]() -> Result<Sight> {
        ASSIGN_OR_RETURN(auto observed, observe(*kernel, plan, largest_dump));
        return Sight(std::make_shared<const std::optional<Observed>>(std::move(observed)));
    };
}

// What was seen may be old by now: rules are read again, and elements looked up before they are believed to differ.
Result<Outcome> NftablesDataplane::check(const plan::Plan& plan, const Sight& sight) {
    const auto* seen = static_cast<const std::optional<Observed>*>(sight.get());
    if (seen == nullptr || !*seen || state_.chains.empty()) return reconcile(plan);
    Outcome outcome;
    ASSIGN_OR_RETURN(auto contents, kernel_->contents(table(family_)));
    if (!contents) return reconcile(plan);
    Observed observed{std::move(*contents), (*seen)->elements, {}, false};
    ASSIGN_OR_RETURN(observed.catch_alls, find_catch_alls(*kernel_, family_, observed.structure));
    const auto result = settle(plan, observed, Look::kRunning, {}, Mismatch::kError, outcome);
    if (!result && is_mismatch(result.error())) return reconcile(plan);
    if (!result) return result.error();
    return outcome;
}

Result<void> NftablesDataplane::start_anew(const plan::Plan& plan, Outcome& outcome) {
    state_ = State{};
    outcome.differences = 1;
    outcome.examples = {"the table is missing"};
    return write(plan::everything(plan), Start::kCold, outcome);
}

Result<void> NftablesDataplane::end_handover(Outcome& outcome) {
    ASSIGN_OR_RETURN(const bool there, kernel_->exists(handover_table(family_)));
    if (!there) return {};
    const auto start = std::chrono::steady_clock::now();
    const auto removed = kernel_->commit({handover_table(family_), {kernel::nft::DeleteTable{}}});
    if (!removed && removed.error().code != ENOENT) return removed.error();
    if (removed) outcome.committed(start);
    return {};
}

// Looking at places, `observed` holds no other elements than those in focus.
Result<void> NftablesDataplane::settle(const plan::Plan& plan, const Observed& observed, Look look, const Focus& focus,
                                       Mismatch mismatch, Outcome& outcome) {
    // A class that nobody needs any more is no difference: what was there before this process started stays.
    Classes classes = look == Look::kFresh ? classes_of(plan) : state_.classes;
    if (look == Look::kFresh) add_classes(classes_in(observed.structure, family_), classes);
    const Structure wanted = render_structure({family_, plan.node, classes, counting_});
    Repair repair;
    compare_structure(observed.structure, wanted, repair);
    outcome.examples = repair.examples;
    outcome.differences = repair.differences;
    if (repair.impossible) return replace_at_once(plan, outcome);

    for (const auto& ref : observed.catch_alls) {
        note_difference(repair, fmt::format("{} has an element for everything", set_name(ref)));
        repair.before.emplace_back(kernel::nft::DeleteCatchAll{set_name(ref)});
    }
    const SlotOrders slots = look == Look::kFresh ? adopt_slots(observed, plan) : orders_for(plan, state_.slots);
    std::map<SetRef, kernel::nft::Elements> expected;
    if (look == Look::kPlaces) {
        FocusSink sink(focus);
        render_everything(plan, slots, counting_, sink);
        expected = std::move(sink.sets());
    } else {
        expected = expected_elements(plan, slots, counting_);
    }
    std::set<SetRef> sets;
    for (const auto& [ref, elements] : expected) sets.insert(ref);
    for (const auto& set : wanted.sets)
        if (const auto ref = parse_set_name(set.name); ref && observed.elements.contains(*ref)) sets.insert(*ref);
    std::map<std::string, Piece> pieces;
    for (const auto& ref : sets) {
        const auto none = none_of(ref, family_);
        Differing differing = compare(elements_in(observed.elements, ref, none), elements_in(expected, ref, none));
        if (!observed.consistent) {
            ASSIGN_OR_RETURN(differing, verify(*kernel_, family_, ref, differing));
        }
        compare_elements(ref, differing, family_, pieces, repair);
    }
    outcome.examples = repair.examples;
    outcome.differences = repair.differences;

    std::unordered_map<plan::ServicePortName, Aside> aside;
    if (look != Look::kPlaces) state_.shared_aside.clear();
    if (look == Look::kPlaces) aside = state_.aside;
    std::map<std::string, std::string> refused;
    PieceWriter writer(*kernel_, table(family_), limits_.elements_at_once, mismatch, outcome,
                       [&](const Piece& piece, const Error* refusal) {
                           if (refusal == nullptr) return;
                           if (!destination_of(piece, family_)) refused[text_of(piece, family_)] = refusal->message;
                           remember_refusal(plan, slots, piece, *refusal, aside, outcome);
                       });
    writer.first(std::move(repair.before));
    if (repair.only_grows && !repair.after.empty()) {
        RETURN_IF_ERROR(writer.finish());
        RETURN_IF_ERROR(write_structure(repair, outcome));
        kernel_->wait_for_packets();
    }
    for (auto& [key, piece] : pieces) RETURN_IF_ERROR(writer.add(std::move(piece)));
    RETURN_IF_ERROR(writer.finish());
    if (!repair.only_grows) RETURN_IF_ERROR(write_structure(repair, outcome));

    if (look == Look::kFresh) {
        state_ = State{plan.node, classes, {}, {}, slots, {}, std::move(state_.shared_aside)};
        for (const auto& chain : wanted.chains) state_.chains[chain.name] = chain;
        for (const auto& set : wanted.sets) state_.sets[set.name] = set;
    } else if (look == Look::kRunning) {
        state_.slots = slots;  // of a service that was set aside, they were still those from before its refusal
    }
    state_.aside = std::move(aside);
    state_.shared_aside.merge(refused);
    return {};
}

// A destination was refused: what of its service port is in the kernel is what should be, but for this destination.
void NftablesDataplane::remember_refusal(const plan::Plan& plan, const SlotOrders& slots, const Piece& piece,
                                         const Error& refusal, std::unordered_map<plan::ServicePortName, Aside>& aside,
                                         Outcome& outcome) const {
    const auto key = destination_of(piece, family_);
    const auto bytes = [](const plan::DestinationKey& k) { return bytes_text(KeyBytes().destination(k).bytes()); };
    for (const auto& [name, service_port] : plan.service_ports) {
        if (!key) break;
        const bool owns = std::any_of(
            service_port->destinations.begin(), service_port->destinations.end(), [&](const auto& destination) {
                return destination.key.node_port == key->node_port && bytes(destination.key) == bytes(*key);
            });
        if (!owns) continue;
        auto& entry = aside[name];
        if (entry.landed.empty()) {
            ElementList list;
            const auto order = slots.find(name);
            render_elements(
                *service_port,
                order != slots.end() ? order->second : ServicePortSlots{service_port->cluster, service_port->local},
                counting_, list);
            entry.landed = std::move(list.elements());
        }
        std::erase_if(entry.landed, [&](const auto& element) {
            return std::find(piece.added.begin(), piece.added.end(), element) != piece.added.end();
        });
        entry.landed.insert(entry.landed.end(), piece.deleted.begin(), piece.deleted.end());
        entry.reason = refusal.message;
        outcome.set_aside.push_back({name.text(), refusal.message});
        return;
    }
    outcome.set_aside.push_back({text_of(piece, family_), refusal.message});
}

// The rules that differ, and the removal of what is not ours. Should the kernel not let go of something that others
// put there, our own rules do not wait for that.
Result<void> NftablesDataplane::write_structure(const Repair& repair, Outcome& outcome) {
    if (repair.after.empty()) return {};
    auto start = std::chrono::steady_clock::now();
    auto all = kernel_->commit({table(family_), repair.after});
    if (all) outcome.committed(start);
    if (all || repair.needed.size() == repair.after.size() || !is_refusal(all.error().code)) return all;
    if (!repair.needed.empty()) {
        start = std::chrono::steady_clock::now();
        RETURN_IF_ERROR(kernel_->commit({table(family_), repair.needed}));
        outcome.committed(start);
    }
    state_.shared_aside["what others put into the table"] = all.error().message;
    outcome.set_aside.push_back({"what others put into the table", all.error().message});
    return {};
}

// Everything in one transaction: long, but whole. Clients that stick to an endpoint are carried over. All sets of the
// old table are empty to a packet that is in its chains at that moment, so the same rules stand beside it meanwhile.
Result<void> NftablesDataplane::replace_at_once(const plan::Plan& plan, Outcome& outcome) {
    auto batch = full_batch(plan, counting_);
    ASSIGN_OR_RETURN(auto clients, remembered_clients(*kernel_, plan));
    for (auto& elements : clients) batch.operations.emplace_back(AddElements{std::move(elements)});
    Batch beside = full_batch(plan, Counting::kOff);
    beside.table = handover_table(family_);
    // Behind ours, so that it gets only what ours missed: it does not know who sticks to whom.
    for (auto& operation : beside.operations)
        if (auto* chain = std::get_if<kernel::nft::AddChain>(&operation); chain != nullptr && chain->base)
            ++chain->base->priority;
    for (const auto* one : {&beside, &batch}) {
        const auto start = std::chrono::steady_clock::now();
        RETURN_IF_ERROR(kernel_->commit(*one));
        outcome.committed(start);
        // Who came before these chains were there does not know of them, and needs what comes next to be whole.
        kernel_->wait_for_packets();
    }
    RETURN_IF_ERROR(end_handover(outcome));
    state_ = State{plan.node, classes_of(plan), {}, {}, {}, {}, {}};
    Structure structure = render_structure({family_, plan.node, state_.classes, counting_});
    for (auto& chain : structure.chains) state_.chains[chain.name] = std::move(chain);
    for (auto& set : structure.sets) state_.sets[set.name] = std::move(set);
    return {};
}

}  // namespace ghostip::dataplane::nftables
