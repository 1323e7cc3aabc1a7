// Waiting for one file descriptor, with a stop and a deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/result.h"

namespace ghostip::kernel::nft {

// The end of a wait that began when this was made. Without a time-out there is none.
class WaitUntil {
  public:
    explicit WaitUntil(std::optional<std::chrono::milliseconds> timeout);
    // What poll() takes: whole milliseconds, rounded up, -1 for ever.
    [[nodiscard]] int left() const;

  private:
    std::optional<std::chrono::steady_clock::time_point> end_;
};

enum class Woken : std::uint8_t { kReadable, kStopped, kTimedOut };

// `stop_fd` may be -1. The stop comes first when both are readable.
[[nodiscard]] Result<Woken> wait_readable(int fd, int stop_fd, const WaitUntil& until);

}  // namespace ghostip::kernel::nft
