// KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1: one struct a section, with the fields in the order and
// under the names that Kubernetes has for them. What is read, written and compared goes through each struct's fields(),
// so that a field is named once. A value, without opinions: see defaults.h, validate.h, node_settings.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config/feature_gates.h"
#include "agent/config/scalars.h"

namespace ghostip::agent::config {

inline constexpr std::string_view kApiVersion = "kubeproxy.config.k8s.io/v1alpha1";
inline constexpr std::string_view kKind = "KubeProxyConfiguration";

// What is left out when written, if empty (Go's omitempty).
enum class Empty : std::uint8_t { kWritten, kLeftOut };

struct ClientConnection {
    std::string kubeconfig;
    std::string accept_content_types;
    std::string content_type;
    float qps = 0;
    std::int32_t burst = 0;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("kubeconfig", self.kubeconfig);
        visit("acceptContentTypes", self.accept_content_types);
        visit("contentType", self.content_type);
        visit("qps", self.qps);
        visit("burst", self.burst);
    }
};

struct VmoduleItem {
    std::string file_pattern;
    std::uint32_t verbosity = 0;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("filePattern", self.file_pattern);
        visit("verbosity", self.verbosity);
    }
    friend bool operator==(const VmoduleItem&, const VmoduleItem&) = default;
};

struct OutputRouting {
    bool split_stream = false;
    Quantity info_buffer_size;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("splitStream", self.split_stream, Empty::kLeftOut);
        visit("infoBufferSize", self.info_buffer_size);
    }
};

struct FormatOptions {
    OutputRouting text;
    OutputRouting json;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("text", self.text);
        visit("json", self.json);
    }
};

// Text, or a number of nanoseconds; written as it was read.
struct FlushFrequency {
    Duration duration{0};
    bool as_number = false;
};

struct Logging {
    std::string format;
    FlushFrequency flush_frequency;
    std::uint32_t verbosity = 0;
    std::vector<VmoduleItem> vmodule;
    FormatOptions options;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("format", self.format, Empty::kLeftOut);
        visit("flushFrequency", self.flush_frequency);
        visit("verbosity", self.verbosity);
        visit("vmodule", self.vmodule, Empty::kLeftOut);
        visit("options", self.options);
    }
};

// The least pause between syncs. There is none unless somebody asks for it: 0 in a file is the same as saying nothing,
// as it is for kube-proxy (which then waits for a second).
struct MinSyncPeriod {
    std::optional<Duration> named;
};

struct IptablesConfiguration {
    std::optional<std::int32_t> masquerade_bit;
    bool masquerade_all = false;
    std::optional<bool> localhost_node_ports;
    Duration sync_period{0};
    MinSyncPeriod min_sync_period;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("masqueradeBit", self.masquerade_bit);
        visit("masqueradeAll", self.masquerade_all);
        visit("localhostNodePorts", self.localhost_node_ports);
        visit("syncPeriod", self.sync_period);
        visit("minSyncPeriod", self.min_sync_period);
    }
};

struct IpvsConfiguration {
    Duration sync_period{0};
    MinSyncPeriod min_sync_period;
    std::string scheduler;
    std::vector<std::string> exclude_cidrs;
    bool strict_arp = false;
    Duration tcp_timeout{0};
    Duration tcp_fin_timeout{0};
    Duration udp_timeout{0};

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("syncPeriod", self.sync_period);
        visit("minSyncPeriod", self.min_sync_period);
        visit("scheduler", self.scheduler);
        visit("excludeCIDRs", self.exclude_cidrs);
        visit("strictARP", self.strict_arp);
        visit("tcpTimeout", self.tcp_timeout);
        visit("tcpFinTimeout", self.tcp_fin_timeout);
        visit("udpTimeout", self.udp_timeout);
    }
};

struct NftablesConfiguration {
    std::optional<std::int32_t> masquerade_bit;
    bool masquerade_all = false;
    Duration sync_period{0};
    MinSyncPeriod min_sync_period;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("masqueradeBit", self.masquerade_bit);
        visit("masqueradeAll", self.masquerade_all);
        visit("syncPeriod", self.sync_period);
        visit("minSyncPeriod", self.min_sync_period);
    }
};

// Windows only.
struct WinkernelConfiguration {
    std::string network_name;
    std::string source_vip;
    bool enable_dsr = false;
    std::string root_hns_endpoint_name;
    bool forward_health_check_vip = false;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("networkName", self.network_name);
        visit("sourceVip", self.source_vip);
        visit("enableDSR", self.enable_dsr);
        visit("rootHnsEndpointName", self.root_hns_endpoint_name);
        visit("forwardHealthCheckVip", self.forward_health_check_vip);
    }
};

