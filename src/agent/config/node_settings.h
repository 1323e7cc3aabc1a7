// From a configuration to what the plan and the dataplanes need to know of it.
#pragma once

#include <string>
#include <vector>

#include "agent/config/configuration.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/node.h"

namespace ghostip::agent::config {

// This node's name: hostnameOverride, else the kernel's name for the host; trimmed, in lower case, never empty.
[[nodiscard]] Result<std::string> node_name(const KubeProxyConfiguration& config);

// `allowed_external_ips` are ghostip's own: `10.1.0.0/16` for every namespace, `team-a=192.0.2.0/24` for one. The
// configuration has passed validation and has Linux' defaults; an error names the field or flag, and the value.
[[nodiscard]] Result<plan::NodeSettings> node_settings(const KubeProxyConfiguration& config,
                                                       const std::vector<std::string>& allowed_external_ips);

// nodePortAddresses has the word `localhost`, and the mode is one that serves node ports there by a relay.
[[nodiscard]] bool relays_localhost(const KubeProxyConfiguration& config);

// nodePortAddresses for the rules of the kernel: ranges, or the word `primary`.
[[nodiscard]] std::vector<std::string> node_port_ranges(const KubeProxyConfiguration& config);

// `ipvs`. Timeouts below a second are one.
[[nodiscard]] Result<dataplane::IpvsOptions> ipvs_options(const IpvsConfiguration& config);

}  // namespace ghostip::agent::config
