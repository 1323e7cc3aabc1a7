// Packets and bytes of each service port of one family, since the dataplane began to count: what it counts for
// destinations, added up for who owns them. Not exact at the edges; docs/metrics.md says where.
//
// The loop says who owns what, whoever reads asks for the sums; neither waits for the kernel on the other's behalf. A
// sum never becomes less while its service port lives.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace ghostip::agent {

class ServiceCounters {
  public:
    using Clock = std::chrono::steady_clock;
    struct Sum {
        plan::ServicePortName name;
        std::uint64_t packets = 0;
        std::uint64_t bytes = 0;
    };

    // `read` is asked once in `kAtMostEvery`, however often sums() is. It must not be empty.
    ServiceCounters(net::Family family, dataplane::Dataplane::CountReader read,
                    std::function<Clock::time_point()> clock = Clock::now);
    static constexpr std::chrono::milliseconds kAtMostEvery{1000};

    // On the loop's thread.
    void apply(const plan::Delta& delta);
    // From any thread; slow. In the order of their names; what was last known where it cannot be read.
    [[nodiscard]] std::vector<Sum> sums();

  private:
    using SumPtr = std::shared_ptr<Sum>;  // its name never changes; its numbers are guarded by reading_
    struct Destination {
        SumPtr owner;               // null: nobody, any more; kept while the kernel may still count it
        std::uint64_t packets = 0;  // as last read
        std::uint64_t bytes = 0;
        std::uint32_t reading = 0;  // which saw it last
    };
    void read();
    void take(const dataplane::DestinationCounts& counts);
    void take(const dataplane::DestinationCount& count);
    void note_what_is_gone();

    const net::Family family_;
    const dataplane::Dataplane::CountReader read_;
    const std::function<Clock::time_point()> clock_;

    std::mutex reading_;                            // taken before mutex_
    Clock::time_point next_reading_{};              // guarded by reading_
    std::uint32_t readings_ = 0;                    // guarded by reading_
    std::size_t seen_ = 0;                          // guarded by reading_; destinations that the last one saw
    bool failing_ = false;                          // guarded by reading_
    std::mutex mutex_;                              // never held for long: the loop waits for it
    std::map<plan::ServicePortName, SumPtr> sums_;  // guarded by mutex_
    std::unordered_map<plan::DestinationKey, Destination> destinations_;  // guarded by mutex_
};

}  // namespace ghostip::agent
