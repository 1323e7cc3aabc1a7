// A real KubernetesSource on its own thread, with the clock in the test's hand. The two threads take turns: the source
// runs until nothing is left to do at the present time, then the test does what it likes, and so on. Hence a run with
// the same seed is the same run, and what one thread writes the other may read.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "api/source.h"
#include "source/kubernetes/kubernetes_source.h"
#include "source/kubernetes/memory_transport.h"

namespace ghostip::testkubernetes {

class SteppedSource {
  public:
    using Clock = std::chrono::steady_clock;

    // Clock and randomness of `options` are replaced; `random` is called in the source's turns.
    SteppedSource(source::kubernetes::KubernetesSourceOptions options, std::function<double()> random);
    ~SteppedSource();
    SteppedSource(const SteppedSource&) = delete;
    SteppedSource& operator=(const SteppedSource&) = delete;

    // Returns when all requests of the beginning are sent. Once.
    void start();
    // Delivers all that is scripted, and what follows from it, while this time passes.
    void pass(std::chrono::milliseconds duration);
    void run() { pass(std::chrono::milliseconds(0)); }

    [[nodiscard]] source::kubernetes::MemoryTransport& server() { return *server_; }
    [[nodiscard]] api::ChangeQueue& queue() { return queue_; }
    [[nodiscard]] source::kubernetes::KubernetesStats stats() const { return source_->stats(); }
    // The last things that it said.
    [[nodiscard]] const std::deque<std::string>& lines() const { return lines_; }

  private:
    enum class Turn : std::uint8_t { kTest, kSource, kOver };

    void give_turn();
    void idle(std::chrono::milliseconds limit);

    // Written by whose turn it is.
    Clock::time_point now_ = Clock::time_point(std::chrono::hours(1));
    Clock::time_point due_;  // when the source has something to do again
    int busy_ = 0;           // idle calls in a row with something due at once
    std::deque<std::string> lines_;

    std::mutex mutex_;
    std::condition_variable changed_;
    Turn turn_ = Turn::kTest;  // guarded by mutex_

    source::kubernetes::MemoryTransport* server_ = nullptr;  // of source_
    api::ChangeQueue queue_;
    std::unique_ptr<source::kubernetes::KubernetesSource> source_;
};

}  // namespace ghostip::testkubernetes
