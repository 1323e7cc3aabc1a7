// What all threads of a relay have in common.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "relay/client_counts.h"
#include "relay/metrics.h"
#include "relay/own_places.h"
#include "relay/relay.h"
#include "relay/service.h"

namespace ghostip::relay {

// How many there are of something that has a limit.
class Quota {
  public:
    explicit Quota(std::uint32_t limit) : limit_(limit) {}
    // False: there are as many as may be. Each true wants a give_back().
    [[nodiscard]] bool take() {
        if (taken_.fetch_add(1, std::memory_order_relaxed) < limit_) return true;
        taken_.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }
    // What is left.
    std::uint32_t give_back() { return taken_.fetch_sub(1, std::memory_order_acq_rel) - 1; }
    [[nodiscard]] bool full() const { return taken() >= limit_; }
    [[nodiscard]] std::uint32_t taken() const { return taken_.load(std::memory_order_acquire); }

  private:
    const std::uint32_t limit_;
    std::atomic<std::uint32_t> taken_ = 0;
};

class Services {
  public:
    void add(std::shared_ptr<Service> service) {
        const std::unique_lock lock(mutex_);
        by_id_.emplace(service->id(), std::move(service));
    }
    std::shared_ptr<Service> remove(ServiceId id) {
        const std::unique_lock lock(mutex_);
        auto node = by_id_.extract(id);
        return node.empty() ? nullptr : std::move(node.mapped());
    }
    // Null: there is none.
    [[nodiscard]] std::shared_ptr<Service> find(ServiceId id) const {
        const std::shared_lock lock(mutex_);
        const auto found = by_id_.find(id);
        return found == by_id_.end() ? nullptr : found->second;
    }

  private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<ServiceId, std::shared_ptr<Service>> by_id_;  // guarded by mutex_
};

struct Shared {
    Shared(const Options& all_options, unsigned thread_count)
        : options(all_options),
          threads(thread_count),
          connections(options.limits.connections),
          sessions(options.limits.udp_sessions),
          sessions_per_client(options.limits.udp_sessions_per_client),
          held(options.limits.held_connections) {}

    const Options options;
    const unsigned threads;
    Services services;
    OwnPlaces own_places;
    Quota connections;
    Quota sessions;
    ClientCounts sessions_per_client;
    Quota held;
    std::atomic<std::uint64_t> pauses_limit = 0;
    std::atomic<std::uint64_t> pauses_descriptors = 0;

    void connection_ended() {
        if (connections.give_back() == 0) tell();
    }
    void session_ended() {
        if (sessions.give_back() == 0) tell();
    }
    [[nodiscard]] bool wait_until_idle(std::chrono::milliseconds longest) {
        std::unique_lock lock(idle_mutex_);
        return idle_.wait_for(lock, longest, [&] { return connections.taken() == 0 && sessions.taken() == 0; });
    }

  private:
    void tell() {
        const std::lock_guard lock(idle_mutex_);
        idle_.notify_all();
    }
    std::mutex idle_mutex_;  // guards nothing but the moment between a look at the quotas and the wait
    std::condition_variable idle_;
};

// The place of one UDP session in the limits of all together and of its client.
class SessionPlace {
  public:
    // Absent: one of them is reached.
    [[nodiscard]] static std::optional<SessionPlace> take(Shared& shared, const net::IpAddress& client) {
        // Of the limit of all first, as a flood of new addresses meets it.
        if (shared.sessions.full() || !shared.sessions_per_client.take(client)) return std::nullopt;
        if (shared.sessions.take()) return SessionPlace(shared, client);
        shared.sessions_per_client.give_back(client);
        return std::nullopt;
    }
    SessionPlace(SessionPlace&& other) noexcept
        : shared_(std::exchange(other.shared_, nullptr)), client_(other.client_) {}
    SessionPlace(const SessionPlace&) = delete;
    SessionPlace& operator=(const SessionPlace&) = delete;
    SessionPlace& operator=(SessionPlace&&) = delete;
    ~SessionPlace() { give_back(); }
    void give_back() {
        auto* shared = std::exchange(shared_, nullptr);
        if (shared == nullptr) return;
        shared->sessions_per_client.give_back(client_);
        shared->session_ended();
    }

  private:
    SessionPlace(Shared& shared, const net::IpAddress& client) : shared_(&shared), client_(client) {}
    Shared* shared_;
    const net::IpAddress client_;
};

}  // namespace ghostip::relay
