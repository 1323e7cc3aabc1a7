#include "cli/options.h"

#include <algorithm>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "agent/config/defaults.h"
#include "agent/config/node_settings.h"
#include "agent/config/validate.h"
#include "agent/modes.h"

namespace ghostip::cli {

agent::config::KubeProxyConfiguration NodeFlags::nftables_configuration() {
    agent::config::KubeProxyConfiguration configuration;
    configuration.mode = "nftables";
    configuration.detect_local_mode = "ClusterCIDR";
    return configuration;
}

void add_node_flags(CLI::App& command, NodeFlags& flags) {
    command
        .add_option("--manifests", flags.manifests,
                    "File or folder with Services, EndpointSlices, Nodes (YAML or JSON)")
        ->required();
    command
        .add_option("--proxy-mode", flags.configuration.mode, "Which dataplane: nftables, iptables, ipvs, userspace")
        ->capture_default_str();
    command.add_option("--ipvs-scheduler", flags.configuration.ipvs.scheduler,
                       "Of mode ipvs: who chooses the endpoint where a Service does not say; default: rr");
    command.add_option("--iptables-variant", flags.variant,
                       "nft or legacy; auto or empty: as the rules that exist tell");
    command.add_option("--hostname-override", flags.configuration.hostname_override,
                       "This node's name, if not the host's");
    command.add_option("--cluster-cidr", flags.configuration.cluster_cidr,
                       "Pods' address ranges, one of a family; tells pods from others");
    command
        .add_option("--nodeport-addresses", flags.configuration.node_port_addresses,
                    "Ranges of this node's addresses that accept node ports, or the word primary")
        ->delimiter(',')
        ->allow_extra_args(false);
    command
        .add_option("--detect-local-mode", flags.configuration.detect_local_mode,
                    "How local pods are told: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix")
        ->capture_default_str();
    command.add_option("--pod-bridge-interface", flags.configuration.detect_local.bridge_interface,
                       "The bridge of BridgeInterface");
    command.add_option("--pod-interface-name-prefix", flags.configuration.detect_local.interface_name_prefix,
                       "The prefix of InterfaceNamePrefix");
    command.add_option("--bind-address", flags.configuration.bind_address,
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
    auto configuration = flags.configuration;
    NodeOptions options{{}, agent::find_mode(configuration.mode), {}};
    if (flags.variant != "auto") options.dataplane.variant = flags.variant;
    if (options.mode == nullptr) {
        std::string known;
        for (const auto& mode : agent::modes()) known += (known.empty() ? "" : ", ") + std::string(mode.name);
        return fail("--proxy-mode: \"{}\": there is no such mode yet; there is: {}", configuration.mode, known);
    }
    const auto variants = options.mode->variants;
    const auto& variant = options.dataplane.variant;
    if (!variant.empty() && std::find(variants.begin(), variants.end(), variant) == variants.end())
        return fail("--iptables-variant: \"{}\": mode {} has {}", variant, options.mode->name,
                    variants.empty() ? "no variants" : fmt::format("{}", fmt::join(variants, ", ")));
    ASSIGN_OR_RETURN(options.dataplane.ipvs, agent::config::ipvs_options(configuration.ipvs));
    agent::config::masquerade_all(configuration) = flags.masquerade_all;
    configuration.iptables.masquerade_bit = flags.masquerade_bit;
    configuration.nftables.masquerade_bit = flags.masquerade_bit;
    agent::config::apply_defaults(configuration);
    agent::config::apply_platform_defaults(configuration);
    if (const auto errors = agent::config::validate(configuration); !errors.empty()) return fail("{}", errors.text());
    ASSIGN_OR_RETURN(options.settings, agent::config::node_settings(configuration, flags.allowed_external_ips));
    options.dataplane.relay.mark = dataplane::relay_mark_beside(options.settings.masquerade_bit);
    return options;
}

}  // namespace ghostip::cli