struct DetectLocalConfiguration {
    std::string bridge_interface;
    std::string interface_name_prefix;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("bridgeInterface", self.bridge_interface);
        visit("interfaceNamePrefix", self.interface_name_prefix);
    }
};

struct ConntrackConfiguration {
    std::optional<std::int32_t> max_per_core;
    std::optional<std::int32_t> min;
    std::optional<Duration> tcp_established_timeout;
    std::optional<Duration> tcp_close_wait_timeout;
    bool tcp_be_liberal = false;
    Duration udp_timeout{0};
    Duration udp_stream_timeout{0};

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("maxPerCore", self.max_per_core);
        visit("min", self.min);
        visit("tcpEstablishedTimeout", self.tcp_established_timeout);
        visit("tcpCloseWaitTimeout", self.tcp_close_wait_timeout);
        visit("tcpBeLiberal", self.tcp_be_liberal);
        visit("udpTimeout", self.udp_timeout);
        visit("udpStreamTimeout", self.udp_stream_timeout);
    }
};

struct KubeProxyConfiguration {
    GateSettings feature_gates;
    ClientConnection client_connection;
    Logging logging;
    std::string hostname_override;
    std::string bind_address;
    std::string healthz_bind_address;
    std::string metrics_bind_address;
    bool bind_address_hard_fail = false;
    bool enable_profiling = false;
    std::string show_hidden_metrics_for_version;
    std::string mode;
    IptablesConfiguration iptables;
    IpvsConfiguration ipvs;
    NftablesConfiguration nftables;
    WinkernelConfiguration winkernel;
    std::string detect_local_mode;
    DetectLocalConfiguration detect_local;
    std::string cluster_cidr;
    std::vector<std::string> node_port_addresses;
    std::optional<std::int32_t> oom_score_adj;
    ConntrackConfiguration conntrack;
    Duration config_sync_period{0};
    std::string port_range;
    bool windows_run_as_service = false;

    template <typename Self, typename Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("featureGates", self.feature_gates, Empty::kLeftOut);
        visit("clientConnection", self.client_connection);
        visit("logging", self.logging);
        visit("hostnameOverride", self.hostname_override);
        visit("bindAddress", self.bind_address);
        visit("healthzBindAddress", self.healthz_bind_address);
        visit("metricsBindAddress", self.metrics_bind_address);
        visit("bindAddressHardFail", self.bind_address_hard_fail);
        visit("enableProfiling", self.enable_profiling);
        visit("showHiddenMetricsForVersion", self.show_hidden_metrics_for_version);
        visit("mode", self.mode);
        visit("iptables", self.iptables);
        visit("ipvs", self.ipvs);
        visit("nftables", self.nftables);
        visit("winkernel", self.winkernel);
        visit("detectLocalMode", self.detect_local_mode);
        visit("detectLocal", self.detect_local);
        visit("clusterCIDR", self.cluster_cidr);
        visit("nodePortAddresses", self.node_port_addresses);
        visit("oomScoreAdj", self.oom_score_adj);
        visit("conntrack", self.conntrack);
        visit("configSyncPeriod", self.config_sync_period);
        visit("portRange", self.port_range);
        visit("windowsRunAsService", self.windows_run_as_service, Empty::kLeftOut);
    }
};

// What exists once at run time and thrice in the file: taken from the section of the mode, iptables' where the mode has
// none.
[[nodiscard]] Duration& sync_period(KubeProxyConfiguration& config);
[[nodiscard]] Duration sync_period(const KubeProxyConfiguration& config);
[[nodiscard]] MinSyncPeriod& min_sync_period(KubeProxyConfiguration& config);
[[nodiscard]] MinSyncPeriod min_sync_period(const KubeProxyConfiguration& config);
// ipvs has neither of these two; iptables' count for it.
[[nodiscard]] bool& masquerade_all(KubeProxyConfiguration& config);
[[nodiscard]] bool masquerade_all(const KubeProxyConfiguration& config);
[[nodiscard]] std::int32_t masquerade_bit(const KubeProxyConfiguration& config);

// clusterCIDR, taken apart at its commas; none if it is empty.
[[nodiscard]] std::vector<std::string> cluster_cidrs(const KubeProxyConfiguration& config);

}  // namespace ghostip::agent::config
