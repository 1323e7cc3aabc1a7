#include "agent/config/defaults.h"

#include "net/address.h"

namespace ghostip::agent::config {
namespace {

using namespace std::chrono_literals;

constexpr std::int32_t kMasqueradeBit = 14;

template <typename T, typename U>
void set_if_empty(T& value, U fallback) {
    if (value == T{}) value = fallback;
}

void set_if_absent(auto& value, auto fallback) {
    if (!value) value = fallback;
}

}  // namespace

std::string with_port(const std::string& address, std::int32_t port) {
    const auto parsed = net::IpAddress::parse_lenient(address);
    if (!parsed) return address;
    // By its text, not by its family: an IPv4-mapped address is written with colons.
    const bool brackets = address.find(':') != std::string::npos;
    return fmt::format(fmt::runtime(brackets ? "[{}]:{}" : "{}:{}"), address, port);
}

void apply_defaults(KubeProxyConfiguration& config) {
    set_if_empty(config.bind_address, "0.0.0.0");
    const auto bind = net::IpAddress::parse_lenient(config.bind_address);
    // What is no address at all counts as IPv6 here, and does not pass validation.
    const bool ipv4 = bind && bind->is_ipv4();
    set_if_empty(config.healthz_bind_address, ipv4 ? "0.0.0.0" : "::");
    set_if_empty(config.metrics_bind_address, ipv4 ? "127.0.0.1" : "::1");
    config.healthz_bind_address = with_port(config.healthz_bind_address, kHealthzPort);
    config.metrics_bind_address = with_port(config.metrics_bind_address, kMetricsPort);

    set_if_absent(config.oom_score_adj, -999);
    set_if_absent(config.iptables.masquerade_bit, kMasqueradeBit);
    set_if_absent(config.iptables.localhost_node_ports, true);
    set_if_absent(config.nftables.masquerade_bit, kMasqueradeBit);
    set_if_empty(config.iptables.sync_period, 30s);
    set_if_empty(config.ipvs.sync_period, 30s);
    set_if_empty(config.nftables.sync_period, 30s);

    set_if_absent(config.conntrack.max_per_core, 32 * 1024);
    set_if_absent(config.conntrack.min, 128 * 1024);
    set_if_absent(config.conntrack.tcp_established_timeout, 24h);
    set_if_absent(config.conntrack.tcp_close_wait_timeout, 1h);
    set_if_empty(config.config_sync_period, 15min);

    set_if_empty(config.client_connection.content_type, "application/vnd.kubernetes.protobuf");
    set_if_empty(config.client_connection.qps, 5.0F);
    set_if_empty(config.client_connection.burst, 10);

    set_if_empty(config.logging.format, "text");
    if (config.logging.flush_frequency.duration == 0s) config.logging.flush_frequency = {5s, false};
}

KubeProxyConfiguration default_configuration() {
    KubeProxyConfiguration config;
    apply_defaults(config);
    return config;
}

void apply_platform_defaults(KubeProxyConfiguration& config) {
    if ((config.mode == "nftables" || config.mode == "userspace") && config.node_port_addresses.empty())
        config.node_port_addresses = {"primary"};
    set_if_empty(config.detect_local_mode, "ClusterCIDR");
}

}  // namespace ghostip::agent::config
