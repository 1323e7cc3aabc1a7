#include "dataplane/nftables/reconcile.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "dataplane/nftables/element_text.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::AddChain;
using kernel::nft::AddRule;
using kernel::nft::AddSet;
using kernel::nft::AddTable;
using kernel::nft::Chain;
using kernel::nft::Contents;
using kernel::nft::DeleteChain;
using kernel::nft::DeleteSet;
using kernel::nft::Elements;
using kernel::nft::FlushChain;
using kernel::nft::Operation;

namespace {

constexpr std::size_t kExamples = 5;

// Pieces in the order in which they are written: what leads to destinations comes after them.
constexpr char kFirst = 'a';
constexpr char kDestinations = 'b';
constexpr char kNodePorts = 'c';
constexpr char kLast = 'd';

void add_rules(const Chain& chain, std::vector<Operation>& operations) {
    for (const auto& rule : chain.rules) operations.emplace_back(AddRule{chain.name, rule});
}

// A chain that is missing and that nothing can reach yet can be filled before all else.
void add_missing_chains(const Contents& there, const Structure& wanted, Repair& repair) {
    std::vector<const Chain*> hidden;
    for (const auto& chain : wanted.chains) {
        if (there.chains.contains(chain.name)) continue;
        note_difference(repair, fmt::format("chain {} is missing", chain.name));
        if (chain.base) continue;
        repair.before.emplace_back(AddChain{chain.name, std::nullopt});
        hidden.push_back(&chain);
    }
    for (const auto* chain : hidden) add_rules(*chain, repair.before);
}

// What is written in the last transaction, in phases: chains and sets refer to each other.
struct Last {
    std::vector<Operation> flush;
    std::vector<Operation> remove;  // sets first: their elements may refer to chains
    std::vector<Operation> add;
    std::vector<Operation> fill;
};

void rewrite_chains(const Contents& there, const Structure& wanted, Repair& repair, Last& last) {
    for (const auto& chain : wanted.chains) {
        const auto known = there.chains.find(chain.name);
        const bool missing = known == there.chains.end();
        if (missing && !chain.base) continue;  // filled before
        if (!missing && kernel::nft::same_in_kernel(known->second, chain)) continue;
        if (!missing) {
            const bool other_place = known->second.base != chain.base;
            note_difference(repair, fmt::format("chain {} has {}", chain.name,
                                                other_place ? "another hook, priority or policy" : "other rules"));
            last.flush.emplace_back(FlushChain{chain.name});
            if (other_place) {
                last.remove.emplace_back(DeleteChain{chain.name});
                last.add.emplace_back(AddChain{chain.name, chain.base});
            }
        } else {
            last.add.emplace_back(AddChain{chain.name, chain.base});
        }
        add_rules(chain, last.fill);
    }
}

// What others added, or an older version left.
void remove_what_nobody_needs(const Contents& there, const Structure& wanted, Repair& repair, Last& last) {
    std::set<std::string> chains;
    std::set<std::string> sets;
    for (const auto& chain : wanted.chains) chains.insert(chain.name);
    for (const auto& set : wanted.sets) sets.insert(set.name);
    for (const auto& [name, set] : there.sets) {
        if (sets.contains(name)) continue;
        note_difference(repair, fmt::format("set {} is not ours", name));
        last.remove.emplace_back(DeleteSet{name});
    }
    for (const auto& [name, chain] : there.chains) {
        if (chains.contains(name)) continue;
        note_difference(repair, fmt::format("chain {} is not ours", name));
        last.flush.emplace_back(FlushChain{name});
        last.remove.emplace_back(DeleteChain{name});
    }
}

// Everything that is there stays, and what leads packets in is there. Dropping what nobody owns still comes last.
bool only_grows(const Contents& there, const Structure& wanted) {
    std::set<std::string> known;
    for (const auto& set : wanted.sets) known.insert(set.name);
    for (const auto& [name, set] : there.sets)
        if (!known.contains(name)) return false;
    known.clear();
    for (const auto& chain : wanted.chains) {
        known.insert(chain.name);
        const auto found = there.chains.find(chain.name);
        const bool missing = found == there.chains.end();
        if (chain.base && (missing || found->second.base != chain.base)) return false;
        if (chain.name == kUnknownClusterIps && (missing || !kernel::nft::same_in_kernel(found->second, chain)))
            return false;
    }
    return std::all_of(there.chains.begin(), there.chains.end(),
                       [&](const auto& chain) { return known.contains(chain.first); });
}

std::vector<Operation> in_order(Last last) {
    std::vector<Operation> all = std::move(last.flush);
    for (auto* phase : {&last.remove, &last.add, &last.fill}) all.insert(all.end(), phase->begin(), phase->end());
    return all;
}

ElementList::Element element_from(const SetRef& set, const Elements& elements, std::size_t index) {
    ElementList list;
    const auto bytes = elements.at(index);
    list.add(set, bytes.first(elements.key_bytes), bytes.subspan(elements.key_bytes));
    return list.elements().front();
}

// Names the piece of an element, so that pieces sort as they are to be written.
std::string piece_of(const SetRef& set, std::span<const std::uint8_t> key, net::Family family, bool added) {
    const auto text = [](std::span<const std::uint8_t> bytes) { return std::string(bytes.begin(), bytes.end()); };
    if (keyed_by_destination(set.role)) {
        const char kind = is_node_port(set.lane) ? kNodePorts : kDestinations;
        return kind + text(key.first(destination_bytes(set.lane, family)));
    }
    // A hairpin must be known before its connection is, and may be forgotten after it.
    const bool first = set.role == SetRole::kHairpins && added;
    return (first ? kFirst : kLast) + set_name(set) + text(key);
}

}  // namespace

