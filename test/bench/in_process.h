// The planner and the dataplane without the process around them: what a change costs, and how long each transaction is.
#pragma once

#include <cstdint>
#include <filesystem>

#include "bench/world.h"

namespace ghostip::bench {

// Milliseconds.
struct ChangeFigures {
    double decode = 0;               // read the manifest
    double plan = 0;                 // plan all of it
    double program = 0;              // into the kernel
    double transactions = 0;         // of that
    double longest_transaction = 0;  // of that: from the batch in hand to the kernel's answer
    double change_p50 = 0;           // one endpoint replaced: from the event in hand to the kernel's answer
    double change_p99 = 0;
    double change_plan_p50 = 0;  // the planner's part of it
    double burst = 0;            // 1,000 slices with one endpoint replaced, handed over together
    double burst_transactions = 0;
    double added = 0;  // 1,000 Services and their slices, handed over together
    double added_transactions = 0;
    double longest_later = 0;  // the longest transaction of all these changes
};

enum class With : std::uint8_t { kKernel, kPlannerAlone };

// In a child process and a network namespace of its own. `more` is a manifest of 1,000 Services that are not in
// `manifest`. As in the running proxy, somebody listens to the kernel's notifications while changes are made.
[[nodiscard]] ChangeFigures measure_changes(const std::filesystem::path& manifest, const std::filesystem::path& more,
                                            With with);

}  // namespace ghostip::bench
