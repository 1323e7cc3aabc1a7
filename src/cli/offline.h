// A plan made from manifests alone, for commands that only look.
#pragma once

#include <memory>
#include <vector>

#include "api/objects.h"
#include "base/result.h"
#include "cli/options.h"
#include "plan/planner.h"

namespace ghostip::cli {

struct Offline {
    NodeOptions options;
    std::vector<api::Change> objects;
    std::vector<plan::Plan> plans;  // IPv4, IPv6
    bool had_errors = false;        // in manifests; they were printed to standard error

    [[nodiscard]] const plan::Plan& of(net::Family family) const { return plans[family == net::Family::kIpv4 ? 0 : 1]; }
};

// The node's addresses are those of its Node object; this host's own join them if they share one, or if there is no
// such Node object.
[[nodiscard]] Result<Offline> plan_offline(const NodeFlags& flags);

}  // namespace ghostip::cli
