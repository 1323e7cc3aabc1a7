// Another program that wants to write rules while ours are written: how long does it wait?
//
// A thread that commits all the time what is there already (a table of its own), in the network namespace that is
// measured. Such a transaction takes the kernel's lock and changes nothing, so it neither disturbs who reads nor leaves
// the kernel anything to free later. The longest wait is the longest that somebody else held the lock. Other processes
// take the processor from ours even while ours holds it, and that is in it too; they do not take it from this thread,
// which has real-time priority where that is allowed.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/result.h"
#include "kernel/nft/linux.h"
#include "support/namespace.h"

namespace ghostip::bench {

class Witness {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Witness>> start(const testnet::Namespace& where);
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

    // Milliseconds of each commit since the start or the last call. Stops the thread and starts it again.
    [[nodiscard]] std::vector<double> take();

  private:
    explicit Witness(std::unique_ptr<kernel::nft::LinuxKernel> kernel) : kernel_(std::move(kernel)) {}
    void run();
    void stop();

    const std::unique_ptr<kernel::nft::LinuxKernel> kernel_;
    std::atomic<bool> stop_ = false;
    std::vector<double> waits_;  // the thread's while it runs
    std::thread thread_;
};

}  // namespace ghostip::bench
