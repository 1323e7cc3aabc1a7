// The two locks of iptables-legacy, for programs too old to take them: a file, and the name of an abstract socket that
// still older ones use. Both are given back on destruction. Blocks while it waits; any thread.
#pragma once

#include <chrono>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::kernel::iptables {

struct LockPlaces {
    std::string file = "/run/xtables.lock";  // made with mode 0600 if it is not there
    std::string socket = "xtables";          // without the zero byte in front; of the thread's network namespace
};

class Locks {
  public:
    // Error EBUSY: another program held one of them for all of `patience`.
    [[nodiscard]] static Result<Locks> take(const LockPlaces& places,
                                            std::chrono::milliseconds patience = std::chrono::seconds(2));

  private:
    Locks(Fd file, Fd socket) : file_(std::move(file)), socket_(std::move(socket)) {}

    Fd file_;
    Fd socket_;
};

}  // namespace ghostip::kernel::iptables
