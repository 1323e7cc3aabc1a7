#include "agent/service_counters.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace ghostip::agent {
namespace {

constexpr std::size_t kAtOnce = 1024;  // destinations, while the loop may be waiting

}  // namespace

ServiceCounters::ServiceCounters(net::Family family, dataplane::Dataplane::CountReader read,
                                 std::function<Clock::time_point()> clock)
    : family_(family), read_(std::move(read)), clock_(std::move(clock)) {}

// All losses before all gains: a destination may pass from one service port to another.
void ServiceCounters::apply(const plan::Delta& delta) {
    const std::lock_guard lock(mutex_);
    for (const auto& change : delta.service_ports) {
        if (!change.before) continue;
        for (const auto& destination : change.before->destinations) {
            const auto known = destinations_.find(destination.key);
            if (known != destinations_.end()) known->second.owner = nullptr;
        }
        if (!change.after) sums_.erase(change.before->name);
    }
    for (const auto& change : delta.service_ports) {
        if (!change.after) continue;
        auto& sum = sums_[change.after->name];
        if (!sum) sum = std::make_shared<Sum>(Sum{change.after->name});
        for (const auto& destination : change.after->destinations) destinations_[destination.key].owner = sum;
    }
    // What was never seen in the kernel has nothing that could be counted twice.
    for (const auto& change : delta.service_ports) {
        if (!change.before) continue;
        for (const auto& destination : change.before->destinations) {
            const auto known = destinations_.find(destination.key);
            if (known != destinations_.end() && !known->second.owner && known->second.packets == 0)
                destinations_.erase(known);
        }
    }
}

std::vector<ServiceCounters::Sum> ServiceCounters::sums() {
    const std::lock_guard reading(reading_);
    if (clock_() >= next_reading_) {
        read();
        next_reading_ = clock_() + kAtMostEvery;
    }
    std::vector<SumPtr> all;
    {
        const std::lock_guard lock(mutex_);
        all.reserve(sums_.size());
        for (const auto& [name, sum] : sums_) all.push_back(sum);
    }
    std::vector<Sum> result;
    result.reserve(all.size());
    std::transform(all.begin(), all.end(), std::back_inserter(result), [](const auto& sum) { return *sum; });
    return result;
}

// With reading_ held.
void ServiceCounters::read() {
    const auto counts = read_();
    if (!counts) {
        if (!std::exchange(failing_, true))
            log::warning("{}: counters of Services: {}; the values of before are shown until they can be read again",
                         net::family_name(family_), counts.error().message);
        return;
    }
    if (std::exchange(failing_, false))
        log::info("{}: counters of Services can be read again", net::family_name(family_));
    take(*counts);
}

// With reading_ held. In portions, so that the loop never waits for all of them.
void ServiceCounters::take(const dataplane::DestinationCounts& counts) {
    ++readings_;
    seen_ = 0;
    for (std::size_t from = 0; from < counts.counts.size(); from += kAtOnce) {
        const std::lock_guard lock(mutex_);
        const auto until = std::min(counts.counts.size(), from + kAtOnce);
        for (std::size_t i = from; i < until; ++i) take(counts.counts[i]);
    }
    if (!counts.complete) return;
    const std::lock_guard lock(mutex_);
    if (seen_ < destinations_.size()) note_what_is_gone();
}

// With both held: what is not in the kernel now will begin at 0 when it is there again.
void ServiceCounters::note_what_is_gone() {
    for (auto it = destinations_.begin(); it != destinations_.end();) {
        auto& destination = it->second;
        if (destination.reading == readings_) {
            ++it;
        } else if (destination.owner) {
            destination.packets = 0;
            destination.bytes = 0;
            ++it;
        } else {
            it = destinations_.erase(it);
        }
    }
}

// With both held. Less than before: it was removed and added again, or somebody set it back.
void ServiceCounters::take(const dataplane::DestinationCount& count) {
    const auto found = destinations_.find(count.key);
    if (found == destinations_.end()) return;  // of an older plan, and about to go
    auto& known = found->second;
    const bool began_anew = count.packets < known.packets || count.bytes < known.bytes;
    if (known.owner) {
        known.owner->packets += began_anew ? count.packets : count.packets - known.packets;
        known.owner->bytes += began_anew ? count.bytes : count.bytes - known.bytes;
    }
    known.packets = count.packets;
    known.bytes = count.bytes;
    if (known.reading != readings_) ++seen_;
    known.reading = readings_;
}

}  // namespace ghostip::agent
