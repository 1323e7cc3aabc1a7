// Is the node agent well? Thread-safe: the sync loop tells, the HTTP server asks.
#pragma once

#include <atomic>
#include <string>

#include "http/server.h"

namespace ghostip::agent {

class Health {
  public:
    // The first sync is done: everything known at the start is in the kernel.
    void synced() { synced_.store(true, std::memory_order_release); }

    // /healthz: 200 after the first sync, 503 before.
    [[nodiscard]] http::Response healthz() const;

  private:
    std::atomic<bool> synced_ = false;
};

}  // namespace ghostip::agent
