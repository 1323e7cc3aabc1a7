#include "agent/config/validate.h"

#include <algorithm>
#include <array>

#include "agent/config/document_text.h"
#include "agent/config/node_settings.h"
#include "net/prefix.h"

namespace ghostip::agent::config {
namespace {

constexpr std::string_view kTop = "KubeProxyConfiguration";
constexpr std::string_view kNotNegative = "must be greater than or equal to 0";
constexpr std::string_view kPositive = "must be greater than 0";
constexpr std::string_view kPrimary = "primary";
constexpr std::string_view kLocalhost = "localhost";
constexpr std::string_view kShownVersion = "1.35";  // the minor version before kKubernetesVersion

std::string path(std::string_view below) { return fmt::format("{}.{}", kTop, below); }
std::string json(Duration duration) { return json_string(duration_text(duration)); }

std::string json(const std::vector<std::string>& texts) {
    std::vector<std::string> strings;
    strings.reserve(texts.size());
    for (const auto& text : texts) strings.push_back(json_string(text));
    return "[" + join(strings, ",") + "]";
}

class Validation {
  public:
    explicit Validation(const KubeProxyConfiguration& config) : config_(config) {}

    FieldErrors run() {
        gates();
        masquerade_bit("KubeProxyIPTablesConfiguration", config_.iptables.masquerade_bit);
        if (config_.mode == "ipvs") ipvs();
        if (config_.mode == "nftables")
            masquerade_bit("KubeProxyNFTablesConfiguration", config_.nftables.masquerade_bit);
        conntrack();
        in_range("KubeProxyLinuxConfiguration.OOMScoreAdj", config_.oom_score_adj, -1000, 1000);
        mode();
        not_negative("ClientConnection.Burst", config_.client_connection.burst);
        periods();
        if (!net::IpAddress::parse_lenient(config_.bind_address))
            errors_.invalid(path("BindAddress"), quoted(config_.bind_address),
                            "not a valid textual representation of an IP address");
        if (!config_.healthz_bind_address.empty()) host_port("HealthzBindAddress", config_.healthz_bind_address);
        host_port("MetricsBindAddress", config_.metrics_bind_address);
        node_port_addresses();
        shown_version();
        detect_local();
        validate_logging(config_.logging, config_.feature_gates, path("logging"), errors_);
        return std::move(errors_);
    }

  private:
    void gates() {
        DocumentValue settings = DocumentValue::mapping();
        for (const auto& [name, value] : config_.feature_gates)
            settings.add(name, DocumentValue::plain(value ? "true" : "false"));
        const auto wrong = gate_errors(config_.feature_gates);
        if (wrong.empty()) return;
        errors_.invalid(path("featureGates"), settings.json(),
                        wrong.size() == 1 ? wrong.front() : "[" + join(wrong, ", ") + "]");
    }

    void in_range(std::string_view below, const std::optional<std::int32_t>& value, int least, int most) {
        if (value && (*value < least || *value > most))
            errors_.invalid(path(below), fmt::format("{}", *value),
                            fmt::format("must be within the range [{}, {}]", least, most));
    }

    void masquerade_bit(std::string_view section, const std::optional<std::int32_t>& bit) {
        in_range(fmt::format("{}.MasqueradeBit", section), bit, 0, 31);
    }

    void not_negative(std::string_view below, std::optional<std::int32_t> value) {
        if (value.value_or(0) < 0) errors_.invalid(path(below), fmt::format("{}", *value), kNotNegative);
    }

    void not_negative(std::string_view below, std::optional<Duration> value) {
        if (value.value_or(Duration(0)) < Duration(0)) errors_.invalid(path(below), json(*value), kNotNegative);
    }

    void ipvs() {
        not_negative("KubeProxyIPVSConfiguration.TCPTimeout", config_.ipvs.tcp_timeout);
        not_negative("KubeProxyIPVSConfiguration.TCPFinTimeout", config_.ipvs.tcp_fin_timeout);
        not_negative("KubeProxyIPVSConfiguration.UDPTimeout", config_.ipvs.udp_timeout);
        const auto& ranges = config_.ipvs.exclude_cidrs;
        for (std::size_t i = 0; i < ranges.size(); ++i)
            if (!net::Prefix::parse_lenient(ranges[i]))
                errors_.invalid(path(fmt::format("KubeProxyIPVSConfiguration.ExcludeCidrs[{}]", i)), json(ranges),
                                "must be a valid CIDR");
    }

    void conntrack() {
        const auto& conntrack = config_.conntrack;
        const auto below = [](std::string_view name) {
            return fmt::format("KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.{}", name);
        };
        not_negative(below("MaxPerCore"), conntrack.max_per_core);
        not_negative(below("Min"), conntrack.min);
        not_negative(below("TCPEstablishedTimeout"), conntrack.tcp_established_timeout);
        not_negative(below("TCPCloseWaitTimeout"), conntrack.tcp_close_wait_timeout);
        not_negative(below("UDPTimeout"), conntrack.udp_timeout);
        not_negative(below("UDPStreamTimeout"), conntrack.udp_stream_timeout);
    }

