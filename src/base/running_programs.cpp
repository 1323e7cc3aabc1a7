#include "base/running_programs.h"

#include <utility>

namespace ghostip {

bool RunningPrograms::contains(std::uint32_t process_id) const {
    const std::lock_guard lock(mutex_);
    return ids_.contains(static_cast<pid_t>(process_id));
}

void RunningPrograms::before_forgetting(std::function<void()> hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
}

Result<pid_t> RunningPrograms::start(const std::function<Result<pid_t>()>& spawn) {
    const std::lock_guard lock(mutex_);
    auto id = spawn();
    if (id) ids_.insert(*id);
    return id;
}

void RunningPrograms::end(pid_t process_id) {
    std::function<void()> hook;
    {
        const std::lock_guard lock(mutex_);
        hook = hook_;
    }
    if (hook) hook();
    const std::lock_guard lock(mutex_);
    ids_.erase(process_id);
}

}  // namespace ghostip
