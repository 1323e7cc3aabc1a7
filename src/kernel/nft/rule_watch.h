// Tells of what others write to chains and rules, through the kernel's notifications. Ours are the writes of programs
// that this process started: the netlink port of a program's socket is its process id.
//
// Where another process namespace's program has taken that port in our network namespace before, the kernel gives ours
// another one: then what it writes counts as foreign, and somebody looks in vain.
//
// While anybody listens the kernel holds 8 KiB for each rule of a transaction until the commit (nft_commit_notify). In
// texts of some thousand lines that is not felt, so that there is no pause: 220,000 chains and rules in 88 texts cost
// the kernel 6.4 s without and 7.0 s with it (Linux 6.18).
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "base/running_programs.h"
#include "kernel/nft/notifications.h"
#include "kernel/nft/rule_writes.h"

namespace ghostip::kernel::nft {

class RuleWatch {
  public:
    // Watches the network namespace of the calling thread, from now on. `ours`: lists of our programs; they may outlive
    // the watch.
    [[nodiscard]] static Result<std::unique_ptr<RuleWatch>> open(
        RuleWrites::Concerns concerns, std::vector<std::shared_ptr<RunningPrograms>> ours,
        int receive_buffer_bytes = Notifications::kReceiveBufferBytes);

    // Waits for foreign writes until `stop_fd` (-1: none) becomes readable; empty then. What happened while nobody
    // waited is told, too. From one thread. An error means that the watch is blind from now on.
    [[nodiscard]] Result<std::vector<RuleWrite>> wait(int stop_fd);

  private:
    class Inbox;
    explicit RuleWatch(std::shared_ptr<Inbox> inbox) : inbox_(std::move(inbox)) {}

    const std::shared_ptr<Inbox> inbox_;
};

}  // namespace ghostip::kernel::nft
