// The node agent, wired together and run.
#pragma once

#include "agent/config/configuration.h"
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

// `format_named`: by a flag. As `ghostip proxy`, klog's formats are only for who asks for them.
[[nodiscard]] Result<void> set_up_logging(Invocation invocation, const agent::config::Logging& logging,
                                          bool format_named);

// --init-only: what needs more than CAP_NET_ADMIN, and a look whether this host can do the mode.
[[nodiscard]] Result<void> initialize_only(const ProxySettings& settings, const ProxyPlan& plan);

// Returns when the agent ends: after one sync (--once), a signal, or (an error) a change of the configuration file.
[[nodiscard]] Result<void> run_proxy(ProxySettings settings, ProxyPlan plan);

}  // namespace ghostip::cli
