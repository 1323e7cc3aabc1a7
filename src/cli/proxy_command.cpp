// `ghostip proxy`: the node agent.
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "agent/agent.h"
#include "agent/health_pages.h"
#include "agent/metrics.h"
#include "agent/metrics_pages.h"
#include "agent/page_server.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/options.h"
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

// Serves pages at the address that `flag` says. Null where nobody wants them.
Result<std::unique_ptr<agent::PageServer>> serve(std::string_view flag, const std::string& bind_address,
                                                 std::uint16_t default_port, http::Routes routes) {
    std::unique_ptr<agent::PageServer> none;
    if (bind_address.empty()) return none;
    ASSIGN_OR_RETURN(const HostPort listen, parse_host_port(flag, bind_address, default_port));
    agent::PageServerConfig config;
    config.what = flag;
    config.address = listen.host;
    config.port = listen.port;
    return std::make_unique<agent::PageServer>(std::move(config), std::move(routes));
}

// Ends the agent at SIGINT or SIGTERM. The signals are blocked in all threads, which are started later.
class SignalStop {
  public:
    SignalStop() {
        sigemptyset(&signals_);
        sigaddset(&signals_, SIGINT);
        sigaddset(&signals_, SIGTERM);
        sigaddset(&signals_, SIGUSR1);
        pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    }
    void watch(agent::Agent& agent) {
        thread_ = std::thread([this, &agent] {
            int signal = 0;
            sigwait(&signals_, &signal);
            agent.stop();
        });
    }
    ~SignalStop() {
        if (!thread_.joinable()) return;
        pthread_kill(thread_.native_handle(), SIGUSR1);  // where it was not a signal that ended the agent
        thread_.join();
    }
    SignalStop(const SignalStop&) = delete;
    SignalStop& operator=(const SignalStop&) = delete;

  private:
    sigset_t signals_{};
    std::thread thread_;
};

Result<void> run_proxy(const ProxyFlags& flags) {
    ASSIGN_OR_RETURN(const NodeOptions options, node_options(flags.node));
    SignalStop signals;
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
    ASSIGN_OR_RETURN(const auto agent, agent::Agent::create(std::move(config), source, health, metrics));
    signals.watch(*agent);

    if (flags.once) {
        RETURN_IF_ERROR(agent->run_once());
        if (bad_objects > 0)
            return fail("{} problems in {}; all else is programmed", bad_objects.load(), flags.node.manifests);
        return {};
    }
    ASSIGN_OR_RETURN(const auto health_server, serve("--healthz-bind-address", flags.healthz_bind_address, kHealthzPort,
                                                     agent::health_pages(health, metrics.kube_proxy())));
    agent::MetricsPages pages;
    pages.program = "ghostip";
    pages.version = GHOSTIP_VERSION;
    pages.mode = options.mode->name;
    ASSIGN_OR_RETURN(const auto metrics_server, serve("--metrics-bind-address", flags.metrics_bind_address,
                                                      kMetricsPort, agent::metrics_pages(std::move(pages), metrics)));
    log::info("node {}, mode {}, manifests {}", options.settings.node_name, options.mode->name, flags.node.manifests);
    return agent->run();
}

}  // namespace

void add_proxy_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("proxy", "Keep this node's rules up to date with Services and EndpointSlices");
    auto flags = std::make_shared<ProxyFlags>();
    add_node_flags(*command, flags->node);
    command
        ->add_option("--healthz-bind-address", flags->healthz_bind_address,
                     "Where /healthz, /livez and /readyz answer; empty = nowhere")
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
