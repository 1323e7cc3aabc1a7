// Flags that several commands share: what they mean for the node. Names are kube-proxy's where it has them.
#pragma once

#include <string>
#include <vector>

#include "agent/config/configuration.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/node.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace ghostip::cli {

// Of commands that only look: a few fields of a configuration, each with kube-proxy's flag.
struct NodeFlags {
    std::string manifests;
    agent::config::KubeProxyConfiguration configuration = nftables_configuration();
    std::vector<std::string> allowed_external_ips;
    std::string variant;  // empty: as the host's rules tell
    bool masquerade_all = false;
    int masquerade_bit = 14;

    [[nodiscard]] static agent::config::KubeProxyConfiguration nftables_configuration();
};

void add_node_flags(CLI::App& command, NodeFlags& flags);

struct NodeOptions {
    plan::NodeSettings settings;
    const dataplane::Mode* mode;
    dataplane::Options dataplane;
};

// Checked values; the error names the flag and the value.
[[nodiscard]] Result<NodeOptions> node_options(const NodeFlags& flags);

}  // namespace ghostip::cli
