#include "agent/heartbeat.h"

#include <algorithm>

#include "base/log.h"

namespace ghostip::agent {
namespace {

constexpr std::chrono::seconds kStartingInterval{10};
constexpr std::chrono::seconds kStartingExtension{60};

}  // namespace

WatchdogPings::WatchdogPings(const ServiceManager& manager, const Heartbeat& heartbeat)
    : manager_(manager), heartbeat_(heartbeat) {
    if (manager_.listens()) thread_ = std::thread([this] { loop(); });
}

WatchdogPings::~WatchdogPings() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void WatchdogPings::ready(std::string_view status) {
    {
        const std::lock_guard lock(mutex_);
        if (ready_) return;
        ready_ = true;
        manager_.ready(status);
    }
    changed_.notify_all();
}

// What is sent under the lock never waits for anybody.
void WatchdogPings::loop() {
    // Three pings in the time allowed, so that one may be late.
    const auto interval = manager_.watchdog() ? *manager_.watchdog() / 3 : std::chrono::microseconds(kStartingInterval);
    bool told = false;
    std::unique_lock lock(mutex_);
    while (!stop_) {
        const bool ready = ready_;
        const bool alive = heartbeat_.alive();
        if (!alive && !told)
            log::error("the loop has not come back in time; the service manager is not told that it lives");
        told = !alive;
        if (alive && !ready) manager_.extend_start(kStartingExtension);
        if (alive && ready && manager_.watchdog()) manager_.ping();
        const auto pause = ready ? interval : std::min<std::chrono::microseconds>(interval, kStartingInterval);
        changed_.wait_for(lock, pause, [&] { return stop_ || ready_ != ready; });
    }
}

}  // namespace ghostip::agent
