// What follows from changes of the plan once the kernel has them: it waits with them, goes along with the call that
// brings them, and comes back with it if that fails. A value of the loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "plan/merged_delta.h"
#include "plan/stale_flows.h"

namespace ghostip::agent {

struct Following {
    plan::StaleFlows flows;       // UDP flows that the old rules made
    plan::MergedDelta for_ports;  // what concerns the health-check node ports: their Services and the node's addresses
    std::uint64_t services = 0;   // changes, for kube-proxy's metrics
    std::uint64_t endpoint_slices = 0;
    // Since when the first of them is on its way, and how long planning took; unknown for another try.
    std::optional<std::chrono::steady_clock::time_point> since;
    std::chrono::duration<double> planning{0};

    // Of the plan's next change.
    void add(const plan::Delta& delta, plan::StaleFlows stale) {
        flows.merge(std::move(stale));
        plan::Delta ports;
        ports.health_checks = delta.health_checks;
        ports.node_rules = delta.node_rules;
        for_ports.add(ports);
    }
    // `later` came after all that is in here.
    void add(Following later) {
        flows.merge(std::move(later.flows));
        for_ports.add(later.for_ports.delta());
        services += later.services;
        endpoint_slices += later.endpoint_slices;
        if (!since) since = later.since;
        planning += later.planning;
    }
};

}  // namespace ghostip::agent
