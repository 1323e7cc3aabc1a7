// A journey for people and for programs.
#pragma once

#include <functional>
#include <string>

#include "dataplane/dataplane.h"
#include "plan/explain.h"

namespace ghostip::cli {

// Where a remote endpoint runs; empty if not known.
using NodeOf = std::function<std::string(const plan::Endpoint&)>;

// What there is to know beside the journey.
struct Surroundings {
    const plan::NodeRules& node;
    NodeOf node_of;
    std::string scheduler;                      // of service ports that name none, in modes that schedule
    const dataplane::Sighting* seen = nullptr;  // what the kernel holds for it; null if nobody looked
};

// Four steps: match, select, rewrite, route.
[[nodiscard]] std::string journey_text(const plan::Journey& journey, const Surroundings& around);
// The same as one JSON object, with fields match, select, rewrite, route, and live if somebody looked.
[[nodiscard]] std::string journey_json(const plan::Journey& journey, const Surroundings& around);

}  // namespace ghostip::cli
