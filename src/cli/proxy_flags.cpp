#include "cli/proxy_flags.h"

#include <limits>

namespace ghostip::cli {
namespace {

namespace config = agent::config;

constexpr std::uint32_t kAnyNumber = std::numeric_limits<std::uint32_t>::max();

// `true`, `raw`, or a version to be reported instead of the own one.
FlagValue version_value(ProxyFlags& flags) {
    return {"version[=true]", "true",
            [&flags](const std::string& text) -> Result<void> {
                if (text.starts_with('v')) {
                    const auto parts = config::split(std::string_view(text).substr(1), '.');
                    const bool numbers = parts.size() >= 3 && config::parse_integer(parts[0], 0, kAnyNumber) &&
                                         config::parse_integer(parts[1], 0, kAnyNumber) && !parts[2].empty() &&
                                         parts[2].front() >= '0' && parts[2].front() <= '9';
                    if (!numbers) return fail("{} is not a version such as v1.36.2", config::quoted(text));
                    flags.reported_version = text;
                    return {};
                }
                if (text == "raw") {
                    flags.version = VersionRequest::kRaw;
                    return {};
                }
                ASSIGN_OR_RETURN(const bool wanted, config::parse_bool(text));
                flags.version = wanted ? VersionRequest::kPrint : VersionRequest::kNone;
                return {};
            },
            [&flags]() -> std::string {
                if (!flags.reported_version.empty()) return flags.reported_version;
                if (flags.version == VersionRequest::kNone) return "false";
                return flags.version == VersionRequest::kRaw ? "raw" : "true";
            }};
}

void add_command_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    set.begin_group("What to do");
    set.add({"config", string_value(f.config_file), "",
             "Configuration file (YAML or JSON); most other flags do not count then"});
    set.add(
        {"write-config-to", string_value(f.write_config_to), "", "Write the whole configuration to this file; exit"});
    set.add({"cleanup", bool_value(f.cleanup), "", "Remove this program's and kube-proxy's rules; exit"});
    set.add({"init-only", bool_value(f.init_only), "", "Do what needs the privileges of root; exit"});
    set.add({"version", version_value(f), "", "Print the version; =raw in full, =vX.Y.Z to report another one"});
    set.add({"feature-gates", gates_value(c.feature_gates), "featureGates",
             "Gates of Kubernetes, Name=true|false; AllowServiceExternalIPs=false serves no external IPs"});
}

void add_cluster_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    auto& client = c.client_connection;
    set.begin_group("The cluster");
    set.add({"kubeconfig", string_value(client.kubeconfig), "clientConnection.kubeconfig",
             "File with the API server's address and credentials"});
    set.add({"master", string_value(f.master), "", "The API server's address, instead of the one in the kubeconfig"});
    set.add({"kube-api-content-type", string_value(client.content_type), "clientConnection.contentType",
             "Encoding that the API server is asked for"});
    set.add({"kube-api-qps", float_value(client.qps), "clientConnection.qps", "Requests a second, on the average"});
    set.add({"kube-api-burst", int_value(client.burst), "clientConnection.burst", "Requests at once"});
    set.add({"hostname-override", string_value(f.hostname_override), "hostnameOverride",
             "This node's name, if not the host's; counts with --config too"});
    set.add({"config-sync-period", duration_value(c.config_sync_period), "configSyncPeriod",
             "Without meaning: nothing is replayed here"});
}

void add_server_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    set.begin_group("Addresses and pages");
    set.add({"bind-address", ip_value(c.bind_address), "bindAddress",
             "This node's own address, if the Node object shall not tell; nothing is bound to it"});
    set.add({"healthz-bind-address", ip_port_value(c.healthz_bind_address, &f.healthz_emptied), "healthzBindAddress",
             "Where /healthz answers"});
    set.add({"metrics-bind-address", ip_port_value(c.metrics_bind_address, &f.metrics_emptied), "metricsBindAddress",
             "Where /metrics answers"});
    set.add({"healthz-port", int_value(f.healthz_port), "healthzBindAddress", "0 disables", 0,
             "use --healthz-bind-address"});
    set.add({"metrics-port", int_value(f.metrics_port), "metricsBindAddress", "0 disables", 0,
             "use --metrics-bind-address"});
    set.add({"bind-address-hard-fail", bool_value(c.bind_address_hard_fail), "bindAddressHardFail",
             "End if one of these two cannot be served"});
    set.add({"profiling", bool_value(c.enable_profiling), "enableProfiling", "Serve /debug pages"});
    set.add({"show-hidden-metrics-for-version", string_value(c.show_hidden_metrics_for_version),
             "showHiddenMetricsForVersion", "Accepted for the version before; no metric is hidden here"});
}

