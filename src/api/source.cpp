#include "api/source.h"

namespace ghostip::api {

void ChangeQueue::push(std::vector<Change> changes) {
    if (changes.empty()) return;
    const std::lock_guard lock(mutex_);
    for (auto& change : changes) pending_.insert_or_assign(std::move(change.key), std::move(change.object));
    ready_.notify_one();
}

void ChangeQueue::mark_synced() {
    const std::lock_guard lock(mutex_);
    synced_ = true;
    woken_ = true;
    ready_.notify_one();
}

void ChangeQueue::wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    ready_.notify_one();
}

bool ChangeQueue::wait_synced(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return woken_ || synced_; });
    woken_ = false;
    return synced_;
}

Batch ChangeQueue::take(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return woken_ || !pending_.empty(); });
    woken_ = false;
    Batch batch;
    batch.synced = synced_;
    batch.changes.reserve(pending_.size());
    while (!pending_.empty()) {
        auto node = pending_.extract(pending_.begin());
        batch.changes.push_back({std::move(node.key()), std::move(node.mapped())});
    }
    return batch;
}

}  // namespace ghostip::api
