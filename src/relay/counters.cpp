#include "relay/counters.h"

#include <algorithm>

namespace ghostip::relay {

void Counters::ended_after(std::chrono::steady_clock::duration duration) {
    const double seconds = std::chrono::duration<double>(duration).count();
    const auto* const bound = std::lower_bound(kDurationBounds.begin(), kDurationBounds.end(), seconds);
    durations[static_cast<std::size_t>(bound - kDurationBounds.begin())].add();
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
    duration_microseconds.add(static_cast<std::uint64_t>(microseconds));
}

void Counters::add_to(ServiceMetrics& sum) const {
    sum.connections_opened += connections_opened.get();
    sum.connections_open += connections_open.get();
    sum.connections_drained += connections_drained.get();
    for (std::size_t i = 0; i < refused.size(); ++i) sum.refused[i] += refused[i].get();
    sum.dial_failures += dial_failures.get();
    sum.dial_timeouts += dial_timeouts.get();
    sum.bytes_to_endpoints += bytes_to_endpoints.get();
    sum.bytes_to_clients += bytes_to_clients.get();
    for (std::size_t i = 0; i < durations.size(); ++i) sum.durations[i] += durations[i].get();
    sum.duration_seconds += static_cast<double>(duration_microseconds.get()) / 1e6;
    sum.sessions_opened += sessions_opened.get();
    sum.sessions_open += sessions_open.get();
    sum.datagrams_to_endpoints += datagrams_to_endpoints.get();
    sum.datagrams_to_clients += datagrams_to_clients.get();
    for (std::size_t i = 0; i < datagrams_lost.size(); ++i) sum.datagrams_lost[i] += datagrams_lost[i].get();
}

}  // namespace ghostip::relay
