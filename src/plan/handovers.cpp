#include "plan/handovers.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace ghostip::plan {
namespace {

using Side = ServicePortPlanPtr ServicePortChange::*;

// Destinations that one side of a change has and the other has not.
template <typename Handle>
void each(const Delta& delta, Side has, Side has_not, Handle handle) {
    for (std::size_t i = 0; i < delta.service_ports.size(); ++i) {
        const auto& there = delta.service_ports[i].*has;
        const auto& other = delta.service_ports[i].*has_not;
        if (!there) continue;
        for (const auto& destination : there->destinations) {
            const bool stays = other && std::any_of(other->destinations.begin(), other->destinations.end(),
                                                    [&](const auto& d) { return d.key == destination.key; });
            if (!stays) handle(destination.key, i);
        }
    }
}

}  // namespace

Handovers::Handovers(const Delta& delta) : group_(delta.service_ports.size()) {
    std::iota(group_.begin(), group_.end(), std::size_t{0});
    std::unordered_map<DestinationKey, std::size_t> lost;
    each(delta, &ServicePortChange::before, &ServicePortChange::after,
         [&](const auto& key, std::size_t index) { lost.emplace(key, index); });
    if (lost.empty()) return;
    each(delta, &ServicePortChange::after, &ServicePortChange::before, [&](const auto& key, std::size_t index) {
        const auto from = lost.find(key);
        if (from != lost.end()) group_[root(index)] = root(from->second);
    });
    for (std::size_t i = 0; i < group_.size(); ++i)
        if (root(i) != i) members_[root(i)].push_back(i);
}

std::vector<std::size_t> Handovers::followers(std::size_t index) const {
    const auto found = members_.find(index);
    return found == members_.end() ? std::vector<std::size_t>{} : found->second;
}

std::size_t Handovers::root(std::size_t index) {
    while (group_[index] != index) index = group_[index] = group_[group_[index]];
    return index;
}

}  // namespace ghostip::plan
