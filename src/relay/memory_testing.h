// Memory that runs out, for the threads of relays only. The test program that links this has its own operator new,
// which otherwise asks malloc().
#pragma once

#include <atomic>

namespace ghostip::relay::testing {

enum class Failing : int { kNone, kOne, kAllFromThere };

inline std::atomic<Failing> failing = Failing::kNone;
inline std::atomic<int> still_granted = 0;  // so many allocations come before the one that fails
inline std::atomic<int> failures = 0;

}  // namespace ghostip::relay::testing
