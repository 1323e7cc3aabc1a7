#include "plan/weights.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace ghostip::plan {
namespace {

const EndpointWeight* find(const std::vector<EndpointWeight>& sorted, const net::IpAddress& address) {
    const auto found = std::lower_bound(sorted.begin(), sorted.end(), address,
                                        [](const auto& entry, const auto& wanted) { return entry.address < wanted; });
    return found != sorted.end() && found->address == address ? &*found : nullptr;
}

}  // namespace

std::vector<EndpointWeight> endpoint_weights(const api::Service& service, const Slices& slices, const Pool& cluster,
                                             const Pool& local) {
    // Whose word counts most, first.
    std::vector<std::pair<std::string_view, const std::vector<EndpointWeight>*>> words;
    for (const auto& slice : slices)
        if (!slice->endpoint_weights.empty()) words.emplace_back(slice->name, &slice->endpoint_weights);
    std::sort(words.rbegin(), words.rend());
    if (!service.endpoint_weights.empty()) words.emplace_back("", &service.endpoint_weights);
    if (words.empty()) return {};

    std::vector<EndpointWeight> weights;
    for (const auto* pool : {&cluster, &local})
        for (const auto& endpoint : *pool)
            for (const auto& [name, said] : words) {
                const auto* word = find(*said, endpoint.address);
                if (word == nullptr) continue;
                if (word->weight != kUsualWeight) weights.push_back(*word);
                break;
            }
    std::sort(weights.begin(), weights.end());
    weights.erase(std::unique(weights.begin(), weights.end()), weights.end());
    return weights;
}

std::uint32_t weight_of(const std::vector<EndpointWeight>& weights, const net::IpAddress& address) {
    const auto* found = find(weights, address);
    return found == nullptr ? kUsualWeight : found->weight;
}

}  // namespace ghostip::plan
