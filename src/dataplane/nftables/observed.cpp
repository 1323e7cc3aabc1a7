#include "dataplane/nftables/observed.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <numeric>

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Elements;
using Bytes = std::span<const std::uint8_t>;

int compare_bytes(Bytes a, Bytes b) { return std::memcmp(a.data(), b.data(), std::min(a.size(), b.size())); }

std::vector<std::uint32_t> sorted(const Elements& elements) {
    std::vector<std::uint32_t> order(elements.count());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return compare_bytes(elements.at(a), elements.at(b)) < 0; });
    return order;
}

Elements like(const Elements& elements) { return {elements.set, elements.key_bytes, elements.data_bytes, {}}; }

void append(Elements& to, Bytes element) { to.bytes.insert(to.bytes.end(), element.begin(), element.end()); }

// Addresses and ports of this family, back from the bytes of KeyBytes::endpoint().
plan::Endpoint endpoint_from(Bytes bytes, net::Family family) {
    plan::Endpoint endpoint;
    const std::size_t address = kernel::nft::field_size(kernel::nft::Field::kAddress, family);
    endpoint.address = net::IpAddress::from_bytes(family, bytes.data());
    endpoint.port = static_cast<std::uint16_t>(bytes[address] << 8 | bytes[address + 1]);
    return endpoint;
}

// How many slots a class makes packets look at, for the destinations of the plan and for those that are in a class.
std::map<std::string, std::uint32_t> reachable_slots(const plan::Plan& plan, const Observed& observed, Lane lane) {
    std::map<std::string, std::uint32_t> slots;
    const auto add = [&](Bytes destination, std::uint32_t count) {
        auto& known = slots[std::string(destination.begin(), destination.end())];
        known = std::max(known, count);
    };
    for (const auto& [name, service_port] : plan.service_ports)
        for (const auto& destination : service_port->destinations)
            for (const auto& candidate : lanes_of(destination))
                if (candidate && candidate->lane == lane)
                    add(KeyBytes().destination(destination.key).bytes(),
                        size_class(service_port->pool(candidate->scope).size()));
    for (const auto& [ref, elements] : observed.elements)
        if (ref.role == SetRole::kUpTo && ref.lane == lane)
            for (std::size_t i = 0; i < elements.count(); ++i) add(elements.at(i), ref.parameter);
    return slots;
}

Result<Elements> look_up_slots(kernel::nft::Kernel& kernel, const plan::Plan& plan, const Observed& observed,
                               const SetRef& endpoints) {
    constexpr std::size_t kAtOnce = 8192;
    const auto set = declare(endpoints);
    Elements keys{set.name, static_cast<std::uint16_t>(fields_size(set.key, plan.family)), 0, {}};
    Elements all{set.name, keys.key_bytes, static_cast<std::uint16_t>(fields_size(set.data, plan.family)), {}};
    all.bytes.reserve(endpoints_of(plan, endpoints.lane) * all.stride());  // there can be a million
    const auto ask = [&]() -> Result<void> {
        ASSIGN_OR_RETURN(const auto found, kernel.look_up(table(plan.family), set, keys));
        all.bytes.insert(all.bytes.end(), found.bytes.begin(), found.bytes.end());
        keys.bytes.clear();
        return {};
    };
    for (const auto& [destination, slots] : reachable_slots(plan, observed, endpoints.lane)) {
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            keys.bytes.insert(keys.bytes.end(), destination.begin(), destination.end());
            append(keys, {reinterpret_cast<const std::uint8_t*>(&slot), sizeof slot});
        }
        if (keys.count() >= kAtOnce) RETURN_IF_ERROR(ask());
    }
    RETURN_IF_ERROR(ask());
    return all;
}

}  // namespace

std::size_t endpoints_of(const plan::Plan& plan, Lane lane) {
    std::size_t count = 0;
    for (const auto& [name, service_port] : plan.service_ports)
        for (const auto& destination : service_port->destinations)
            for (const auto& candidate : lanes_of(destination))
                if (candidate && candidate->lane == lane) count += service_port->pool(candidate->scope).size();
    return count;
}

Result<std::optional<Observed>> observe(kernel::nft::Kernel& kernel, const plan::Plan& plan, std::size_t largest_dump) {
    const auto family = plan.family;
    ASSIGN_OR_RETURN(auto contents, kernel.contents(table(family)));
    if (!contents) return std::optional<Observed>();
    Observed observed;
    observed.structure = std::move(*contents);
    ASSIGN_OR_RETURN(observed.catch_alls, find_catch_alls(kernel, family, observed.structure));
    std::vector<SetRef> looked_up;
    for (const auto& [name, set] : observed.structure.sets) {
        const auto ref = parse_set_name(name);
        if (!ref || ref->role == SetRole::kStuck || !is_declared(observed.structure, declare(*ref))) continue;
        if (ref->role == SetRole::kEndpoints && endpoints_of(plan, ref->lane) > largest_dump) {
            looked_up.push_back(*ref);
            continue;
        }
        auto dump = kernel.read(table(family), declare(*ref));
        if (!dump && dump.error().code == ENOENT) {  // it went meanwhile
            observed.consistent = false;
            continue;
        }
        if (!dump) return std::move(dump).error();
        observed.consistent = observed.consistent && dump->consistent;
        observed.elements[*ref] = std::move(dump->elements);
    }
    for (const auto& ref : looked_up) {
        ASSIGN_OR_RETURN(observed.elements[ref], look_up_slots(kernel, plan, observed, ref));
    }
    return std::optional(std::move(observed));
}

