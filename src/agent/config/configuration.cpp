#include "agent/config/configuration.h"

namespace ghostip::agent::config {

Duration& sync_period(KubeProxyConfiguration& config) {
    if (config.mode == "ipvs") return config.ipvs.sync_period;
    return config.mode == "nftables" ? config.nftables.sync_period : config.iptables.sync_period;
}

Duration sync_period(const KubeProxyConfiguration& config) {
    if (config.mode == "ipvs") return config.ipvs.sync_period;
    return config.mode == "nftables" ? config.nftables.sync_period : config.iptables.sync_period;
}

MinSyncPeriod& min_sync_period(KubeProxyConfiguration& config) {
    if (config.mode == "ipvs") return config.ipvs.min_sync_period;
    return config.mode == "nftables" ? config.nftables.min_sync_period : config.iptables.min_sync_period;
}

MinSyncPeriod min_sync_period(const KubeProxyConfiguration& config) {
    if (config.mode == "ipvs") return config.ipvs.min_sync_period;
    return config.mode == "nftables" ? config.nftables.min_sync_period : config.iptables.min_sync_period;
}

bool& masquerade_all(KubeProxyConfiguration& config) {
    return config.mode == "nftables" ? config.nftables.masquerade_all : config.iptables.masquerade_all;
}

bool masquerade_all(const KubeProxyConfiguration& config) {
    return config.mode == "nftables" ? config.nftables.masquerade_all : config.iptables.masquerade_all;
}

std::int32_t masquerade_bit(const KubeProxyConfiguration& config) {
    constexpr std::int32_t kDefault = 14;
    return (config.mode == "nftables" ? config.nftables.masquerade_bit : config.iptables.masquerade_bit)
        .value_or(kDefault);
}

std::vector<std::string> cluster_cidrs(const KubeProxyConfiguration& config) {
    return config.cluster_cidr.empty() ? std::vector<std::string>() : split(config.cluster_cidr, ',');
}

}  // namespace ghostip::agent::config
