// How long after a change of an endpoint in the cluster the kernel knew: network_programming_duration_seconds.
//
// The endpoint slice controller notes on a slice when what it reflects happened. Kubernetes' rule: a time counts when
// the change of the slice changes something here and is later than our start; a slice that goes takes the times of its
// Service with it; times are observed by the next sync that succeeds and lost by one that fails. Belongs to one
// family's loop.
#pragma once

#include <chrono>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "plan/service_port.h"

namespace ghostip::agent {

class ProgrammingLatency {
  public:
    using WallTime = std::chrono::system_clock::time_point;

    ProgrammingLatency(net::Family family, WallTime created) : family_(family), created_(created) {}

    // A slice of this Service went.
    void forget(const plan::ServiceName& service) { times_.erase(service); }
    // `planned`: the Services whose plan these changes changed.
    void take(const std::vector<api::Change>& changes, const std::unordered_set<plan::ServiceName>& planned);
    // What was taken goes with this sync, which ends in one of the two ways.
    void sync_began();
    void sync_failed() { under_way_.clear(); }
    // What is to be observed, in seconds.
    [[nodiscard]] std::vector<double> sync_succeeded(WallTime now);

  private:
    const net::Family family_;
    const WallTime created_;
    std::unordered_map<plan::ServiceName, std::vector<WallTime>> times_;
    std::vector<WallTime> under_way_;
};

}  // namespace ghostip::agent
