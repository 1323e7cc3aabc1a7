// Counters that one thread writes and any may read: no locked instruction, no line of memory that travels between
// cores.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "relay/metrics.h"

namespace ghostip::relay {

class Counter {
  public:
    void add(std::uint64_t by = 1) { value_.store(get() + by, std::memory_order_relaxed); }
    void subtract(std::uint64_t by = 1) { value_.store(get() - by, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_ = 0;
};

// What one thread counted for one service.
struct Counters {
    Counter connections_opened;
    Counter connections_open;
    Counter connections_drained;
    std::array<Counter, kRefusalNames.size()> refused;
    Counter dial_failures;
    Counter dial_timeouts;
    Counter bytes_to_endpoints;
    Counter bytes_to_clients;
    std::array<Counter, kDurationBounds.size() + 1> durations;
    Counter duration_microseconds;

    Counter sessions_opened;
    Counter sessions_open;
    Counter datagrams_to_endpoints;
    Counter datagrams_to_clients;
    std::array<Counter, kDatagramLossNames.size()> datagrams_lost;

    void refuse(Refusal why) { refused[static_cast<std::size_t>(why)].add(); }
    void lose(DatagramLoss why, std::uint64_t count = 1) { datagrams_lost[static_cast<std::size_t>(why)].add(count); }
    void ended_after(std::chrono::steady_clock::duration duration);
    void add_to(ServiceMetrics& sum) const;
};

}  // namespace ghostip::relay
