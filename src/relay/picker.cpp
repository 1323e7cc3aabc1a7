#include "relay/picker.h"

#include <algorithm>
#include <utility>

namespace ghostip::relay {
namespace {

// Each pick may forget so many clients whose time is over: a table that once was large shrinks without a pause.
constexpr int kForgottenAtOnce = 4;

std::vector<SocketAddress> distinct(std::vector<SocketAddress> endpoints) {
    std::sort(endpoints.begin(), endpoints.end());
    endpoints.erase(std::unique(endpoints.begin(), endpoints.end()), endpoints.end());
    return endpoints;
}

}  // namespace

Picker::Picker(Pool pool, std::uint32_t most_clients, std::chrono::milliseconds departures)
    : most_clients_(std::max(most_clients, 1U)),
      departures_(departures),
      proxy_protocol_(pool.proxy_protocol),
      random_(std::random_device{}()) {
    replace(std::move(pool), TimePoint());
}

bool Picker::replace(Pool pool, TimePoint now) {
    pool.endpoints = distinct(std::move(pool.endpoints));
    std::unordered_set<SocketAddress> members(pool.endpoints.begin(), pool.endpoints.end());
    const std::lock_guard lock(mutex_);
    proxy_protocol_.store(pool.proxy_protocol, std::memory_order_relaxed);
    if (members == members_) {
        pool.endpoints = std::move(pool_.endpoints);
    } else {
        // Else every relay of a cluster would begin with the same endpoint.
        std::shuffle(pool.endpoints.begin(), pool.endpoints.end(), random_);
        index_ = 0;
    }
    const bool left = std::any_of(members_.begin(), members_.end(),
                                  [&](const SocketAddress& endpoint) { return !members.contains(endpoint); });
    note_departures(members, now);
    members_ = std::move(members);
    pool_ = std::move(pool);
    if (!pool_.affinity) {
        clients_.clear();
        order_.clear();
    } else if (left) {
        std::erase_if(clients_, [&](const auto& client) {
            if (members_.contains(client.second.endpoint)) return false;
            order_.erase(client.second.place);
            return true;
        });
    }
    generation_.fetch_add(1, std::memory_order_release);
    return left;
}

// Each has its own time: in a rolling update one leaves after the other.
void Picker::note_departures(const std::unordered_set<SocketAddress>& staying, TimePoint now) {
    std::erase_if(left_,
                  [&](const auto& each) { return staying.contains(each.first) || now - each.second >= departures_; });
    if (departures_.count() <= 0) return;
    for (const auto& endpoint : members_)
        if (!staying.contains(endpoint)) left_.emplace(endpoint, now);
}

void Picker::clear(TimePoint now) {
    const std::lock_guard lock(mutex_);
    note_departures({}, now);
    members_.clear();
    pool_.endpoints.clear();
    clients_.clear();
    order_.clear();
    generation_.fetch_add(1, std::memory_order_release);
}

std::optional<SocketAddress> Picker::pick(const net::IpAddress& client, TimePoint now,
                                          std::span<const SocketAddress> tried) {
    const std::lock_guard lock(mutex_);
    if (pool_.endpoints.empty()) return std::nullopt;
    if (!pool_.affinity) return next(tried);
    for (int i = 0; i < kForgottenAtOnce && !order_.empty() && expired(clients_.at(order_.front()), now); ++i)
        forget_oldest();
    const auto* before = tried.empty() ? where_it_went(client, now) : nullptr;
    const SocketAddress picked = before != nullptr ? *before : next(tried);
    remember(client, picked, now);
    return picked;
}

SocketAddress Picker::next(std::span<const SocketAddress> tried) {
    const auto count = pool_.endpoints.size();
    if (pool_.pick == Pick::kRandom) index_ = std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
    for (std::size_t i = 0; i < count; ++i) {
        const auto& candidate = pool_.endpoints[(index_ + i) % count];
        if (std::find(tried.begin(), tried.end(), candidate) != tried.end()) continue;
        index_ = (index_ + i + 1) % count;
        return candidate;
    }
    const auto& again = pool_.endpoints[index_];
    index_ = (index_ + 1) % count;
    return again;
}

// sessionAffinityConfig counts in whole seconds: a client is remembered while its age, cut to seconds, is below that.
bool Picker::expired(const Seen& seen, TimePoint now) const {
    return std::chrono::floor<std::chrono::seconds>(now - seen.last) >= *pool_.affinity;
}

const SocketAddress* Picker::where_it_went(const net::IpAddress& client, TimePoint now) {
    const auto seen = clients_.find(client);
    return seen == clients_.end() || expired(seen->second, now) ? nullptr : &seen->second.endpoint;
}

void Picker::remember(const net::IpAddress& client, const SocketAddress& endpoint, TimePoint now) {
    const auto known = clients_.find(client);
    if (known == clients_.end()) {
        insert(order_.end(), client, endpoint, now);
        if (clients_.size() > most_clients_) forget_oldest();
        return;
    }
    order_.splice(order_.end(), order_, known->second.place);
    known->second.endpoint = endpoint;
    known->second.last = now;
}

// In both or, without memory, in neither.
void Picker::insert(std::list<net::IpAddress>::const_iterator before, const net::IpAddress& client,
                    const SocketAddress& endpoint, TimePoint last) {
    const auto place = order_.insert(before, client);
    try {
        clients_.emplace(client, Seen{endpoint, last, place});
    } catch (...) {
        order_.erase(place);
        throw;
    }
}

void Picker::forget_oldest() {
    clients_.erase(order_.front());
    order_.pop_front();
}

bool Picker::contains(const SocketAddress& endpoint) const {
    const std::lock_guard lock(mutex_);
    return members_.contains(endpoint);
}

bool Picker::gone_since(const SocketAddress& endpoint, TimePoint when) const {
    const std::lock_guard lock(mutex_);
    if (members_.contains(endpoint)) return false;
    const auto left = left_.find(endpoint);
    return left == left_.end() || left->second <= when;
}

std::size_t Picker::remembered() const {
    const std::lock_guard lock(mutex_);
    return clients_.size();
}

std::vector<Affinity> Picker::affinities(TimePoint now) const {
    const std::lock_guard lock(mutex_);
    std::vector<Affinity> all;
    all.reserve(clients_.size());
    for (const auto& [client, seen] : clients_)
        if (!expired(seen, now))
            // One may have been picked for since the caller asked for the time.
            all.push_back({client, seen.endpoint,
                           std::max(std::chrono::duration_cast<std::chrono::milliseconds>(now - seen.last),
                                    std::chrono::milliseconds(0))});
    return all;
}

std::size_t Picker::remember(std::vector<Affinity> earlier, TimePoint now) {
    std::sort(earlier.begin(), earlier.end(), [](const auto& a, const auto& b) { return a.unused < b.unused; });
    const std::lock_guard lock(mutex_);
    if (!pool_.affinity) return 0;
    std::size_t count = 0;
    for (const auto& [client, endpoint, unused] : earlier) {
        const auto last = now - unused;
        if (clients_.size() >= most_clients_ || expired({endpoint, last, {}}, now)) break;  // so are those behind it
        if (!members_.contains(endpoint) || clients_.contains(client)) continue;
        insert(order_.begin(), client, endpoint, last);
        ++count;
    }
    return count;
}

}  // namespace ghostip::relay