    void mode() {
        constexpr std::array<std::string_view, 6> kModes{"", "iptables", "ipvs", "nftables", "ebpf", "userspace"};
        if (std::find(kModes.begin(), kModes.end(), config_.mode) != kModes.end()) return;
        errors_.invalid(path("Mode.ProxyMode"), quoted(config_.mode),
                        "must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently "
                        "iptables])");
    }

    void periods() {
        const Duration period = sync_period(config_);
        const Duration pause = min_sync_period(config_).named.value_or(Duration(0));
        if (config_.config_sync_period <= Duration(0))
            errors_.invalid(path("ConfigSyncPeriod"), json(config_.config_sync_period), kPositive);
        if (period <= Duration(0)) errors_.invalid(path("SyncPeriod"), json(period), kPositive);
        not_negative("MinSyncPeriod", pause);
        // kube-proxy prints the pause here, not the period that is too short.
        if (pause > period)
            errors_.invalid(path("SyncPeriod"), json(pause),
                            fmt::format("must be greater than or equal to {}", path("MinSyncPeriod")));
    }

    void host_port(std::string_view below, const std::string& text) {
        const auto parts = split_host_port(text);
        if (!parts) return errors_.invalid(path(below), quoted(text), "must be IP:port");
        if (!net::IpAddress::parse_lenient(parts->host))
            errors_.invalid(path(below), quoted(parts->host), "must be a valid IP");
        constexpr std::int64_t kHighest = 65535;
        if (!parse_integer(parts->port, 1, kHighest))
            errors_.invalid(path(below), quoted(parts->port), "must be a valid port");
    }

    void node_port_addresses() {
        const auto& entries = config_.node_port_addresses;
        // `localhost` stands beside anything, where a relay serves it.
        const bool relayed = relays_localhost(config_);
        const auto others = static_cast<std::size_t>(std::count_if(
            entries.begin(), entries.end(), [&](const auto& entry) { return !relayed || entry != kLocalhost; }));
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const auto at = path(fmt::format("NodePortAddresses[{}]", i));
            if (entries[i] == kLocalhost) continue;
            if (entries[i] == kPrimary) {
                if (others != 1) errors_.invalid(at, quoted(entries[i]), "can't use both 'primary' and CIDRs");
                return;
            }
            if (!net::Prefix::parse_lenient(entries[i]))
                errors_.invalid(at, quoted(entries[i]), "must be a valid CIDR");
        }
    }

    void shown_version() {
        const auto& version = config_.show_hidden_metrics_for_version;
        if (version.empty() || version == kShownVersion) return;
        // Twice the field, as kube-proxy has it.
        errors_.invalid(
            path("ShowHiddenMetricsForVersion"), quoted(version),
            fmt::format("invalid showHiddenMetricsForVersion: showHiddenMetricsForVersion: Invalid value: {}: "
                        "must be omitted or have the value '{}'; only the previous minor version is allowed",
                        quoted(version), kShownVersion));
    }

    void detect_local() {
        const std::vector<std::string> known{"ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", ""};
        const auto& mode = config_.detect_local_mode;
        if (std::find(known.begin(), known.end(), mode) == known.end())
            errors_.unsupported(path("DetectLocalMode"), mode, known);
        const auto& names = config_.detect_local;
        if (mode == "BridgeInterface" && names.bridge_interface.empty())
            errors_.invalid(path("DetectLocalConfiguration.InterfaceName"), "\"\"", "must not be empty");
        if (mode == "InterfaceNamePrefix" && names.interface_name_prefix.empty())
            errors_.invalid(path("DetectLocalConfiguration.InterfacePrefix"), "\"\"", "must not be empty");
        const auto ranges = cluster_cidrs(config_);
        if (mode == "ClusterCIDR" && !ranges.empty()) pod_ranges(ranges);
    }

    void pod_ranges(const std::vector<std::string>& ranges) {
        const auto whole = path("DetectLocalConfiguration.ClusterCIDRs");
        constexpr std::string_view kPair =
            "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";
        if (ranges.size() > 2) return errors_.invalid(whole, json(ranges), kPair);
        std::vector<net::Prefix> parsed;
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            if (const auto range = net::Prefix::parse_lenient(ranges[i]))
                parsed.push_back(*range);
            else
                errors_.invalid(fmt::format("{}[{}]", whole, i), quoted(ranges[i]),
                                "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)");
        }
        if (parsed.size() == 2 && parsed[0].family() == parsed[1].family()) errors_.invalid(whole, json(ranges), kPair);
    }

    const KubeProxyConfiguration& config_;
    FieldErrors errors_;
};

}  // namespace

FieldErrors validate(const KubeProxyConfiguration& config) { return Validation(config).run(); }

std::optional<HostPort> split_host_port(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    if (host.starts_with('[')) {
        if (host.size() < 2 || host.back() != ']') return std::nullopt;
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return std::nullopt;
    }
    if (host.find_first_of("[]") != std::string_view::npos || port.find_first_of("[]") != std::string_view::npos)
        return std::nullopt;
    return HostPort{std::string(host), std::string(port)};
}

}  // namespace ghostip::agent::config
