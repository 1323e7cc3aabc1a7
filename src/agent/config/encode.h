// KubeProxyConfiguration -> text, as kube-proxy writes it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/config/configuration.h"

namespace ghostip::agent::config {

// The whole object with apiVersion and kind: YAML with sorted keys for --write-config-to, JSON on one line for
// /configz.
//
// Periods and masqueradeAll stand only in the section of the mode, the other sections have zeros. A minSyncPeriod that
// nobody named is written as 0s, which is read back as nobody having named it.
[[nodiscard]] std::string to_yaml(const KubeProxyConfiguration& config);
[[nodiscard]] std::string to_json(const KubeProxyConfiguration& config);

// Fields and flags that ghostip takes and that change nothing here, of those that are not at their default: their paths
// (`ipvs.scheduler`), in the order of the fields.
[[nodiscard]] std::vector<std::string> without_meaning(const KubeProxyConfiguration& config);

}  // namespace ghostip::agent::config
