// A journey for people and for programs.
#pragma once

#include <functional>
#include <string>

#include "plan/explain.h"

namespace ghostip::cli {

// Where a remote endpoint runs; empty if not known.
using NodeOf = std::function<std::string(const plan::Endpoint&)>;

// Four steps: match, select, rewrite, route.
[[nodiscard]] std::string journey_text(const plan::Journey& journey, const plan::NodeRules& node,
                                       const NodeOf& node_of);
// The same as one JSON object, with fields match, select, rewrite, route.
[[nodiscard]] std::string journey_json(const plan::Journey& journey, const plan::NodeRules& node,
                                       const NodeOf& node_of);

}  // namespace ghostip::cli
