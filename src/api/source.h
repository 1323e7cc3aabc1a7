// The interface of an object source: whatever knows the current Services, EndpointSlices, Nodes and ServiceCIDRs.
//
// A source runs on its own thread and hands over what changed through one ChangeQueue, which coalesces: a consumer
// that is slow sees the net latest state of each object, never a backlog.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "api/objects.h"
#include "base/result.h"

namespace ghostip::api {

// What a consumer takes out at once.
struct Batch {
    std::vector<Change> changes;
    bool synced = false;  // the source has handed over everything that existed when it started
};

// Thread-safe; one producer, one consumer.
class ChangeQueue {
  public:
    void push(std::vector<Change> changes);
    void mark_synced();
    // Wakes the consumer with an empty batch, for example to let it stop.
    void wake();

    // Waits until the source has handed over all that existed when it started (or wake() was called, or the time is
    // over) and takes nothing. Whether it has.
    [[nodiscard]] bool wait_synced(std::chrono::milliseconds timeout);

    // Waits until there is something (or wake() was called, or the time is over) and takes all of it.
    [[nodiscard]] Batch take(std::chrono::milliseconds timeout);

  private:
    std::mutex mutex_;
    std::condition_variable ready_;
    std::unordered_map<ObjectKey, std::optional<Object>> pending_;  // guarded by mutex_
    bool synced_ = false;                                           // guarded by mutex_
    bool woken_ = false;                                            // guarded by mutex_
};

class ObjectSource {
  public:
    virtual ~ObjectSource() = default;
    // Starts to deliver into the queue, which outlives the source. Called once.
    [[nodiscard]] virtual Result<void> start(ChangeQueue& queue) = 0;
    // Ends delivery and joins the thread. Idempotent.
    virtual void stop() = 0;
};

}  // namespace ghostip::api
