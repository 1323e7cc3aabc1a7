// What we plan for the objects and flags of a recording.
#pragma once

#include <string>

#include "base/result.h"
#include "plan/node.h"
#include "plan/plan.h"
#include "recorded/recordings.h"

namespace ghostip::recorded {

// `mode` as --proxy-mode takes it. Error: also a problem in the manifests.
[[nodiscard]] Result<plan::Plan> plan_of(const Recording& recording, const std::string& mode, net::Family family,
                                         plan::HostFacts host);

}  // namespace ghostip::recorded
