#include "dataplane/nftables/stuck_clients.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <utility>

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

StickyChange changed(const plan::Delta& delta) {
    StickyChange result;
    const auto take = [&](const plan::ServicePortChange& change, const plan::Destination& destination,
                          const LanePool& lane) {
        const auto& before = change.before->pool(lane.scope);
        const auto* after = pool_after(change, destination.key, lane.lane);
        auto& endpoints = result.now.valid[{SetRole::kStuck, lane.lane, change.before->affinity_seconds}]
                                          [to_bytes(KeyBytes().destination(destination.key).bytes())];
        if (!before.empty() && !keeps_all(before, after)) result.somebody_left = true;
        if (after == nullptr) return;
        for (const auto& endpoint : *after) endpoints.insert(to_bytes(KeyBytes().endpoint(endpoint).bytes()));
    };
    for (const auto& change : delta.service_ports) {
        if (!change.before || change.before->affinity_seconds == 0) continue;
        for (const auto& destination : change.before->destinations)
            for (const auto& lane : lanes_of(destination))
                if (lane) take(change, destination, *lane);
    }
    // What comes new, or to another Service, is said last.
    for (const auto& change : delta.service_ports) {
        if (!change.after || change.after->affinity_seconds == 0) continue;
        for (const auto& destination : change.after->destinations)
            for (const auto& lane : lanes_of(destination)) {
                if (!lane) continue;
                auto& endpoints = result.now.valid[{SetRole::kStuck, lane->lane, change.after->affinity_seconds}]
                                                  [to_bytes(KeyBytes().destination(destination.key).bytes())];
                endpoints.clear();
                for (const auto& endpoint : change.after->pool(lane->scope))
                    endpoints.insert(to_bytes(KeyBytes().endpoint(endpoint).bytes()));
            }
    }
    return result;
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

StickyChange sticky_change(const plan::Delta& delta) { return changed(delta); }

StaleClients stale_clients(const plan::Plan& plan, const Classes& classes) {
    StaleClients stale{allowed(plan), true};
    for (const Lane lane : kLanes)
        for (const auto seconds : classes.affinity_seconds[static_cast<std::size_t>(lane)])
            stale.valid[{SetRole::kStuck, lane, seconds}];
    return stale;
}

bool ClientSweep::add(const StickyChange& change) {
    const std::lock_guard lock(mutex_);
    if (!change.somebody_left && !waiting_ && !running_) return false;
    merge(change.now);
    if (!change.somebody_left || waiting_) return false;
    waiting_ = true;
    return true;
}

// With mutex_ held. The later word about a destination counts.
void ClientSweep::merge(const StaleClients& more) {
    if (more.lists_everything) words_ = {};
    words_.lists_everything = words_.lists_everything || more.lists_everything;
    for (const auto& [map, valid] : more.valid)
        for (const auto& [destination, endpoints] : valid) words_.valid[map][destination] = endpoints;
    for (const auto& [map, valid] : more.valid) words_.valid[map];
}

StaleClients::Valid ClientSweep::with_news(const SetRef& map, StaleClients::Valid valid) {
    const std::lock_guard lock(mutex_);
    const auto news = words_.valid.find(map);
    if (news == words_.valid.end()) return valid;
    for (const auto& [destination, endpoints] : news->second) valid[destination] = endpoints;
    return valid;
}

Result<void> ClientSweep::run(kernel::nft::Kernel& kernel, net::Family family) {
    StaleClients mine;
    {
        const std::lock_guard lock(mutex_);
        mine = std::exchange(words_, {});
        waiting_ = false;
        running_ = true;
    }
    const auto forget = [&](const SetRef& map, const StaleClients::Valid& valid) -> Result<void> {
        for (int attempt = 1;; ++attempt) {
            const auto all = kernel.read(table(family), declare(map));
            if (!all && all.error().code == ENOENT) return {};  // the whole map is gone
            if (!all) return all.error();
            auto elements = stale_in(all->elements, client_size(family), with_news(map, valid), mine.lists_everything);
            if (elements.count() == 0) return {};
            auto result = kernel.commit({table(family), {kernel::nft::DeleteElements{std::move(elements)}}});
            if (result || result.error().code != ENOENT || attempt == kAttempts) return result;
        }
    };
    Result<void> result;
    for (const auto& [map, valid] : mine.valid) {
        result = forget(map, valid);
        if (!result) break;
    }
    const std::lock_guard lock(mutex_);
    running_ = false;
    if (!waiting_) words_ = {};
    return result;
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