void add_mode_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    set.begin_group("The dataplane");
    set.add({"proxy-mode", string_value(c.mode), "mode",
             "nftables, iptables, ipvs; auto or empty: the better of the first two that this host supports (called as "
             "kube-proxy, empty is iptables)"});
    set.add({"masquerade-all", bool_value(f.masquerade_all), "*.masqueradeAll",
             "Rewrite the source of everything sent to a cluster IP"});
    set.add({"iptables-masquerade-bit", int_value(c.iptables.masquerade_bit), "iptables.masqueradeBit",
             "Which bit of the packet mark asks for masquerading"});
    set.add({"iptables-localhost-nodeports", bool_value(c.iptables.localhost_node_ports), "iptables.localhostNodePorts",
             "Of iptables mode: node ports on loopback"});
    set.add({"iptables-sync-period", duration_value(f.iptables_sync_period), "*.syncPeriod",
             "Every mode but ipvs: when a failed sync is tried again at the latest"});
    set.add({"iptables-min-sync-period", duration_value(f.iptables_min_sync_period), "*.minSyncPeriod",
             "Every mode but ipvs: least pause between syncs; no pause unless given"});
    set.add({"ipvs-sync-period", duration_value(f.ipvs_sync_period), "ipvs.syncPeriod", "The same in mode ipvs"});
    set.add({"ipvs-min-sync-period", duration_value(f.ipvs_min_sync_period), "ipvs.minSyncPeriod",
             "The same in mode ipvs"});
    set.add({"ipvs-scheduler", string_value(c.ipvs.scheduler), "ipvs.scheduler",
             "Of mode ipvs: who chooses the endpoint where a Service does not say; empty is rr"});
    set.add({"ipvs-exclude-cidrs", list_value(c.ipvs.exclude_cidrs), "ipvs.excludeCIDRs",
             "Of mode ipvs: virtual servers with such an address are never touched"});
    set.add({"ipvs-strict-arp", bool_value(c.ipvs.strict_arp), "ipvs.strictARP",
             "Of mode ipvs: answer ARP only for the addresses of the link that asks"});
    set.add({"ipvs-tcp-timeout", duration_value(c.ipvs.tcp_timeout), "ipvs.tcpTimeout",
             "Of mode ipvs: of connections; 0 leaves the kernel's"});
    set.add({"ipvs-tcpfin-timeout", duration_value(c.ipvs.tcp_fin_timeout), "ipvs.tcpFinTimeout",
             "Of mode ipvs: after a FIN; 0 leaves the kernel's"});
    set.add({"ipvs-udp-timeout", duration_value(c.ipvs.udp_timeout), "ipvs.udpTimeout",
             "Of mode ipvs: of UDP flows; 0 leaves the kernel's"});
}

void add_traffic_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    set.begin_group("Pods and node ports");
    set.add({"detect-local-mode", string_value(c.detect_local_mode), "detectLocalMode",
             "How local pods are told: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix"});
    set.add({"cluster-cidr", string_value(c.cluster_cidr), "clusterCIDR",
             "Pods' address ranges, one of a family, for ClusterCIDR"});
    set.add({"pod-bridge-interface", string_value(c.detect_local.bridge_interface), "detectLocal.bridgeInterface",
             "The bridge, for BridgeInterface"});
    set.add({"pod-interface-name-prefix", string_value(c.detect_local.interface_name_prefix),
             "detectLocal.interfaceNamePrefix", "The prefix, for InterfaceNamePrefix"});
    set.add({"nodeport-addresses", list_value(c.node_port_addresses), "nodePortAddresses",
             "Ranges of this node's addresses that accept node ports, or the word primary"});
}

