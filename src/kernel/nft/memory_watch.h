// The twin of LinuxWatch in memory: a queue that a test fills from any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/fd.h"
#include "kernel/nft/watch.h"

namespace ghostip::kernel::nft {

class MemoryWatch final : public Watch {
  public:
    MemoryWatch();
    // What wait() will tell next.
    void push(ForeignWrite write);
    // wait() fails from now on.
    void break_down(int code);
    [[nodiscard]] std::vector<std::uint32_t> ignored() const;

    [[nodiscard]] Result<void> ignore(std::uint32_t port_id) override;
    [[nodiscard]] Result<std::vector<ForeignWrite>> wait(int stop_fd,
                                                         std::optional<std::chrono::milliseconds> timeout) override;
    [[nodiscard]] Result<void> pause() override;
    // True until foreign_while_paused() was called.
    [[nodiscard]] Result<bool> resume(std::uint32_t own_transactions) override;
    void foreign_while_paused();
    [[nodiscard]] bool paused() const;

  private:
    const Fd event_;  // readable while there is something to tell
    mutable std::mutex mutex_;
    std::vector<ForeignWrite> queue_;     // guarded by mutex_
    std::vector<std::uint32_t> ignored_;  // guarded by mutex_
    int broken_ = 0;                      // guarded by mutex_
    bool paused_ = false;                 // guarded by mutex_
    bool unseen_ = false;                 // guarded by mutex_
};

}  // namespace ghostip::kernel::nft
