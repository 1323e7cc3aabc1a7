// Which processes of programs that we started may still act for us. A program's id is here before it can do anything,
// and goes before the kernel may give it to somebody else: who is told of an act by a process id can tell ours from
// others'. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

#include "base/result.h"

namespace ghostip {

class RunningPrograms {
  public:
    // As this process's own process namespace numbers them. Waits while a program is being started: it may be the one.
    [[nodiscard]] bool contains(std::uint32_t process_id) const;
    // Called when a program has ended and is about to be forgotten, so that what it did can still be told from what
    // others do; on the thread that ran it. One at most.
    void before_forgetting(std::function<void()> hook);

    // For run() in subprocess.h. `spawn` returns the id of a process that runs; nobody is answered meanwhile.
    [[nodiscard]] Result<pid_t> start(const std::function<Result<pid_t>()>& spawn);
    // It has ended and was not waited for yet.
    void end(pid_t process_id);

  private:
    mutable std::mutex mutex_;
    std::set<pid_t> ids_;         // guarded by mutex_
    std::function<void()> hook_;  // guarded by mutex_; called without it
};

}  // namespace ghostip
