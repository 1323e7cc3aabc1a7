// Whether the agent's loop makes progress, for a service manager that would restart a process that does not.
//
// The loop says by when it will be back: before it waits, as late as it means to wait; before work, as late as the
// longest honest work takes. So an idle loop, a long first sync, and an API server that is away for a day are all
// alive, and a loop that hangs in any place is not.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/service_manager.h"

namespace ghostip::agent {

class Heartbeat {
  public:
    using Clock = std::chrono::steady_clock;
    // A full sync of 30,000 Services takes two seconds; a host under memory pressure, a minute.
    static constexpr std::chrono::minutes kLongestWork{3};

    // By the loop's thread.
    void back_within(Clock::duration time, Clock::time_point now = Clock::now()) {
        due_.store((now + time).time_since_epoch().count(), std::memory_order_relaxed);
    }
    void working(Clock::time_point now = Clock::now()) { back_within(kLongestWork, now); }
    // A wait that should end by itself within `time`.
    void waiting(Clock::duration time, Clock::time_point now = Clock::now()) { back_within(time + kLongestWork, now); }
    // From any thread.
    [[nodiscard]] bool alive(Clock::time_point now = Clock::now()) const {
        return now.time_since_epoch().count() < due_.load(std::memory_order_relaxed);
    }

  private:
    std::atomic<Clock::rep> due_{(Clock::now() + kLongestWork).time_since_epoch().count()};
};

// Tells the service manager so, from a thread of its own, as often as it wants to hear. Before ready() it asks for more
// time to start instead. Without a service manager there is no thread.
class WatchdogPings {
  public:
    WatchdogPings(const ServiceManager& manager, const Heartbeat& heartbeat);
    ~WatchdogPings();
    WatchdogPings(const WatchdogPings&) = delete;
    WatchdogPings& operator=(const WatchdogPings&) = delete;

    // From any thread; again is fine.
    void ready(std::string_view status);

  private:
    void loop();

    const ServiceManager& manager_;
    const Heartbeat& heartbeat_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ready_ = false;  // guarded by mutex_
    bool stop_ = false;   // guarded by mutex_
    std::thread thread_;  // last: it uses the rest
};

}  // namespace ghostip::agent
