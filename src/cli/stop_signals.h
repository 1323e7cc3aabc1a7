// SIGINT and SIGTERM end the agent, within a second whatever it is at. What is in the kernel stays there and serves.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

namespace ghostip::cli {

class StopSignals {
  public:
    // Blocks the signals, for all threads that are started later: so before any.
    StopSignals();
    // Returns when what watch() started has ended, the signals stay blocked.
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    // At the first signal calls `stop`, on a thread of its own. Where that has not led to the end of this object soon
    // and so much later, or a second signal comes, the process ends at once.
    void watch(std::function<void()> stop, std::chrono::milliseconds later = {});

  private:
    void loop(const std::function<void()>& stop, std::chrono::milliseconds later) const;

    sigset_t signals_{};
    std::atomic<bool> ended_ = false;  // this object is being destroyed
    std::thread thread_;
};

}  // namespace ghostip::cli
