// How long to wait before the next try: 800 ms, doubling up to 30 s, each stretched by up to as much again so that
// nodes do not come back in step (client-go's reflector). Starts anew when the last step is over two minutes ago.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace ghostip::source::kubernetes {

using Clock = std::chrono::steady_clock;

class Backoff {
  public:
    // `random` is in [0, 1).
    [[nodiscard]] Clock::duration step(Clock::time_point now, double random) {
        using namespace std::chrono_literals;
        if (last_ && now - *last_ > 2min) next_ = kFirst;
        last_ = now;
        const auto delay = next_;
        next_ = std::min<Clock::duration>(next_ * 2, 30s);
        return delay + std::chrono::duration_cast<Clock::duration>(delay * random);
    }

  private:
    static constexpr Clock::duration kFirst = std::chrono::milliseconds(800);
    Clock::duration next_ = kFirst;
    std::optional<Clock::time_point> last_;
};

}  // namespace ghostip::source::kubernetes
