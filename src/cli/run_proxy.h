// The node agent, wired together and run.
#pragma once

#include "base/result.h"
#include "cli/proxy_plan.h"
#include "cli/proxy_settings.h"

namespace ghostip::cli {

// --init-only: what needs more than CAP_NET_ADMIN, and a look whether this host can do the mode.
[[nodiscard]] Result<void> initialize_only(const ProxySettings& settings, const ProxyPlan& plan);

// Returns when the agent ends: after one sync (--once), a signal, or (an error) a change of the configuration file.
[[nodiscard]] Result<void> run_proxy(ProxySettings settings, ProxyPlan plan);

}  // namespace ghostip::cli