void note_difference(Repair& repair, const std::string& text) {
    ++repair.differences;
    if (repair.examples.size() < kExamples) repair.examples.push_back(text);
}

void compare_structure(const Contents& there, const Structure& wanted, Repair& repair) {
    for (const auto& set : wanted.sets) {
        if (is_declared(there, set)) continue;
        const bool missing = !there.sets.contains(set.name);
        note_difference(repair, fmt::format("set {} is {}", set.name, missing ? "missing" : "declared otherwise"));
        repair.impossible = repair.impossible || !missing;
        repair.before.emplace_back(AddSet{set});
    }
    if (repair.impossible) return;
    add_missing_chains(there, wanted, repair);
    Last needed;
    if (there.flags != 0) {
        note_difference(repair, "the table is asleep, or has other flags");
        needed.flush.emplace_back(AddTable{});
    }
    rewrite_chains(there, wanted, repair, needed);
    Last all = needed;
    remove_what_nobody_needs(there, wanted, repair, all);
    repair.needed = in_order(std::move(needed));
    repair.after = in_order(std::move(all));
    repair.only_grows = only_grows(there, wanted);
}

SlotOrders adopt_slots(const Observed& observed, const plan::Plan& plan) {
    const ObservedSlots there(observed, plan.family);
    SlotOrders orders;
    for (const auto& [name, service_port] : plan.service_ports) {
        ServicePortSlots slots{service_port->cluster, service_port->local};
        std::array<bool, 2> known{false, false};
        for (const auto& destination : service_port->destinations) {
            for (const auto& lane : lanes_of(destination)) {
                const auto scope = lane ? static_cast<std::size_t>(lane->scope) : 0;
                if (!lane || known[scope]) continue;
                const Slots before = there.of(lane->lane, destination.key);
                if (before.empty()) continue;
                known[scope] = true;
                auto& mine = lane->scope == plan::PoolScope::kCluster ? slots.cluster : slots.local;
                mine = assign_slots(before, service_port->pool(lane->scope));
            }
        }
        if (slots.cluster != service_port->cluster || slots.local != service_port->local)
            orders.emplace(name, std::move(slots));
    }
    return orders;
}

void render_everything(const plan::Plan& plan, const SlotOrders& slots, Counting counting, ElementSink& sink) {
    for (const auto& [name, service_port] : plan.service_ports) {
        const auto known = slots.find(name);
        if (known != slots.end())
            render_elements(*service_port, known->second, counting, sink);
        else
            render_elements(*service_port, {service_port->cluster, service_port->local}, counting, sink);
    }
    for (const auto& [address, owners] : plan.cluster_ips) render_cluster_ip(address, sink);
    for (const auto& [hairpin, users] : plan.hairpins) render_hairpin(hairpin, sink);
    render_node(plan.node, sink);
}

std::map<SetRef, Elements> expected_elements(const plan::Plan& plan, const SlotOrders& slots, Counting counting) {
    PackedElements expected;
    for (const Lane lane : kLanes) {
        const SetRef endpoints{SetRole::kEndpoints, lane};
        const auto declared = declare(endpoints);
        if (const auto count = endpoints_of(plan, lane); count != 0)
            expected.reserve(
                endpoints, count * (fields_size(declared.key, plan.family) + fields_size(declared.data, plan.family)));
    }
    render_everything(plan, slots, counting, expected);
    return std::move(expected.sets());
}

void compare_elements(const SetRef& set, const Differing& differing, net::Family family,
                      std::map<std::string, Piece>& by_destination, Repair& repair) {
    const auto& [there, wanted] = differing;
    for (std::size_t i = 0; i < there.count(); ++i) {
        const auto element = element_from(set, there, i);
        note_difference(repair, fmt::format("{} has {}", set_name(set), element_text(set, there.at(i), family)));
        by_destination[piece_of(set, element.key(), family, false)].deleted.push_back(element);
    }
    for (std::size_t i = 0; i < wanted.count(); ++i) {
        const auto element = element_from(set, wanted, i);
        note_difference(repair, fmt::format("{} lacks {}", set_name(set), element_text(set, wanted.at(i), family)));
        by_destination[piece_of(set, element.key(), family, true)].added.push_back(element);
    }
}

plan::DestinationKey destination_from(Lane lane, std::span<const std::uint8_t> bytes, net::Family family) {
    plan::DestinationKey key;
    key.node_port = is_node_port(lane);
    key.address = net::IpAddress(family);
    if (!key.node_port) {
        key.address = net::IpAddress::from_bytes(family, bytes.data());
        bytes = bytes.subspan(kernel::nft::field_size(kernel::nft::Field::kAddress, family));
    }
    key.protocol = static_cast<net::Protocol>(bytes[0]);
    key.port = static_cast<std::uint16_t>(bytes[4] << 8 | bytes[5]);
    return key;
}

std::optional<plan::DestinationKey> destination_of(const Piece& piece, net::Family family) {
    if (piece.size() == 0) return std::nullopt;
    const auto& element = piece.deleted.empty() ? piece.added.front() : piece.deleted.front();
    if (!keyed_by_destination(element.set.role)) return std::nullopt;
    return destination_from(element.set.lane, element.key(), family);
}

}  // namespace ghostip::dataplane::nftables
