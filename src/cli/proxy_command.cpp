// `ghostip proxy`, and the same under the name of kube-proxy: from words to one of the things to do.
#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "agent/clean_up.h"
#include "agent/config/encode.h"
#include "agent/config/validate.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/proxy_flags.h"
#include "cli/proxy_settings.h"
#include "cli/run_proxy.h"
#include "cli/suggest.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;

constexpr const char* kAbout = "Keep this node's rules up to date with Services and EndpointSlices";
constexpr const char* kExamples = R"(
Examples:
  ghostip proxy --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --proxy-mode nftables
  ghostip proxy --manifests /etc/ghostip --hostname-override n1 --cluster-cidr 10.244.0.0/16,fd00:10:244::/56
  ghostip proxy --manifests web.yaml --nodeport-addresses 192.168.0.0/24 --once
)";

std::string usage(Invocation invocation, const FlagSet& set) {
    return fmt::format("Usage:\n  {} [flags]\n\n{}",
                       invocation == Invocation::kKubeProxy ? "kube-proxy" : "ghostip proxy", set.help());
}

// `format_named`: by a flag. As `ghostip proxy`, klog's formats are only for who asks for them.
Result<void> set_up_logging(Invocation invocation, const config::Logging& logging, bool format_named) {
    const bool klog = invocation == Invocation::kKubeProxy || format_named;
    log::configure(logging.format == "json" ? log::Format::kKlogJson
                   : klog                   ? log::Format::kKlogText
                                            : log::Format::kPlain,
                   static_cast<int>(logging.verbosity));
    const auto& options = logging.format == "json" ? logging.options.json : logging.options.text;
    log::set_split_stream(options.split_stream);
    std::string modules;
    for (const auto& item : logging.vmodule)
        modules += fmt::format("{}{}={}", modules.empty() ? "" : ",", item.file_pattern, item.verbosity);
    return log::set_vmodule(modules);
}

// As kube-proxy: the usage, the error last. As ghostip: one line, the flag that was perhaps meant, where to look.
int flag_error(Invocation invocation, const FlagSet& set, const std::string& message) {
    if (invocation == Invocation::kKubeProxy) {
        fmt::print(stderr, "{}\nError: {}\n", usage(invocation, set), message);
        return kFailed;
    }
    constexpr std::string_view kUnknown = "unknown flag: ";
    const bool unknown = message.starts_with(kUnknown);
    const auto near = unknown ? nearest(std::string_view(message).substr(kUnknown.size()), set.names()) : std::string();
    fmt::print(stderr, "ghostip: {}{}\nSee: ghostip proxy --help\n", message,
               near.empty() ? std::string() : fmt::format("; did you mean {}?", near));
    return kUsage;
}

int argument_error(Invocation invocation, const std::vector<std::string>& others) {
    std::string list;
    for (const auto& other : others) list += (list.empty() ? "" : " ") + config::quoted(other);
    if (invocation == Invocation::kKubeProxy) {
        fmt::print(stderr, "Error: \"kube-proxy\" does not take any arguments, got [{}]\n", list);
        return kFailed;
    }
    fmt::print(stderr, "ghostip: \"proxy\" takes flags only, got {}\nSee: ghostip proxy --help\n", list);
    return kUsage;
}

int print_version(Invocation invocation, const ProxyFlags& flags) {
    const auto version =
        flags.reported_version.empty() ? std::string(config::kKubernetesVersion) : flags.reported_version;
    const auto parts = config::split(std::string_view(version).substr(1), '.');
    if (flags.version == VersionRequest::kRaw)
        fmt::print(
            "version.Info{{Major:\"{}\", Minor:\"{}\", GitVersion:\"{}\", Compiler:\"ghostip {}\", "
            "Platform:\"linux\"}}\n",
            parts[0], parts[1], version, GHOSTIP_VERSION);
    else if (invocation == Invocation::kKubeProxy)
        fmt::print("Kubernetes {}\n", version);
    else
        fmt::print("ghostip {}, in place of kube-proxy {}\n", GHOSTIP_VERSION, version);
    return kOk;
}

Result<void> write_configuration(const ProxySettings& settings) {
    std::ofstream file(settings.write_config_to, std::ios::trunc);
    if (!file) return fail_errno("open {}", settings.write_config_to);
    file << config::to_yaml(settings.configuration);
    file.close();
    if (!file) return fail_errno("write {}", settings.write_config_to);
    log::info("Wrote configuration to {}", settings.write_config_to);
    return {};
}

void tell(const ProxySettings& settings) {
    if (settings.configuration.logging.verbosity > 0)
        for (const auto& [name, value] : settings.flags) log::info("FLAG: --{}={}", name, config::quoted(value));
    for (const auto& note : settings.notes) log::info("{}", note);
}

Result<void> run(ProxySettings settings) {
    if (!settings.write_config_to.empty()) return write_configuration(settings);
    if (settings.cleanup) return agent::clean_up_everything();
    ASSIGN_OR_RETURN(auto plan, plan_proxy(settings));
    if (settings.init_only) return initialize_only(settings, plan);
    return run_proxy(std::move(settings), std::move(plan));
}

int report(Invocation invocation, std::string_view step, const Error& error) {
    if (invocation == Invocation::kKubeProxy)
        log::write(log::Level::kError, "command failed", {{"err", fmt::format("{}{}", step, error.message)}});
    else
        log::error("{}{}", step, error.message);
    return kFailed;
}

}  // namespace

int proxy(Invocation invocation, const std::vector<std::string>& words) {
    if (invocation == Invocation::kKubeProxy) log::configure(log::Format::kKlogText, 0);
    ProxyFlags flags;
    FlagSet set = proxy_flag_set(flags);
    const auto parsed = set.parse(words);
    if (!parsed) return flag_error(invocation, set, parsed.error().message);
    for (const auto& note : parsed->notes) fmt::print(stderr, "{}\n", note);
    if (parsed->help) {
        fmt::print("{}\n\n{}{}", kAbout, usage(invocation, set), kExamples);
        return kOk;
    }
    // An empty word is what a shell makes of a variable that is not set.
    auto others = parsed->others;
    std::erase(others, "");
    if (!others.empty()) return argument_error(invocation, others);
    if (flags.version != VersionRequest::kNone) return print_version(invocation, flags);

    auto settings = complete(invocation, flags, set);
    if (!settings) return report(invocation, "failed complete: ", settings.error());
    config::FieldErrors logging_errors;
    const auto& configuration = settings->configuration;
    config::validate_logging(configuration.logging, configuration.feature_gates, "logging", logging_errors);
    if (!logging_errors.empty()) return report(invocation, "initialize logging: ", fail("{}", logging_errors.text()));
    if (const auto logging = set_up_logging(invocation, configuration.logging, set.changed("logging-format")); !logging)
        return report(invocation, "initialize logging: ", logging.error());
    tell(*settings);
    if (const auto errors = config::validate(configuration); !errors.empty())
        return report(invocation, "failed validate: ", fail("{}", errors.text()));
    const auto done = run(std::move(*settings));
    if (done) return kOk;
    if (invocation == Invocation::kKubeProxy)
        log::write(log::Level::kError, "Error running ProxyServer", {{"err", done.error().message}});
    return report(invocation, "", done.error());
}

// The flags are not CLI11's: see flag_set.h. main() takes this command before CLI11 does; here it is only named.
void add_proxy_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("proxy", kAbout);
    command->callback([&run] { run = [] { return proxy(Invocation::kGhostip, {}); }; });
}

}  // namespace ghostip::cli