Result<std::set<SetRef>> find_catch_alls(kernel::nft::Kernel& kernel, net::Family family,
                                         const kernel::nft::Contents& contents) {
    std::set<SetRef> found;
    for (const auto& [name, set] : contents.sets) {
        const auto ref = parse_set_name(name);
        if (!ref || !is_declared(contents, declare(*ref))) continue;
        ASSIGN_OR_RETURN(const bool has, kernel.has_catch_all(table(family), declare(*ref)));
        if (has) found.insert(*ref);
    }
    return found;
}

bool is_declared(const kernel::nft::Contents& contents, const kernel::nft::Set& set) {
    const auto found = contents.sets.find(set.name);
    if (found == contents.sets.end()) return false;
    const auto& there = found->second;
    return there.key == set.key && there.data == set.data && there.timeout_seconds == set.timeout_seconds &&
           there.size == set.size && there.counts == set.counts;
}

Classes classes_in(const kernel::nft::Contents& contents, net::Family family) {
    Classes classes;
    for (const auto& [name, set] : contents.sets) {
        const auto ref = parse_set_name(name);
        if (!ref || ref->parameter == 0 || !is_declared(contents, declare(*ref))) continue;
        const auto lane = static_cast<std::size_t>(ref->lane);
        if (ref->role == SetRole::kUpTo && std::has_single_bit(ref->parameter))
            classes.pool_sizes[lane].insert(ref->parameter);
        if (ref->role == SetRole::kAffinity) classes.affinity_seconds[lane].insert(ref->parameter);
        if (ref->role == SetRole::kAllowedSources &&
            ref->parameter <= static_cast<std::uint32_t>(net::address_bits(family)))
            classes.source_lengths.insert(ref->parameter);
    }
    return classes;
}

ObservedSlots::ObservedSlots(const Observed& observed, net::Family family) : family_(family) {
    for (const auto& [ref, elements] : observed.elements)
        if (ref.role == SetRole::kEndpoints) maps_[ref.lane] = {&elements, sorted(elements)};
}

Slots ObservedSlots::of(Lane lane, const plan::DestinationKey& key) const {
    const auto found = maps_.find(lane);
    if (found == maps_.end()) return {};
    const kernel::nft::Elements* elements = found->second.elements;
    const auto& order = found->second.order;
    const KeyBytes wanted = KeyBytes().destination(key);
    const std::size_t prefix = wanted.bytes().size();
    auto at = std::lower_bound(order.begin(), order.end(), wanted.bytes(), [&](std::uint32_t index, Bytes bytes) {
        return compare_bytes(elements->at(index).first(prefix), bytes) < 0;
    });
    std::map<std::uint32_t, plan::Endpoint> slots;
    for (; at != order.end(); ++at) {
        const Bytes element = elements->at(*at);
        if (compare_bytes(element.first(prefix), wanted.bytes()) != 0) break;
        std::uint32_t slot = 0;
        std::memcpy(&slot, element.data() + prefix, sizeof slot);
        slots[slot] = endpoint_from(element.subspan(elements->key_bytes), family_);
    }
    Slots result;
    for (const auto& [slot, endpoint] : slots) {
        if (slot != result.size()) return {};
        result.push_back(endpoint);
    }
    return result;
}

Differing compare(const Elements& observed, const Elements& expected) {
    const auto observed_order = sorted(observed);
    const auto expected_order = sorted(expected);
    Differing differing{like(expected.key_bytes == 0 ? observed : expected), {}};
    differing.only_expected = like(differing.only_observed);
    auto there = observed_order.begin();
    auto wanted = expected_order.begin();
    while (there != observed_order.end() || wanted != expected_order.end()) {
        const int order = there == observed_order.end()    ? 1
                          : wanted == expected_order.end() ? -1
                                                           : compare_bytes(observed.at(*there), expected.at(*wanted));
        if (order < 0) {
            append(differing.only_observed, observed.at(*there));
        } else if (order > 0) {
            append(differing.only_expected, expected.at(*wanted));
        }
        // An interrupted dump may have an element twice.
        if (order <= 0) {
            const Bytes element = observed.at(*there);
            while (there != observed_order.end() && compare_bytes(observed.at(*there), element) == 0) ++there;
        }
        if (order >= 0) ++wanted;
    }
    return differing;
}

Result<Differing> verify(kernel::nft::Kernel& kernel, net::Family family, const SetRef& set, const Differing& seeming) {
    Elements keys = seeming.only_observed;
    keys.bytes.insert(keys.bytes.end(), seeming.only_expected.bytes.begin(), seeming.only_expected.bytes.end());
    if (keys.count() == 0) return seeming;
    ASSIGN_OR_RETURN(const auto found, kernel.look_up(table(family), declare(set), keys));
    return compare(found, seeming.only_expected);
}

}  // namespace ghostip::dataplane::nftables
