#include "dataplane/nftables/stuck_clients.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <string>

#include "dataplane/nftables/render_elements.h"

namespace ghostip::dataplane::nftables {
namespace {

// Entries expire while they are being deleted, which makes the kernel refuse the batch: look again.
constexpr int kAttempts = 5;

using Bytes = StaleClients::Bytes;

Bytes to_bytes(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

using Valid = std::map<SetRef, StaleClients::Valid>;

const plan::Destination* find(const plan::ServicePortPlanPtr& plan, const plan::DestinationKey& key) {
    if (!plan) return nullptr;
    for (const auto& destination : plan->destinations)
        if (destination.key == key) return &destination;
    return nullptr;
}

// The pool that a destination has in a lane afterwards; null if clients do not stick there any more.
const plan::Pool* pool_after(const plan::ServicePortChange& change, const plan::DestinationKey& key, Lane lane) {
    const auto* after = find(change.after, key);
    if (after == nullptr || change.after->affinity_seconds != change.before->affinity_seconds) return nullptr;
    for (const auto& candidate : lanes_of(*after))
        if (candidate && candidate->lane == lane) return &change.after->pool(candidate->scope);
    return nullptr;
}

bool keeps_all(const plan::Pool& before, const plan::Pool* after) {
    return after != nullptr && std::all_of(before.begin(), before.end(), [&](const auto& endpoint) {
               return std::any_of(after->begin(), after->end(), [&](const auto& kept) {
                   return kept.address == endpoint.address && kept.port == endpoint.port;
               });
           });
}

Valid affected(const plan::Delta& delta) {
    Valid valid;
    for (const auto& change : delta.service_ports) {
        if (!change.before || change.before->affinity_seconds == 0) continue;
        for (const auto& destination : change.before->destinations) {
            for (const auto& lane : lanes_of(destination)) {
                if (!lane) continue;
                const auto& before = change.before->pool(lane->scope);
                const auto* after = pool_after(change, destination.key, lane->lane);
                if (before.empty() || keeps_all(before, after)) continue;
                auto& endpoints = valid[{SetRole::kStuck, lane->lane, change.before->affinity_seconds}]
                                       [to_bytes(KeyBytes().destination(destination.key).bytes())];
                if (after == nullptr) continue;
                for (const auto& endpoint : *after) endpoints.insert(to_bytes(KeyBytes().endpoint(endpoint).bytes()));
            }
        }
    }
    return valid;
}

// Everybody whom clients may be stuck to.
Valid allowed(const plan::Plan& plan) {
    Valid valid;
    for (const auto& [name, service_port] : plan.service_ports) {
        if (service_port->affinity_seconds == 0) continue;
        for (const auto& destination : service_port->destinations) {
            for (const auto& lane : lanes_of(destination)) {
                if (!lane) continue;
                auto& endpoints = valid[{SetRole::kStuck, lane->lane, service_port->affinity_seconds}]
                                       [to_bytes(KeyBytes().destination(destination.key).bytes())];
                for (const auto& endpoint : service_port->pool(lane->scope))
                    endpoints.insert(to_bytes(KeyBytes().endpoint(endpoint).bytes()));
            }
        }
    }
    return valid;
}

std::size_t client_size(net::Family family) { return static_cast<std::size_t>(net::address_bits(family)) / 8; }

// client . destination : endpoint
kernel::nft::Elements stale_in(const kernel::nft::Elements& all, std::size_t client_bytes,
                               const StaleClients::Valid& valid, bool lists_everything) {
    kernel::nft::Elements found{all.set, all.key_bytes, all.data_bytes, {}};
    for (std::size_t i = 0; i < all.count(); ++i) {
        const auto element = all.at(i);
        const auto destination = valid.find(to_bytes(element.subspan(client_bytes, all.key_bytes - client_bytes)));
        const bool stays = destination == valid.end()
                               ? !lists_everything
                               : destination->second.contains(to_bytes(element.subspan(all.key_bytes)));
        if (stays) continue;
        found.bytes.insert(found.bytes.end(), element.begin(), element.end());
    }
    return found;
}

}  // namespace

StaleClients stale_clients(net::Family /*family*/, const plan::Delta& delta) { return {affected(delta), false}; }

StaleClients stale_clients(const plan::Plan& plan, const Classes& classes) {
    StaleClients stale{allowed(plan), true};
    for (const Lane lane : kLanes)
        for (const auto seconds : classes.affinity_seconds[static_cast<std::size_t>(lane)])
            stale.valid[{SetRole::kStuck, lane, seconds}];
    return stale;
}

Result<void> forget_stuck_clients(kernel::nft::Kernel& kernel, net::Family family, const StaleClients& stale) {
    const std::size_t client_bytes = client_size(family);
    for (const auto& [ref, valid] : stale.valid) {
        for (int attempt = 1;; ++attempt) {
            const auto all = kernel.read(table(family), declare(ref));
            if (!all && all.error().code == ENOENT) break;  // the whole map is gone
            if (!all) return all.error();
            auto elements = stale_in(all->elements, client_bytes, valid, stale.lists_everything);
            if (elements.count() == 0) break;
            const auto result = kernel.commit({table(family), {kernel::nft::DeleteElements{std::move(elements)}}});
            if (result) break;
            if (result.error().code != ENOENT || attempt == kAttempts) return result.error();
        }
    }
    return {};
}

Result<std::vector<kernel::nft::Elements>> remembered_clients(kernel::nft::Kernel& kernel, const plan::Plan& plan) {
    const std::size_t client_bytes = client_size(plan.family);
    std::vector<kernel::nft::Elements> remembered;
    for (const auto& [ref, valid] : allowed(plan)) {
        auto dump = kernel.read(table(plan.family), declare(ref));
        if (!dump && dump.error().code == ENOENT) continue;
        if (!dump) return std::move(dump).error();
        const auto* all = &dump->elements;
        kernel::nft::Elements kept{all->set, all->key_bytes, all->data_bytes, {}};
        for (std::size_t i = 0; i < all->count(); ++i) {
            const auto element = all->at(i);
            const auto destination = valid.find(to_bytes(element.subspan(client_bytes, all->key_bytes - client_bytes)));
            if (destination == valid.end() || !destination->second.contains(to_bytes(element.subspan(all->key_bytes))))
                continue;
            kept.bytes.insert(kept.bytes.end(), element.begin(), element.end());
        }
        if (kept.count() != 0) remembered.push_back(std::move(kept));
    }
    return remembered;
}

}  // namespace ghostip::dataplane::nftables
