// Memory that runs out, for the threads of relays only. The test program that links this has its own operator new,
// which otherwise asks malloc().
#pragma once

#include <atomic>
#include <cstddef>

namespace ghostip::relay::testing {

enum class Failing : int { kNone, kOne, kAllFromThere };

inline std::atomic<Failing> failing = Failing::kNone;
inline std::atomic<int> still_granted = 0;  // so many allocations come before the one that fails
inline std::atomic<int> failures = 0;

// As operator new does: null where it fails.
[[nodiscard]] void* allocate(std::size_t size) noexcept;

}  // namespace ghostip::relay::testing
