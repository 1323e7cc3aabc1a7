// Removes UDP flows that a change of the plan made wrong, on a thread of its own: listing conntrack takes a tenth
// of a second at 500,000 entries, whatever is looked for.
//
// What is handed in waits in a queue of one place for each family, where a later word about a destination replaces the
// earlier one: a slow kernel makes flows go later, never the queue grow beyond the destinations there are. All
// functions may be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernel/conntrack/conntrack.h"
#include "plan/stale_flows.h"

namespace ghostip::agent {

struct FlowCleanerConfig {
    // Up to so many lists with a narrow filter are asked for; beyond, one of all UDP flows; 0: always that one. The
    // kernel walks its whole table for each list, since it has no index by destination: at 500,000 entries a tenth of
    // the work of copying every UDP flow out (test/bench/bench_conntrack.cpp). But it walks in one go for as long as
    // nothing matches, and until then nothing else runs on that processor: 80 ms there on Linux 6.18, where the long
    // list lets others in every 0.7 ms. Who minds that more than the work sets 0.
    std::size_t max_narrow_lists = 4;
    // From the end of one run to the start of the next, so that a stream of changes shares walks.
    std::chrono::milliseconds min_interval{100};
    // What failed is tried again this much later, so many times in all.
    std::chrono::milliseconds retry_interval{1000};
    int attempts = 5;
    // After each run of a family, from the cleaner's thread: how long it took, and how many flows it removed.
    std::function<void(net::Family, std::chrono::duration<double>, std::uint64_t removed)> on_run = nullptr;
};

struct FlowCleanerCounts {
    std::uint64_t removed = 0;    // flows
    std::uint64_t dumps = 0;      // lists that the kernel gave
    std::uint64_t failures = 0;   // runs that did not do all they should
    std::uint64_t abandoned = 0;  // runs that were not tried again
};

// What to ask the kernel for, so that everything in `stale` can be found.
[[nodiscard]] std::vector<kernel::conntrack::Filter> filters_for(net::Family family, const plan::StaleFlows& stale,
                                                                 std::size_t max_narrow_lists);

class FlowCleaner {
  public:
    explicit FlowCleaner(std::unique_ptr<kernel::conntrack::Conntrack> conntrack, FlowCleanerConfig config = {});
    ~FlowCleaner();
    FlowCleaner(const FlowCleaner&) = delete;
    FlowCleaner& operator=(const FlowCleaner&) = delete;

    // To be called after the rules that go with it are in place: before, a flow that is removed would come back wrong.
    void submit(net::Family family, plan::StaleFlows stale);
    // Waits until all that was handed in is done or given up. False: it was not within this time.
    [[nodiscard]] bool wait_idle(std::chrono::milliseconds limit);
    // Ends the thread after the kernel call it is in; what waits is dropped (the next start checks everything). Again
    // is fine.
    void stop();
    [[nodiscard]] FlowCleanerCounts counts() const;

  private:
    using Clock = std::chrono::steady_clock;
    using Work = std::map<net::Family, plan::StaleFlows>;

    void run();
    [[nodiscard]] bool made_right_by_now(net::Family family, const kernel::conntrack::Entry& entry);
    [[nodiscard]] Result<void> clean(net::Family family, const plan::StaleFlows& stale);
    void settle(net::Family family, plan::StaleFlows stale, const Result<void>& result);  // with mutex_ held

    const FlowCleanerConfig config_;
    const std::unique_ptr<kernel::conntrack::Conntrack> conntrack_;  // used by the thread alone
    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> removed_ = 0;
    std::atomic<std::uint64_t> dumps_ = 0;
    std::atomic<std::uint64_t> failures_ = 0;
    std::atomic<std::uint64_t> abandoned_ = 0;

    std::mutex mutex_;
    std::condition_variable changed_;
    Work waiting_;                         // guarded by mutex_
    bool busy_ = false;                    // guarded by mutex_
    Clock::time_point not_before_;         // of the next run; guarded by mutex_
    std::map<net::Family, int> attempts_;  // failed ones in a row; guarded by mutex_

    std::mutex stopping_;  // held while joining
    std::thread thread_;   // last: it uses the rest
};

}  // namespace ghostip::agent
