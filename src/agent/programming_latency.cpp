#include "agent/programming_latency.h"

#include <memory>
#include <utility>
#include <variant>

namespace ghostip::agent {

void ProgrammingLatency::take(const std::vector<api::Change>& changes,
                              const std::unordered_set<plan::ServiceName>& planned) {
    const auto wanted = family_ == net::Family::kIpv4 ? api::AddressType::kIpv4 : api::AddressType::kIpv6;
    for (const auto& change : changes) {
        if (change.key.kind != api::Kind::kEndpointSlice || !change.object) continue;
        const auto& slice = *std::get<std::shared_ptr<const api::EndpointSlice>>(*change.object);
        const auto& time = slice.last_change_trigger_time;
        if (slice.address_type != wanted || !time || *time <= created_) continue;
        const plan::ServiceName service{slice.namespace_, slice.service_name};
        if (planned.contains(service)) times_[service].push_back(*time);
    }
}

void ProgrammingLatency::sync_began() {
    for (const auto& [service, times] : std::exchange(times_, {}))
        under_way_.insert(under_way_.end(), times.begin(), times.end());
}

std::vector<double> ProgrammingLatency::sync_succeeded(WallTime now) {
    std::vector<double> seconds;
    for (const auto time : std::exchange(under_way_, {}))
        seconds.push_back(std::chrono::duration<double>(now - time).count());
    return seconds;
}

}  // namespace ghostip::agent
