// A node is taken over from kube-proxy, or from another mode of ghostip: once the rules of this mode serve it, what the
// others left is removed.
//
// That needs what the agent gives up when it has started (running other programs, reading their files), and it must
// come late, for at no moment may a node be without rules. So a second process is split off before privileges are
// dropped, waits, does this one thing, and ends. It ends too when this process does.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string_view>
#include <thread>

#include "agent/kube_proxy_traces.h"
#include "base/fd.h"
#include "base/result.h"

namespace ghostip::agent {

class Leftovers {
  public:
    // Before this process starts its first thread: a fork has no other. `mode` is the one that will serve.
    [[nodiscard]] static Result<std::unique_ptr<Leftovers>> prepare(Whose whose, std::string_view mode);
    ~Leftovers();
    Leftovers(const Leftovers&) = delete;
    Leftovers& operator=(const Leftovers&) = delete;

    // Once, when the first sync is done: of this variant of the mode, empty if it has none. Returns at once; what
    // happens is logged, failures change nothing else.
    void remove(std::string_view variant);

  private:
    Leftovers(pid_t helper, Fd go);

    pid_t helper_;
    Fd go_;
    std::thread reaper_;
};

// Logs what was removed, what stays and what failed.
void log_removed(const Removed& removed);

}  // namespace ghostip::agent
