// Notices that somebody emptied the tables: KUBE-PROXY-CANARY, a chain that nothing leads to, is gone. Of the rules of
// iptables-legacy the kernel tells nobody, so the chain is looked for every now and then.
//
// wait() belongs to one thread; pause() and resume() may be called from another.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include "dataplane/dataplane.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

struct CanaryTimes {
    std::chrono::milliseconds interval{std::chrono::seconds(30)};
    // Between the loss in mangle and in the other tables: who empties one after the other is let finish.
    std::chrono::milliseconds longest_flush{std::chrono::seconds(5)};
    std::chrono::milliseconds flush_poll{100};
};

// How often a dataplane has seen to it that the canary is there. From any thread.
using CanaryCount = std::shared_ptr<std::atomic<std::uint64_t>>;

class CanaryWatch final : public DriftWatch {
  public:
    struct Watched {
        std::unique_ptr<kernel::iptables::Iptables> iptables;  // of its own
        CanaryCount made;
        std::uint64_t told = 0;  // the count whose loss was told
    };

    explicit CanaryWatch(std::vector<Watched> watched, CanaryTimes times = {})
        : times_(times), watched_(std::move(watched)) {}

    [[nodiscard]] Result<std::vector<ForeignWrite>> wait(int stop_fd) override;
    // Returns when no program of this watch runs any more.
    [[nodiscard]] Result<void> pause() override;
    // What happened meanwhile the next look finds: always true.
    [[nodiscard]] Result<bool> resume(std::uint32_t own_transactions) override;
    [[nodiscard]] bool tells_all() const override { return false; }

  private:
    enum class Canary : std::uint8_t { kThere, kGone, kUnknown };
    [[nodiscard]] Canary look(Watched& watched, const char* table);
    // False: stopped.
    [[nodiscard]] Result<bool> wait_for_the_others(Watched& watched, int stop_fd);

    const CanaryTimes times_;
    std::mutex mutex_;              // held while a program runs
    bool paused_ = false;           // guarded by mutex_
    std::vector<Watched> watched_;  // of the thread that waits; its programs run with mutex_ held
};

// For instances of this mode.
[[nodiscard]] Result<std::unique_ptr<DriftWatch>> watch_canaries(std::span<Dataplane* const> instances);

}  // namespace ghostip::dataplane::iptables
