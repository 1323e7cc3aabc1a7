#include "cli/ending.h"

#include <utility>

namespace ghostip::cli {

void Ending::stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (agent_ != nullptr) agent_->stop();
}

void Ending::note_signal() {
    {
        const std::lock_guard lock(mutex_);
        signalled_ = true;
    }
    told_.notify_all();
}

void Ending::set(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    if (agent_ != nullptr) agent_->stop();
}

bool Ending::wait_for_signal(std::chrono::milliseconds longest) {
    std::unique_lock lock(mutex_);
    return told_.wait_for(lock, longest, [this] { return signalled_; });
}

Result<void> Ending::get() {
    const std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return {};
}

void Ending::point_at(agent::Agent* agent) {
    const std::lock_guard lock(mutex_);
    agent_ = agent;
    if (agent != nullptr && (stopped_ || error_)) agent->stop();
}

}  // namespace ghostip::cli
