// A journey for people and for programs.
#pragma once

#include <functional>
#include <string>

#include "dataplane/dataplane.h"
#include "plan/explain.h"

namespace ghostip::cli {

// Where a remote endpoint runs; empty if not known.
using NodeOf = std::function<std::string(const plan::Endpoint&)>;

// Four steps: match, select, rewrite, route. `seen`: what the kernel holds for it; null if nobody looked.
[[nodiscard]] std::string journey_text(const plan::Journey& journey, const plan::NodeRules& node, const NodeOf& node_of,
                                       const dataplane::Sighting* seen);
// The same as one JSON object, with fields match, select, rewrite, route, and live if somebody looked.
[[nodiscard]] std::string journey_json(const plan::Journey& journey, const plan::NodeRules& node, const NodeOf& node_of,
                                       const dataplane::Sighting* seen);

}  // namespace ghostip::cli