void add_host_flags(FlagSet& set, ProxyFlags& f) {
    auto& c = f.configuration;
    auto& conntrack = c.conntrack;
    set.begin_group("The host");
    set.add({"oom-score-adj", int_value(c.oom_score_adj), "oomScoreAdj", "oom_score_adj of the process"});
    set.add({"conntrack-max-per-core", int_value(conntrack.max_per_core), "conntrack.maxPerCore",
             "Conntrack entries for each CPU; 0 leaves the limit alone"});
    set.add({"conntrack-min", int_value(conntrack.min), "conntrack.min", "Conntrack entries at least"});
    set.add({"conntrack-tcp-timeout-established", duration_value(conntrack.tcp_established_timeout),
             "conntrack.tcpEstablishedTimeout", "0 leaves it alone"});
    set.add({"conntrack-tcp-timeout-close-wait", duration_value(conntrack.tcp_close_wait_timeout),
             "conntrack.tcpCloseWaitTimeout", "0 leaves it alone"});
    set.add({"conntrack-tcp-be-liberal", bool_value(conntrack.tcp_be_liberal), "conntrack.tcpBeLiberal",
             "Do not mind TCP packets out of the window"});
    set.add(
        {"conntrack-udp-timeout", duration_value(conntrack.udp_timeout), "conntrack.udpTimeout", "0 leaves it alone"});
    set.add({"conntrack-udp-timeout-stream", duration_value(conntrack.udp_stream_timeout), "conntrack.udpStreamTimeout",
             "0 leaves it alone"});
    set.add({"boot-id-file", string_value(f.boot_id_file), "", "Without meaning"});
    set.add({"machine-id-file", string_value(f.machine_id_file), "", "Without meaning"});
}

void add_log_flags(FlagSet& set, ProxyFlags& f) {
    auto& log = f.configuration.logging;
    set.begin_group("Logging; counts with --config too");
    set.add({"logging-format", string_value(log.format), "logging.format", "text or json"});
    set.add({"log-flush-frequency", duration_value(log.flush_frequency.duration), "logging.flushFrequency",
             "Without meaning: every line is written at once"});
    set.add({"v", uint_value(log.verbosity, 0, kAnyNumber), "logging.verbosity", "How much is logged", 'v'});
    set.add({"vmodule", vmodule_value(log.vmodule), "logging.vmodule", "How much is logged by file"});
    set.add({"log-text-split-stream", bool_value(log.options.text.split_stream), "logging.options.text.splitStream",
             "Errors to standard error, the rest to standard output (gate LoggingAlphaOptions)"});
    set.add({"log-text-info-buffer-size", quantity_value(log.options.text.info_buffer_size),
             "logging.options.text.infoBufferSize", "Without meaning (gate LoggingAlphaOptions)"});
    set.add({"log-json-split-stream", bool_value(log.options.json.split_stream), "logging.options.json.splitStream",
             "The same for json (gate LoggingAlphaOptions)"});
    set.add({"log-json-info-buffer-size", quantity_value(log.options.json.info_buffer_size),
             "logging.options.json.infoBufferSize", "Without meaning (gate LoggingAlphaOptions)"});
}

