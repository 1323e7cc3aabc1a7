// `ghostip proxy`: the node agent.
#include <atomic>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "agent/agent.h"
#include "agent/heartbeat.h"
#include "agent/leftovers.h"
#include "agent/metrics.h"
#include "agent/privileges.h"
#include "base/log.h"
#include "base/service_manager.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/options.h"
#include "cli/stop_signals.h"
#include "http/server.h"
#include "source/manifests/manifest_source.h"

namespace ghostip::cli {
namespace {

struct ProxyFlags {
    NodeFlags node;
    std::string healthz_bind_address = "0.0.0.0:10256";
    std::string metrics_bind_address = "127.0.0.1:10249";
    std::uint32_t full_check_seconds = 3600;
    std::uint32_t commits_per_second = 100;
    bool once = false;
    bool seccomp = true;
    bool remove_kube_proxy_rules = false;
    bool verbose = false;
};

struct HostPort {
    std::string host;
    std::uint16_t port;
};

// `0.0.0.0:10256`, `[::]:10256`, or an address alone, which takes the default port.
Result<HostPort> parse_host_port(std::string_view flag, const std::string& text, std::uint16_t default_port) {
    if (net::IpAddress::parse(text)) return HostPort{text, default_port};
    const auto colon = text.rfind(':');
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    unsigned port = 0;
    const auto* begin = colon == std::string::npos ? nullptr : text.data() + colon + 1;
    const auto* end = text.data() + text.size();
    const bool port_ok =
        begin != nullptr && std::from_chars(begin, end, port).ptr == end && begin != end && port <= 65535;
    if (!port_ok || !net::IpAddress::parse(host)) return fail("{}: \"{}\": not address:port", flag, text);
    return HostPort{host, static_cast<std::uint16_t>(port)};
}

constexpr std::uint16_t kHealthzPort = 10256;
constexpr std::uint16_t kMetricsPort = 10249;

// Answers `path` at the address that `flag` says. Null where nobody wants it, or where it cannot listen: the proxy is
// worth more than its health page.
Result<std::unique_ptr<http::Server>> serve(std::string_view flag, const std::string& bind_address,
                                            std::uint16_t default_port, const std::string& path,
                                            http::Handler handler) {
    std::unique_ptr<http::Server> none;
    if (bind_address.empty()) return none;
    ASSIGN_OR_RETURN(const HostPort listen, parse_host_port(flag, bind_address, default_port));
    auto server = http::Server::listen(listen.host, listen.port, {{path, std::move(handler)}});
    if (server) return std::move(server).value();
    log::error("{}: {}; going on without", flag, server.error().message);
    return none;
}

bool is_low_port(std::string_view flag, const std::string& bind_address, std::uint16_t default_port) {
    constexpr std::uint16_t kFirstUnprivileged = 1024;
    const auto listen = parse_host_port(flag, bind_address, default_port);
    return listen && listen->port != 0 && listen->port < kFirstUnprivileged;
}

Result<void> run_proxy(const ProxyFlags& flags) {
    ASSIGN_OR_RETURN(const NodeOptions options, node_options(flags.node));
    // Still one thread and all privileges: what needs them comes first.
    std::unique_ptr<agent::Leftovers> leftovers;
    if (flags.remove_kube_proxy_rules && !flags.once) {
        auto prepared = agent::Leftovers::prepare();
        if (prepared) {
            leftovers = std::move(*prepared);
        } else {
            log::warning("{}; what kube-proxy left stays", prepared.error().message);
        }
    }
    agent::Privileges privileges{options.mode->name};
    privileges.low_ports = is_low_port("--healthz-bind-address", flags.healthz_bind_address, kHealthzPort) ||
                           is_low_port("--metrics-bind-address", flags.metrics_bind_address, kMetricsPort);
    privileges.filter_calls = flags.seccomp;
    const auto service_manager = ServiceManager::from_environment();
    agent::drop_privileges(privileges);

    StopSignals signals;
    agent::Heartbeat heartbeat;
    agent::WatchdogPings pings(service_manager, heartbeat);
    service_manager.status("waiting for the first list of Services");
    std::atomic<int> bad_objects = 0;
    source::ManifestSource source(flags.node.manifests, [&](const api::Problem& problem) {
        if (problem.severity == api::Severity::kError) {
            ++bad_objects;
            log::error("{}", problem.text());
        } else {
            log::warning("{}", problem.text());
        }
    });
    agent::Health health;
    agent::Metrics metrics;
    agent::AgentConfig config;
    config.node = options.settings;
    config.mode = options.mode;
    config.time_per_commit = std::chrono::milliseconds(1000 / flags.commits_per_second);
    config.proxier.full_check_interval = std::chrono::seconds(flags.full_check_seconds);
    config.heartbeat = &heartbeat;
    config.on_first_sync = [&] {
        pings.ready("serving");
        if (leftovers) leftovers->remove();
    };
    ASSIGN_OR_RETURN(const auto agent, agent::Agent::create(std::move(config), source, health, metrics));
    signals.watch([&] {
        service_manager.stopping();
        agent->stop();
    });

    if (flags.once) {
        RETURN_IF_ERROR(agent->run_once());
        if (bad_objects > 0)
            return fail("{} problems in {}; all else is programmed", bad_objects.load(), flags.node.manifests);
        return {};
    }
    ASSIGN_OR_RETURN(const auto healthz, serve("--healthz-bind-address", flags.healthz_bind_address, kHealthzPort,
                                               "/healthz", [&health] { return health.healthz(); }));
    ASSIGN_OR_RETURN(const auto metrics_page, serve("--metrics-bind-address", flags.metrics_bind_address, kMetricsPort,
                                                    "/metrics", [&metrics] { return metrics.metrics(); }));
    log::info("node {}, mode {}, manifests {}", options.settings.node_name, options.mode->name, flags.node.manifests);
    return agent->run();
}

}  // namespace

void add_proxy_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("proxy", "Keep this node's rules up to date with Services and EndpointSlices");
    auto flags = std::make_shared<ProxyFlags>();
    add_node_flags(*command, flags->node);
    command
        ->add_option("--healthz-bind-address", flags->healthz_bind_address, "Where /healthz answers; empty = nowhere")
        ->capture_default_str();
    command
        ->add_option("--metrics-bind-address", flags->metrics_bind_address, "Where /metrics answers; empty = nowhere")
        ->capture_default_str();
    command
        ->add_option("--max-commits-per-second", flags->commits_per_second,
                     "At most so many transactions, on the average: other programs that write rules wait for each")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command
        ->add_option("--full-check-seconds", flags->full_check_seconds,
                     "How often all that the kernel holds is compared with what it should hold, beside following its "
                     "notifications")
        ->check(CLI::Range(1, 7 * 24 * 3600))
        ->capture_default_str();
    command->add_flag("--once", flags->once,
                      "One sync, then exit and leave the rules; fails if anything could not be programmed");
    command
        ->add_flag("--seccomp,!--no-seccomp", flags->seccomp,
                   "Refuse itself all system calls that it does not need, when it has started")
        ->capture_default_str();
    command->add_flag("--remove-kube-proxy-rules", flags->remove_kube_proxy_rules,
                      "Once the first sync is done, remove what kube-proxy's own modes left on this host");
    command->add_flag("-v,--verbose", flags->verbose, "Log more");
    command->footer(R"(Examples:
  ghostip proxy --manifests /etc/ghostip --hostname-override n1 --cluster-cidr 10.244.0.0/16,fd00:10:244::/56
  ghostip proxy --manifests web.yaml --nodeport-addresses 192.168.0.0/24 --once)");
    command->callback([flags, &run] {
        run = [flags] {
            if (flags->verbose) log::set_level(log::Level::kDebug);
            const auto result = run_proxy(*flags);
            if (!result) log::error("{}", result.error().message);
            return result ? kOk : kFailed;
        };
    });
}

}  // namespace ghostip::cli
