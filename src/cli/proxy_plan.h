// From settings to what the agent is made of; nothing is asked of the kernel.
#pragma once

#include "base/result.h"
#include "cli/proxy_settings.h"
#include "dataplane/dataplane.h"
#include "plan/node.h"

namespace ghostip::cli {

// What the settings, validated, mean for the agent.
struct ProxyPlan {
    const dataplane::Mode* mode = nullptr;
    dataplane::Options options;
    plan::NodeSettings node;
};
// An error: the mode does not exist yet, or a value is wrong that only ghostip minds.
[[nodiscard]] Result<ProxyPlan> plan_proxy(const ProxySettings& settings);

}  // namespace ghostip::cli