void add_relay_flags(FlagSet& set, RelaySettings& relay) {
    set.add({"listen", list_value(relay.listen), "",
             "Of userspace mode: carry clients of ADDRESS:PORT to a Service too, NAMESPACE/NAME[:PORT]=ADDRESS:PORT"});
    set.add(
        {"drain-timeout", duration_value(relay.drain_timeout), "",
         "Of userspace mode: how long a connection goes on when its endpoint has left, or this process is to end; 0: "
         "until it ends itself, and not at all when the process ends"});
    set.add({"relay-pick", string_value(relay.pick), "",
             "Of userspace mode: how endpoints are chosen, round-robin or random"});
    set.add({"relay-redirect", bool_value(relay.redirect), "",
             "Of userspace mode: lead packets to it by rules in the kernel; false: only node ports and --listen"});
    set.add({"relay-threads", uint_value(relay.threads, 0, 1024), "", "… threads that carry; 0: one a core"});
    set.add({"relay-max-connections", uint_value(relay.max_connections, 1, kAnyNumber), "",
             "… connections at once; more of them wait in the backlog"});
    set.add({"relay-max-connections-per-service", uint_value(relay.max_connections_per_service, 0, kAnyNumber), "",
             "… of one service port in one address family, and of its local endpoints by themselves; more are reset. "
             "0: only the "
             "limit of all together"});
    set.add({"relay-buffer-kib", uint_value(relay.buffer_kib, 4, 1U << 20U), "",
             "… memory for each direction of a connection, rounded down to a power of two"});
    set.add({"relay-backlog", uint_value(relay.backlog, 1, 1U << 20U), "", "… of each listening socket"});
    set.add({"relay-max-udp-sessions", uint_value(relay.max_udp_sessions, 1, kAnyNumber), "",
             "… UDP clients at once; datagrams of more are dropped"});
    set.add({"relay-max-udp-sessions-per-client", uint_value(relay.max_udp_sessions_per_client, 1, kAnyNumber), "",
             "… of one client address"});
    set.add(
        {"handover-socket", string_value(relay.handover_socket), "",
         "Where a process that carries traffic hands its listeners to the next one: a path, or @NAME in the network "
         "namespace; empty: nowhere"});
    set.add({"relay-udp-timeout", duration_value(relay.udp_timeout), "",
             "… a UDP session ends when neither side has sent for so long"});
}

void add_own_flags(FlagSet& set, ProxyFlags& f) {
    auto& own = f.own;
    set.begin_group("ghostip's own");
    set.add({"iptables-variant", string_value(own.variant), "",
             "Of iptables mode: nft or legacy; auto or empty: as the rules that exist on this host tell"});
    set.add({"seccomp", bool_value(own.seccomp), "",
             "Refuse itself all system calls that it does not need, once it has started"});
    set.add({"remove-kube-proxy-rules", bool_value(own.remove_kube_proxy_rules), "",
             "Once the first sync is done, remove what kube-proxy's other modes left on this host; true unless with "
             "--manifests"});
    set.add({"manifests", string_value(own.manifests), "",
             "File or folder with Services, EndpointSlices, Nodes (YAML or JSON), instead of a cluster"});
    set.add(
        {"once", bool_value(own.once), "", "One sync, then exit and leave the rules; fails if not all could be done"});
    set.add({"verbose", bool_value(own.verbose), "", "Log more: the same as -v 4"});
    set.add({"allowed-external-ips", list_value(own.allowed_external_ips), "",
             "Ranges that external and load-balancer IPs may come from, NAMESPACE=RANGE for one namespace; without it "
             "all may"});
    set.add({"max-commits-per-second", uint_value(own.commits_per_second, 1, 1000), "",
             "At most so many transactions, on the average: other programs that write rules wait for each"});
    set.add({"full-check-seconds", uint_value(own.full_check_seconds, 1, 7 * 24 * 3600), "",
             "How often all that the kernel holds is compared with what it should hold"});
    add_relay_flags(set, own.relay);
    set.add({"service-counters", bool_value(own.service_counters), "",
             "Count packets and bytes of each Service's ports, for /metrics; costs a look-up for each packet"});
    set.add({"mass-removal-percent", uint_value(own.mass_removal_percent, 0, 100), "",
             "A list that would remove more than this share of all destinations is held; 100 never holds"});
    set.add({"mass-removal-count", uint_value(own.mass_removal_count, 0, kAnyNumber), "", "… and more than so many"});
    set.add({"mass-removal-delay", duration_value(own.mass_removal_delay), "",
             "… for so long at most, if asking again does not confirm it"});
    set.add({"watch-stall-limit", duration_value(own.watch_stall_limit), "",
             "A watch without a sign of life for so long is opened anew"});
}

}  // namespace

FlagSet proxy_flag_set(ProxyFlags& flags) {
    FlagSet set;
    add_command_flags(set, flags);
    add_cluster_flags(set, flags);
    add_server_flags(set, flags);
    add_mode_flags(set, flags);
    add_traffic_flags(set, flags);
    add_host_flags(set, flags);
    add_log_flags(set, flags);
    add_own_flags(set, flags);
    return set;
}

}  // namespace ghostip::cli
