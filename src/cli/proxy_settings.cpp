#include "cli/proxy_settings.h"

#include <algorithm>
#include <cctype>

#include "agent/config/decode.h"
#include "agent/config/encode.h"
#include "agent/config/validate.h"
#include "agent/modes.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;

constexpr std::uint32_t kVerboseLevel = 4;

// --config is there: it replaces what the flags say, but for logging.
void merge_logging(config::Logging& file, const config::Logging& flags, const FlagSet& set) {
    if (set.changed("logging-format")) file.format = flags.format;
    if (set.changed("log-flush-frequency")) file.flush_frequency = flags.flush_frequency;
    if (set.changed("v")) file.verbosity = flags.verbosity;
    if (set.changed("log-text-split-stream")) file.options.text.split_stream = flags.options.text.split_stream;
    if (set.changed("log-json-split-stream")) file.options.json.split_stream = flags.options.json.split_stream;
    if (set.changed("log-text-info-buffer-size"))
        file.options.text.info_buffer_size = flags.options.text.info_buffer_size;
    if (set.changed("log-json-info-buffer-size"))
        file.options.json.info_buffer_size = flags.options.json.info_buffer_size;
    // The first pattern that fits counts, so that the flags' win.
    file.vmodule.insert(file.vmodule.begin(), flags.vmodule.begin(), flags.vmodule.end());
}

std::string address_of(const std::string& address, std::int32_t port) {
    return port == 0 ? std::string() : config::with_port(address, port);
}

constexpr std::string_view kAnyMode = "auto";  // ghostip's own word

// The best mode that this host can do in at least one family: the first of the table.
Result<std::string> best_mode(const std::string& variant, std::vector<std::string>& notes) {
    std::string lacks;
    for (const auto& mode : agent::modes()) {
        if (!mode.automatic) continue;
        dataplane::Options options;
        if (std::find(mode.variants.begin(), mode.variants.end(), variant) != mode.variants.end())
            options.variant = variant;
        std::string families;
        std::string here;
        for (const auto family : net::kFamilies) {
            const auto missing = mode.missing(family, options);
            if (missing.empty())
                families += (families.empty() ? "" : ", ") + std::string(net::family_name(family));
            else
                here +=
                    fmt::format("; {} for {}: {}", mode.name, net::family_name(family), config::join(missing, ", "));
        }
        lacks += here;
        if (families.empty()) continue;
        notes.push_back(fmt::format("mode {}: none was named, and it is the best that this host supports ({}){}",
                                    mode.name, families, lacks));
        return std::string(mode.name);
    }
    return fail("this host supports no mode: {}", lacks.substr(2));
}

// Flags whose field depends on the mode.
void apply_mode_flags(Invocation invocation, const ProxyFlags& flags, const FlagSet& set,
                      config::KubeProxyConfiguration& to) {
    const bool ipvs = to.mode == "ipvs";
    if (set.changed(ipvs ? "ipvs-sync-period" : "iptables-sync-period"))
        config::sync_period(to) = ipvs ? flags.ipvs_sync_period : flags.iptables_sync_period;
    if (set.changed(ipvs ? "ipvs-min-sync-period" : "iptables-min-sync-period"))
        config::min_sync_period(to).named = ipvs ? flags.ipvs_min_sync_period : flags.iptables_min_sync_period;
    config::masquerade_all(to) = flags.masquerade_all;
    // Under ghostip's own name the flag means what it says; kube-proxy's is not for nftables mode.
    if (invocation == Invocation::kGhostip && to.mode == "nftables" && set.changed("iptables-masquerade-bit"))
        to.nftables.masquerade_bit = to.iptables.masquerade_bit;
}

Result<void> apply_hostname(const std::string& flag, config::KubeProxyConfiguration& to) {
    if (flag.empty()) return {};
    constexpr std::string_view kSpace = " \t\r\n\v\f";
    const auto begin = flag.find_first_not_of(kSpace);
    if (begin == std::string::npos) return fail("empty hostname-override is invalid");
    std::string name = flag.substr(begin, flag.find_last_not_of(kSpace) - begin + 1);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    to.hostname_override = std::move(name);
    return {};
}

