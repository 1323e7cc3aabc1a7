// A service while anything needs it: its pool, and for each thread what it counted and what it has open.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "relay/counters.h"
#include "relay/intrusive_list.h"
#include "relay/limits.h"
#include "relay/listener.h"
#include "relay/picker.h"

namespace ghostip::relay {

class TcpSession;
class UdpSession;
struct InService;

// One thread's part of a service.
struct Lane {
    Counters counters;  // any thread may read
    IntrusiveList<TcpSession, InService> connections;
    IntrusiveList<UdpSession, InService> sessions;
};

class Service {
  public:
    Service(ServiceId id, Pool pool, std::uint32_t affinity_clients, std::chrono::milliseconds drain, unsigned threads)
        : id_(id), picker_(std::move(pool), affinity_clients, drain), lanes_(threads) {}
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service() {
        for (auto& lane : lanes_) delete lane.load(std::memory_order_acquire);
    }

    [[nodiscard]] ServiceId id() const { return id_; }
    [[nodiscard]] Picker& picker() { return picker_; }
    // Of the calling thread. Made when first used: with many services on many cores most are never needed.
    [[nodiscard]] Lane& lane(unsigned thread) {
        auto* lane = lanes_[thread].load(std::memory_order_relaxed);
        if (lane == nullptr) {
            lane = new Lane;
            lanes_[thread].store(lane, std::memory_order_release);
        }
        return *lane;
    }
    [[nodiscard]] bool has_lane(unsigned thread) const {
        return lanes_[thread].load(std::memory_order_relaxed) != nullptr;
    }
    [[nodiscard]] ServiceMetrics metrics() const {
        ServiceMetrics sum;
        for (const auto& each : lanes_)
            if (const auto* lane = each.load(std::memory_order_acquire)) lane->counters.add_to(sum);
        return sum;
    }

    // False: there are as many connections as may be. Each true wants a leave().
    [[nodiscard]] bool enter() {
        const auto limit = limit_.load(std::memory_order_relaxed);
        if (open_.fetch_add(1, std::memory_order_relaxed) < limit || limit == 0) return true;
        leave();
        return false;
    }
    void leave() { open_.fetch_sub(1, std::memory_order_relaxed); }
    void set_limit(std::uint32_t connections) { limit_.store(connections, std::memory_order_relaxed); }  // 0: none

    // Whether what goes to this endpoint has lost its reason.
    [[nodiscard]] bool abandoned(const SocketAddress& endpoint) const { return !picker_.contains(endpoint); }

  private:
    const ServiceId id_;
    Picker picker_;
    std::atomic<std::uint32_t> open_ = 0;
    std::atomic<std::uint32_t> limit_ = 0;
    std::vector<std::atomic<Lane*>> lanes_;  // each written by its own thread
};

}  // namespace ghostip::relay
