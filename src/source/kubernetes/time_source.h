// The two clocks that a client needs; tests bring their own.
#pragma once

#include <chrono>
#include <functional>

namespace ghostip::source::kubernetes {

struct TimeSource {
    std::function<std::chrono::steady_clock::time_point()> steady = std::chrono::steady_clock::now;
    // For times that others wrote down (when a credential expires).
    std::function<std::chrono::system_clock::time_point()> wall = std::chrono::system_clock::now;
};

}  // namespace ghostip::source::kubernetes
