// Rules in the formats of kube-proxy, so that packets can tell what happens where it and this proxy stand side by side.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"

namespace ghostip::neighbours {

// A Service as kube-proxy may know it: TCP and UDP, external policy Cluster. IPv4 texts.
struct KubeService {
    std::string name;
    std::string cluster_ip;
    std::string external_ip;
    int node_port = 0;
    std::vector<std::string> endpoints;  // none: it refuses
    int port = 80;
    int target_port = 8080;
};

// Its iptables mode, for iptables-restore --noflush, or ip6tables-restore.
[[nodiscard]] std::string kube_proxy_iptables(const std::vector<KubeService>& services, net::Family family);
// Its nftables mode, for nft -f. Node ports on the node's first address.
[[nodiscard]] std::string kube_proxy_nftables(const std::vector<KubeService>& services, net::Family family);

}  // namespace ghostip::neighbours
