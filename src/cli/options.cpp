#include "cli/options.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include <CLI/CLI.hpp>

#include "agent/modes.h"

namespace ghostip::cli {
namespace {

std::string trimmed_lower(std::string text) {
    const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
    text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
    text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

Result<std::string> node_name(const std::string& override_name) {
    std::string name = trimmed_lower(override_name);
    if (!override_name.empty() && name.empty())
        return fail("--hostname-override: \"{}\": an empty name", override_name);
    if (!name.empty()) return name;
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) < 0) return fail_errno("read the host's name");
    name = trimmed_lower(buffer.data());
    if (name.empty()) return fail("this host has no name; give --hostname-override");
    return name;
}

Result<std::vector<net::Prefix>> prefixes(std::string_view flag, const std::vector<std::string>& texts) {
    std::vector<net::Prefix> result;
    for (const auto& text : texts) {
        const auto prefix = net::Prefix::parse_lenient(text);
        if (!prefix) return fail("{}: \"{}\": not an address range such as 10.0.0.0/8 or fd00::/64", flag, text);
        result.push_back(*prefix);
    }
    return result;
}

// `10.1.0.0/16` for every namespace, `team-a=192.0.2.0/24` for one.
Result<std::vector<plan::ExternalRange>> external_ranges(const std::vector<std::string>& texts) {
    std::vector<plan::ExternalRange> result;
    for (const auto& text : texts) {
        const auto equals = text.find('=');
        const bool named = equals != std::string::npos;
        const auto range = net::Prefix::parse_lenient(named ? std::string_view(text).substr(equals + 1) : text);
        if (!range || equals == 0)
            return fail(
                "--allowed-external-ips: \"{}\": not an address range such as 192.0.2.0/24 or team-a=192.0.2.0/24",
                text);
        result.push_back({named ? text.substr(0, equals) : std::string(), *range});
    }
    return result;
}

Result<void> detect_local(const NodeFlags& flags, plan::NodeSettings& settings) {
    const auto& mode = flags.detect_local_mode;
    if (mode == "ClusterCIDR") {
        settings.detect_local_mode = plan::DetectLocalMode::kClusterCidr;
    } else if (mode == "NodeCIDR") {
        settings.detect_local_mode = plan::DetectLocalMode::kNodeCidr;
    } else if (mode == "BridgeInterface") {
        settings.detect_local_mode = plan::DetectLocalMode::kBridgeInterface;
        settings.pod_interface = flags.pod_bridge_interface;
        if (settings.pod_interface.empty())
            return fail("--detect-local-mode=BridgeInterface needs --pod-bridge-interface");
    } else if (mode == "InterfaceNamePrefix") {
        settings.detect_local_mode = plan::DetectLocalMode::kInterfaceNamePrefix;
        settings.pod_interface = flags.pod_interface_name_prefix;
        if (settings.pod_interface.empty())
            return fail("--detect-local-mode=InterfaceNamePrefix needs --pod-interface-name-prefix");
    } else {
        return fail(
            "--detect-local-mode: \"{}\": not one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix",
            mode);
    }
    constexpr std::size_t kLongestInterfaceName = 15;
    if (settings.pod_interface.size() > kLongestInterfaceName)
        return fail("\"{}\": an interface's name has at most {} characters", settings.pod_interface,
                    kLongestInterfaceName);
    return {};
}

}  // namespace

void add_node_flags(CLI::App& command, NodeFlags& flags) {
    command
        .add_option("--manifests", flags.manifests,
                    "File or folder with Services, EndpointSlices, Nodes (YAML or JSON)")
        ->required();
    command.add_option("--proxy-mode", flags.proxy_mode, "Which dataplane: nftables")->capture_default_str();
    command.add_option("--hostname-override", flags.hostname_override, "This node's name, if not the host's");
    command
        .add_option("--cluster-cidr", flags.cluster_cidr,
                    "Pods' address ranges, one of a family; tells pods from others")
        ->delimiter(',')
        ->allow_extra_args(false);
    command
        .add_option("--nodeport-addresses", flags.nodeport_addresses,
                    "Ranges of this node's addresses that accept node ports, or the word primary")
        ->delimiter(',')
        ->allow_extra_args(false);
    command
        .add_option("--detect-local-mode", flags.detect_local_mode,
                    "How local pods are told: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix")
        ->capture_default_str();
    command.add_option("--pod-bridge-interface", flags.pod_bridge_interface, "The bridge of BridgeInterface");
    command.add_option("--pod-interface-name-prefix", flags.pod_interface_name_prefix,
                       "The prefix of InterfaceNamePrefix");
    command.add_option("--bind-address", flags.bind_address,
                       "This node's own address, if the Node object does not tell");
    command
        .add_option("--allowed-external-ips", flags.allowed_external_ips,
                    "Ranges that external and load-balancer IPs may come from, all others are refused; "
                    "NAMESPACE=RANGE for one namespace; default: everything may")
        ->delimiter(',')
        ->allow_extra_args(false);
    command.add_flag("--masquerade-all", flags.masquerade_all, "Rewrite the source of everything sent to a cluster IP");
    command
        .add_option("--iptables-masquerade-bit", flags.masquerade_bit,
                    "Which bit of the packet mark asks for masquerading")
        ->capture_default_str();
}

Result<NodeOptions> node_options(const NodeFlags& flags) {
    NodeOptions options{{}, agent::find_mode(flags.proxy_mode)};
    if (options.mode == nullptr) {
        std::string known;
        for (const auto& mode : agent::modes()) known += (known.empty() ? "" : ", ") + std::string(mode.name);
        return fail("--proxy-mode: \"{}\": there is no such mode yet; there is: {}", flags.proxy_mode, known);
    }
    auto& settings = options.settings;
    ASSIGN_OR_RETURN(settings.node_name, node_name(flags.hostname_override));
    ASSIGN_OR_RETURN(settings.cluster_cidrs, prefixes("--cluster-cidr", flags.cluster_cidr));
    RETURN_IF_ERROR(detect_local(flags, settings));
    settings.masquerade_all = flags.masquerade_all;
    constexpr int kHighestBit = 31;
    if (flags.masquerade_bit < 0 || flags.masquerade_bit > kHighestBit)
        return fail("--iptables-masquerade-bit: \"{}\": must be from 0 to {}", flags.masquerade_bit, kHighestBit);
    settings.masquerade_bit = static_cast<std::uint8_t>(flags.masquerade_bit);
    if (flags.nodeport_addresses == std::vector<std::string>{"primary"}) {
        settings.node_ports_on_primary = true;
    } else {
        ASSIGN_OR_RETURN(settings.node_port_ranges, prefixes("--nodeport-addresses", flags.nodeport_addresses));
    }
    ASSIGN_OR_RETURN(settings.external_ranges, external_ranges(flags.allowed_external_ips));
    if (!flags.bind_address.empty()) {
        settings.bind_address = net::IpAddress::parse(flags.bind_address);
        if (!settings.bind_address) return fail("--bind-address: \"{}\": not an IP address", flags.bind_address);
    }
    return options;
}

}  // namespace ghostip::cli
