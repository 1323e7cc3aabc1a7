// What a KubeProxyConfiguration holds where nobody said anything.
#pragma once

#include <cstdint>
#include <string>

#include "agent/config/configuration.h"

namespace ghostip::agent::config {

inline constexpr std::int32_t kHealthzPort = 10256;
inline constexpr std::int32_t kMetricsPort = 10249;

// Those of v1alpha1, for what is absent or zero; an address without a port gets the usual one.
void apply_defaults(KubeProxyConfiguration& config);
[[nodiscard]] KubeProxyConfiguration default_configuration();

// Those of Linux, once the mode is known: node ports are on the node's primary addresses in nftables mode, and local
// pods are told by ClusterCIDR.
void apply_platform_defaults(KubeProxyConfiguration& config);

// `10.0.0.1` -> `10.0.0.1:PORT`, `::1` -> `[::1]:PORT`; anything else stays.
[[nodiscard]] std::string with_port(const std::string& address, std::int32_t port);

}  // namespace ghostip::agent::config
