// The client's own rate limit: `qps` requests a second on average, `burst` at once (client-go's flow control).
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace ghostip::source::kubernetes {

class TokenBucket {
  public:
    using Time = std::chrono::steady_clock::time_point;
    using Seconds = std::chrono::duration<double>;

    // qps below 0: no limit. 0: client-go's defaults of 5 and 10.
    TokenBucket(double qps, int burst) : qps_(qps == 0 ? 5 : qps), burst_(qps == 0 || burst < 1 ? 10 : burst) {}

    // Takes a token, perhaps one that is not there yet: until when to wait for it.
    [[nodiscard]] Time take(Time now) {
        if (qps_ < 0) return now;
        if (last_) tokens_ += std::max(0.0, Seconds(now - *last_).count() * qps_);
        tokens_ = std::min<double>(burst_, tokens_) - 1;
        last_ = last_ ? std::max(*last_, now) : now;
        if (tokens_ >= 0) return now;
        return now + std::chrono::duration_cast<Time::duration>(Seconds(-tokens_ / qps_));
    }

  private:
    const double qps_;
    const int burst_;
    double tokens_ = burst_;  // below 0: promised to those who wait
    std::optional<Time> last_;
};

}  // namespace ghostip::source::kubernetes
