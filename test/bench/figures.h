// Small things that all benchmarks need: time, order statistics, giving up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ghostip::bench {

using Clock = std::chrono::steady_clock;

inline double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }
inline double milliseconds_since(Clock::time_point start) { return milliseconds(Clock::now() - start); }

// The value below which this fraction of all lies; 0 if there is none.
inline double percentile(std::vector<double> values, double fraction) {
    if (values.empty()) return 0;
    const auto at =
        std::min(values.size() - 1, static_cast<std::size_t>(fraction * static_cast<double>(values.size())));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
    return values[at];
}
inline double median(std::vector<double> values) { return percentile(std::move(values), 0.5); }

// A benchmark that cannot measure says why and ends.
template <typename T>
T must(Result<T> result) {
    if (result) return std::move(result).value();
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
}
inline void must(const Result<void>& result) {
    if (result) return;
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
}

}  // namespace ghostip::bench
