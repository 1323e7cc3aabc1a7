// Every flag of `ghostip proxy`: kube-proxy's, and ghostip's own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/config/configuration.h"
#include "agent/config/defaults.h"
#include "cli/flag_set.h"

namespace ghostip::cli {

// Of what carries traffic in this process. Zero is no limit where ghostip has none of its own.
struct RelaySettings {
    std::uint32_t threads = 0;  // 0: one a core
    std::vector<std::string> listen;
    std::string pick = "round-robin";
    bool redirect = true;
    agent::config::Duration drain_timeout{0};  // 0: connections whose endpoint left go on until they end
    agent::config::Duration udp_timeout = std::chrono::seconds(30);
    std::uint32_t max_connections = 65'536;
    std::uint32_t max_connections_per_service = 0;
    std::uint32_t buffer_kib = 256;  // in each direction of a connection
    std::uint32_t backlog = 4'096;
    std::uint32_t max_udp_sessions = 16'384;
    std::uint32_t max_udp_sessions_per_client = 1'024;
    std::string handover_socket = "@ghostip-relay";
};

// What only ghostip has. Flags, not in the configuration file, which is kube-proxy's.
struct OwnSettings {
    std::string manifests;  // empty: objects come from the cluster
    std::string variant;    // of the mode; empty: as the host's rules tell
    std::vector<std::string> allowed_external_ips;
    std::uint32_t commits_per_second = 100;
    std::uint32_t full_check_seconds = 3600;
    bool once = false;
    bool verbose = false;
    // A list from the API server that would remove more than this share of all destinations and more than so many is
    // held, asked for again, and applied if confirmed or after the delay.
    std::uint32_t mass_removal_percent = 30;
    std::uint32_t mass_removal_count = 20;
    agent::config::Duration mass_removal_delay = std::chrono::minutes(5);
    // A watch without a sign of life for so long is opened anew.
    agent::config::Duration watch_stall_limit = std::chrono::minutes(3);
    bool service_counters = false;         // packets and bytes of each service port, on /metrics
    bool seccomp = true;                   // refuse itself system calls that it does not need
    bool remove_kube_proxy_rules = false;  // once the first sync is done
    // False: `--metrics-bind-address ""` under ghostip's own name. kube-proxy always has a metrics page.
    bool serve_metrics = true;
    RelaySettings relay;
};

enum class VersionRequest : std::uint8_t { kNone, kPrint, kRaw };

// As the command line has them, not yet made one with a configuration file.
struct ProxyFlags {
    agent::config::KubeProxyConfiguration configuration = agent::config::default_configuration();
    OwnSettings own;

    std::string config_file;
    std::string write_config_to;
    std::string master;
    std::string hostname_override;
    bool cleanup = false;
    bool init_only = false;
    VersionRequest version = VersionRequest::kNone;
    std::string reported_version;  // empty: the one that ghostip stands in for

    // Where they belong depends on the mode.
    bool masquerade_all = false;
    agent::config::Duration iptables_sync_period = std::chrono::seconds(30);
    agent::config::Duration iptables_min_sync_period = std::chrono::seconds(1);
    agent::config::Duration ipvs_sync_period = std::chrono::seconds(30);
    agent::config::Duration ipvs_min_sync_period = std::chrono::seconds(1);

    std::int32_t healthz_port = agent::config::kHealthzPort;
    std::int32_t metrics_port = agent::config::kMetricsPort;
    bool healthz_emptied = false;  // the address was given as ""
    bool metrics_emptied = false;

    // Taken and not used.
    std::string boot_id_file = "/proc/sys/kernel/random/boot_id";
    std::string machine_id_file = "/etc/machine-id,/var/lib/dbus/machine-id";
};

// The table. `flags` must outlive it.
[[nodiscard]] FlagSet proxy_flag_set(ProxyFlags& flags);

}  // namespace ghostip::cli