void note_without_meaning(const ProxyFlags& flags, const FlagSet& set, ProxySettings& settings) {
    auto names = config::without_meaning(settings.configuration);
    for (const char* flag : {"boot-id-file", "machine-id-file"})
        if (set.changed(flag)) names.push_back(std::string("--") + flag);
    if (!names.empty()) settings.notes.push_back("accepted, and without meaning here: " + config::join(names, ", "));
    // kube-proxy's help says so of each flag, and it is easily overlooked.
    if (flags.config_file.empty()) return;
    std::vector<std::string> overruled;
    for (const auto& flag : set.flags())
        if (flag.changed && !flag.field.empty() && flag.field != "hostnameOverride" &&
            !flag.field.starts_with("logging."))
            overruled.push_back("--" + flag.name);
    if (!overruled.empty())
        settings.notes.push_back(
            fmt::format("{} replaces these flags: {}", flags.config_file, config::join(overruled, ", ")));
}

}  // namespace

Result<ProxySettings> complete(Invocation invocation, const ProxyFlags& flags, const FlagSet& set) {
    ProxySettings settings;
    settings.invocation = invocation;
    settings.flags = set.values();
    settings.own = flags.own;
    settings.master = flags.master;
    settings.write_config_to = flags.write_config_to;
    settings.cleanup = flags.cleanup;
    settings.init_only = flags.init_only;
    settings.version =
        flags.reported_version.empty() ? std::string(config::kKubernetesVersion) : flags.reported_version;
    auto& resolved = settings.configuration;
    resolved = flags.configuration;
    if (!flags.config_file.empty()) {
        ASSIGN_OR_RETURN(settings.file_watch, config::FileWatch::open(flags.config_file));
        ASSIGN_OR_RETURN(auto file, config::read_configuration(flags.config_file));
        if (!file.lenient.empty())
            settings.notes.push_back("Using lenient decoding as strict decoding failed: " +
                                     config::join(file.lenient, "; "));
        resolved = std::move(file.configuration);
        merge_logging(resolved.logging, flags.configuration.logging, set);
    } else if (flags.write_config_to.empty()) {
        resolved.healthz_bind_address = address_of(resolved.healthz_bind_address, flags.healthz_port);
        resolved.metrics_bind_address = address_of(resolved.metrics_bind_address, flags.metrics_port);
    }

    const bool runs = flags.write_config_to.empty() && !flags.cleanup;
    if (settings.own.variant == kAnyMode) settings.own.variant.clear();
    if (resolved.mode.empty() && invocation == Invocation::kKubeProxy) {
        resolved.mode = "iptables";
        settings.notes.emplace_back("no mode was named, which means iptables under the name of kube-proxy");
    }
    if (resolved.mode == kAnyMode) resolved.mode.clear();
    if (resolved.mode.empty()) {
        auto best = best_mode(settings.own.variant, settings.notes);
        if (!best && runs) return std::move(best).error();
        if (best) resolved.mode = *best;
    }
    if (flags.config_file.empty()) {
        apply_mode_flags(invocation, flags, set, resolved);
        if (invocation == Invocation::kGhostip && flags.healthz_emptied) resolved.healthz_bind_address.clear();
        if (invocation == Invocation::kGhostip && flags.metrics_emptied) settings.own.serve_metrics = false;
    }
    // On a cluster's node ghostip takes kube-proxy's place; beside manifests somebody may be trying it out.
    if (!set.changed("remove-kube-proxy-rules")) settings.own.remove_kube_proxy_rules = settings.own.manifests.empty();
    config::apply_platform_defaults(resolved);
    RETURN_IF_ERROR(apply_hostname(flags.hostname_override, resolved));
    if (const auto wrong = config::gate_errors(resolved.feature_gates); !wrong.empty())
        return fail("{}", config::join(wrong, ", "));
    if (flags.own.verbose) resolved.logging.verbosity = std::max(resolved.logging.verbosity, kVerboseLevel);
    if (flags.own.mass_removal_delay < config::Duration(0) || flags.own.watch_stall_limit <= config::Duration(0))
        return fail("--mass-removal-delay must not be negative, --watch-stall-limit must be greater than 0");

    note_without_meaning(flags, set, settings);
    return settings;
}

}  // namespace ghostip::cli
