// For tests: the dataplane on the twin of the kernel, and what the twin holds brought into a form that compares.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nftables/dataplane.h"
#include "kernel/nft/memory.h"
#include "plan/plan_testing.h"

namespace ghostip::dataplane::nftables::testing {

using Bytes = kernel::nft::MemoryKernel::Bytes;
using TableState = kernel::nft::MemoryKernel::TableState;

struct OnTwin {
    explicit OnTwin(net::Family family, const Limits& limits = {}, Counting counting = Counting::kOff)
        : OnTwin(family, std::make_unique<kernel::nft::MemoryKernel>(), limits, counting) {}
    // A process that starts on the kernel of another one, which has ended.
    OnTwin(net::Family family, const kernel::nft::MemoryKernel& kernel, const Limits& limits = {},
           Counting counting = Counting::kOff)
        : OnTwin(family, std::make_unique<kernel::nft::MemoryKernel>(kernel), limits, counting) {}

    // As the agent does it: what is left for later is done at once, since there is no other thread.
    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) { return with_later(dataplane.reconcile(plan)); }
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) { return with_later(dataplane.apply(delta)); }

    [[nodiscard]] const TableState& state() const { return *twin.find(table); }

    const kernel::nft::Table table;
    kernel::nft::MemoryKernel& twin;  // the dataplane owns it
    NftablesDataplane dataplane;

  private:
    OnTwin(net::Family family, std::unique_ptr<kernel::nft::MemoryKernel> owned, const Limits& limits,
           Counting counting)
        : table(nftables::table(family)),
          twin(*owned),
          dataplane(family, std::move(owned), nullptr, limits, counting == Counting::kOn ? shared_twin() : nullptr) {}
    // The twin once more, without a share in it: here the dataplane outlives who reads its counts.
    [[nodiscard]] std::shared_ptr<kernel::nft::Kernel> shared_twin() const {
        return {std::shared_ptr<kernel::nft::Kernel>(), &twin};
    }
    static Result<Outcome> with_later(Result<Outcome> outcome) {
        if (!outcome) return outcome;
        for (const auto& work : outcome->later) RETURN_IF_ERROR(work());
        return outcome;
    }
};

// What a first start makes of a plan on an empty kernel.
inline TableState freshly_replaced(const plan::Plan& plan, Counting counting = Counting::kOff) {
    OnTwin fresh(plan.family, Limits{}, counting);
    static_cast<void>(fresh.reconcile(plan));
    return fresh.state();
}

// Endpoints by slot: destination -> slot -> endpoint.
using SlotTable = std::map<Bytes, std::map<std::uint32_t, Bytes>>;

inline SlotTable slot_table(const kernel::nft::MemoryKernel::SetState& endpoints) {
    SlotTable result;
    for (const auto& [key, data] : endpoints.elements) {
        std::uint32_t slot = 0;
        const auto split = key.end() - sizeof slot;
        std::memcpy(&slot, &*split, sizeof slot);
        result[Bytes(key.begin(), split)][slot] = data;
    }
    return result;
}

// Elements by set, without empty sets and without the order of slots: each destination's endpoints as a set.
using Comparable = std::map<std::string, std::map<Bytes, std::set<Bytes>>>;

inline Comparable comparable(const TableState& state) {
    Comparable result;
    for (const auto& [name, set] : state.sets) {
        if (set.elements.empty()) continue;
        auto& elements = result[name];
        if (name.ends_with("endpoints")) {
            for (const auto& [destination, slots] : slot_table(set))
                for (const auto& [slot, endpoint] : slots) elements[destination].insert(endpoint);
        } else {
            for (const auto& [key, data] : set.elements) elements[key].insert(data);
        }
    }
    return result;
}

// What must hold whatever the plan is; one sentence for each pool that is wrong.
inline std::vector<std::string> broken_pools(const TableState& state) {
    std::vector<std::string> broken;
    for (const Lane lane : kLanes) {
        const std::string prefix(lane_prefix(lane));
        std::map<Bytes, std::uint32_t> class_of;
        for (const auto& [name, set] : state.sets) {
            if (!name.starts_with(prefix + "upto-")) continue;
            for (const auto& [key, data] : set.elements)
                if (!class_of.emplace(key, static_cast<std::uint32_t>(std::stoul(name.substr(prefix.size() + 5))))
                         .second)
                    broken.push_back("a destination in two classes of lane " + prefix);
        }
        const auto endpoints = state.sets.find(prefix + "endpoints");
        const SlotTable slots = endpoints == state.sets.end() ? SlotTable{} : slot_table(endpoints->second);
        if (slots.size() != class_of.size())
            broken.push_back("pools without a class, or classes without a pool, in lane " + prefix);
        for (const auto& [destination, up_to] : class_of) {
            const auto pool = slots.find(destination);
            if (pool == slots.end()) {
                broken.push_back("no slot 0 in lane " + prefix);
                continue;
            }
            const auto size = pool->second.size();
            if (pool->second.begin()->first != 0 || pool->second.rbegin()->first != size - 1)
                broken.push_back("a hole in a pool of lane " + prefix);
            if (size > up_to || size * 2 <= up_to) broken.push_back("a pool in the wrong class of lane " + prefix);
        }
    }
    return broken;
}

}  // namespace ghostip::dataplane::nftables::testing
