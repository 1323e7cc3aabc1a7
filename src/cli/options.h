// Flags that several commands share: what they mean for the node. Names are kube-proxy's where it has them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/node.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace ghostip::cli {

struct NodeFlags {
    std::string manifests;
    std::string proxy_mode = "nftables";
    std::string hostname_override;
    std::vector<std::string> cluster_cidr;
    std::vector<std::string> nodeport_addresses;
    std::string detect_local_mode = "ClusterCIDR";
    std::string pod_bridge_interface;
    std::string pod_interface_name_prefix;
    std::string bind_address;
    std::vector<std::string> allowed_external_ips;
    bool masquerade_all = false;
    int masquerade_bit = 14;
};

void add_node_flags(CLI::App& command, NodeFlags& flags);

struct NodeOptions {
    plan::NodeSettings settings;
    const dataplane::Mode* mode;
};

// Checked values; the error names the flag and the value.
[[nodiscard]] Result<NodeOptions> node_options(const NodeFlags& flags);

}  // namespace ghostip::cli
