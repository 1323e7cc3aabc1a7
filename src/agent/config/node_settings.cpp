#include "agent/config/node_settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>

namespace ghostip::agent::config {
namespace {

std::string trimmed_lower(std::string text) {
    const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
    text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
    text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

Result<std::vector<net::Prefix>> prefixes(std::string_view field, const std::vector<std::string>& texts) {
    std::vector<net::Prefix> result;
    for (const auto& text : texts) {
        const auto prefix = net::Prefix::parse_lenient(text);
        if (!prefix) return fail("{}: {}: not an address range such as 10.0.0.0/8 or fd00::/64", field, quoted(text));
        result.push_back(*prefix);
    }
    return result;
}

Result<std::vector<plan::ExternalRange>> external_ranges(const std::vector<std::string>& texts) {
    std::vector<plan::ExternalRange> result;
    for (const auto& text : texts) {
        const auto equals = text.find('=');
        const bool named = equals != std::string::npos;
        const auto range = net::Prefix::parse_lenient(named ? std::string_view(text).substr(equals + 1) : text);
        if (!range || equals == 0)
            return fail("--allowed-external-ips: {}: not an address range such as 192.0.2.0/24 or team-a=192.0.2.0/24",
                        quoted(text));
        result.push_back({named ? text.substr(0, equals) : std::string(), *range});
    }
    return result;
}

Result<void> detect_local(const KubeProxyConfiguration& config, plan::NodeSettings& settings) {
    std::string_view field;
    if (config.detect_local_mode == "NodeCIDR") {
        settings.detect_local_mode = plan::DetectLocalMode::kNodeCidr;
    } else if (config.detect_local_mode == "BridgeInterface") {
        settings.detect_local_mode = plan::DetectLocalMode::kBridgeInterface;
        settings.pod_interface = config.detect_local.bridge_interface;
        field = "detectLocal.bridgeInterface";
    } else if (config.detect_local_mode == "InterfaceNamePrefix") {
        settings.detect_local_mode = plan::DetectLocalMode::kInterfaceNamePrefix;
        settings.pod_interface = config.detect_local.interface_name_prefix;
        field = "detectLocal.interfaceNamePrefix";
    }
    constexpr std::size_t kLongestInterfaceName = 15;
    if (settings.pod_interface.size() > kLongestInterfaceName)
        return fail("{}: {}: an interface's name has at most {} characters", field, quoted(settings.pod_interface),
                    kLongestInterfaceName);
    return {};
}

std::chrono::seconds whole_seconds(Duration duration) { return std::chrono::ceil<std::chrono::seconds>(duration); }

}  // namespace

Result<std::string> node_name(const KubeProxyConfiguration& config) {
    std::string name = trimmed_lower(config.hostname_override);
    if (!config.hostname_override.empty() && name.empty())
        return fail("hostnameOverride: {}: an empty name", quoted(config.hostname_override));
    if (!name.empty()) return name;
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) < 0) return fail_errno("read the host's name");
    name = trimmed_lower(buffer.data());
    if (name.empty()) return fail("this host has no name; give --hostname-override");
    return name;
}

namespace {

constexpr std::string_view kLocalhost = "localhost";

bool names_localhost(const KubeProxyConfiguration& config) {
    const auto& entries = config.node_port_addresses;
    return std::find(entries.begin(), entries.end(), kLocalhost) != entries.end();
}

}  // namespace

// Where a relay serves `localhost` the word says no more than that no other address is meant, if it stands alone;
// elsewhere it is short for the ranges of loopback.
std::vector<std::string> node_port_ranges(const KubeProxyConfiguration& config) {
    auto ranges = config.node_port_addresses;
    if (!names_localhost(config)) return ranges;
    std::erase(ranges, kLocalhost);
    if (ranges.empty() || !relays_localhost(config)) ranges.insert(ranges.end(), {"127.0.0.0/8", "::1/128"});
    return ranges;
}

bool relays_localhost(const KubeProxyConfiguration& config) {
    return names_localhost(config) && (config.mode == "nftables" || config.mode == "userspace");
}

Result<plan::NodeSettings> node_settings(const KubeProxyConfiguration& config,
                                         const std::vector<std::string>& allowed_external_ips) {
    plan::NodeSettings settings;
    ASSIGN_OR_RETURN(settings.node_name, node_name(config));
    ASSIGN_OR_RETURN(settings.cluster_cidrs, prefixes("clusterCIDR", cluster_cidrs(config)));
    RETURN_IF_ERROR(detect_local(config, settings));
    settings.masquerade_all = masquerade_all(config);
    settings.masquerade_bit = static_cast<std::uint8_t>(masquerade_bit(config));
    settings.localhost_node_ports = config.iptables.localhost_node_ports.value_or(true);
    settings.relayed_localhost = relays_localhost(config);
    const auto ranges = node_port_ranges(config);
    if (ranges == std::vector<std::string>{"primary"}) {
        settings.node_ports_on_primary = true;
    } else {
        ASSIGN_OR_RETURN(settings.node_port_ranges, prefixes("nodePortAddresses", ranges));
    }
    settings.bind_address = net::IpAddress::parse_lenient(config.bind_address);
    ASSIGN_OR_RETURN(settings.external_ranges, external_ranges(allowed_external_ips));
    settings.serve_external_ips = gate_enabled(config.feature_gates, "AllowServiceExternalIPs");
    return settings;
}

Result<dataplane::IpvsOptions> ipvs_options(const IpvsConfiguration& config) {
    dataplane::IpvsOptions options;
    if (!config.scheduler.empty()) options.scheduler = config.scheduler;
    options.strict_arp = config.strict_arp;
    ASSIGN_OR_RETURN(options.exclude_cidrs, prefixes("ipvs.excludeCIDRs", config.exclude_cidrs));
    options.tcp_timeout = whole_seconds(config.tcp_timeout);
    options.tcp_fin_timeout = whole_seconds(config.tcp_fin_timeout);
    options.udp_timeout = whole_seconds(config.udp_timeout);
    return options;
}

}  // namespace ghostip::agent::config
