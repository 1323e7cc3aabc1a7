#include "dataplane/nftables/slots.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <tuple>

namespace ghostip::dataplane::nftables {
namespace {

bool same_target(const plan::Endpoint& a, const plan::Endpoint& b) {
    return a.address == b.address && a.port == b.port;
}

bool target_less(const plan::Endpoint& a, const plan::Endpoint& b) {
    return std::tie(a.address, a.port) < std::tie(b.address, b.port);
}

}  // namespace

Slots assign_slots(const Slots& before, const plan::Pool& pool) {
    if (before.empty()) return pool;
    plan::Pool waiting = pool;  // ordered, so that each slot's endpoint is found quickly
    std::sort(waiting.begin(), waiting.end(), target_less);
    std::vector<bool> placed(waiting.size(), false);
    std::vector<std::optional<plan::Endpoint>> slots(pool.size());
    for (std::size_t slot = 0; slot < std::min(before.size(), slots.size()); ++slot) {
        const auto found = std::lower_bound(waiting.begin(), waiting.end(), before[slot], target_less);
        if (found == waiting.end() || !same_target(*found, before[slot])) continue;
        const auto index = static_cast<std::size_t>(found - waiting.begin());
        if (placed[index]) continue;
        placed[index] = true;
        slots[slot] = *found;
    }
    std::size_t next = 0;
    for (auto& slot : slots) {
        if (slot) continue;
        while (placed[next]) ++next;
        slot = waiting[next++];
    }
    Slots result;
    result.reserve(slots.size());
    for (auto& slot : slots) result.push_back(*slot);
    return result;
}

}  // namespace ghostip::dataplane::nftables
