#include "cli/run_proxy.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "agent/agent.h"
#include "agent/config/node_settings.h"
#include "agent/config/validate.h"
#include "agent/metrics.h"
#include "agent/modes.h"
#include "base/log.h"
#include "http/server.h"
#include "source/manifests/manifest_source.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

// From this verbosity on, what is for developers is logged.
constexpr std::uint32_t kDebugVerbosity = 4;

// Answers `path` at the address. Null where nobody wants it, or where it cannot listen and that is no reason to end.
Result<std::unique_ptr<http::Server>> serve(std::string_view field, const std::string& address, bool hard_fail,
                                            const std::string& path, http::Handler handler) {
    std::unique_ptr<http::Server> none;
    const auto parts = config::split_host_port(address);
    if (!parts) return none;
    std::uint16_t port = 0;
    std::from_chars(parts->port.data(), parts->port.data() + parts->port.size(), port);
    auto server = http::Server::listen(parts->host, port, {{path, std::move(handler)}});
    if (server) return std::move(server).value();
    if (hard_fail) return server.error().within(field);
    log::error("{}: {}; going on without", field, server.error().message);
    return none;
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

// Ends the agent when the configuration file changes.
class FileStop {
  public:
    FileStop(std::optional<config::FileWatch> watch, agent::Agent& agent)
        : watch_(std::move(watch)), stop_(::eventfd(0, EFD_CLOEXEC)) {
        if (!watch_) return;
        thread_ = std::thread([this, &agent] {
            const auto changed = watch_->wait(stop_.get());
            if (changed && !*changed) return;
            why_ = changed ? fail("{}", config::kFileChanged) : changed.error();
            agent.stop();
        });
    }
    ~FileStop() { static_cast<void>(end()); }
    FileStop(const FileStop&) = delete;
    FileStop& operator=(const FileStop&) = delete;

    // No more changes are waited for; an error if there was one.
    Result<void> end() {
        const std::uint64_t one = 1;
        if (thread_.joinable()) {
            (void)!::write(stop_.get(), &one, sizeof one);
            thread_.join();
        }
        if (why_) return *why_;
        return {};
    }

  private:
    std::optional<config::FileWatch> watch_;  // the thread's
    const Fd stop_;
    std::optional<Error> why_;  // the thread's until it has ended
    std::thread thread_;
};

agent::AgentConfig agent_config(const ProxySettings& settings, ProxyPlan plan) {
    agent::AgentConfig agent;
    agent.node = std::move(plan.node);
    agent.mode = plan.mode;
    agent.time_per_commit = milliseconds(1000 / settings.own.commits_per_second);
    agent.min_sync_period = duration_cast<milliseconds>(
        config::min_sync_period(settings.configuration).named.value_or(config::Duration(0)));
    agent.proxier.full_check_interval = std::chrono::seconds(settings.own.full_check_seconds);
    // kube-proxy tries a failed sync again after this time; here that is how long it takes at the latest.
    const auto period =
        std::max(duration_cast<milliseconds>(config::sync_period(settings.configuration)), milliseconds(1));
    agent.proxier.longest_retry_interval = period;
    agent.proxier.retry_interval = std::min(agent.proxier.retry_interval, period);
    return agent;
}

}  // namespace

Result<ProxyPlan> plan_proxy(const ProxySettings& settings) {
    const auto& name = settings.configuration.mode;
    ProxyPlan plan;
    plan.mode = agent::find_mode(name);
    if (plan.mode == nullptr) {
        std::string known;
        for (const auto& mode : agent::modes()) known += fmt::format("{}{}", known.empty() ? "" : "|", mode.name);
        return fail(
            "mode {} does not exist yet in ghostip; name one that does, with --proxy-mode {} or the same as `mode` in "
            "the "
            "configuration file",
            name, known);
    }
    ASSIGN_OR_RETURN(plan.node, config::node_settings(settings.configuration, settings.own.allowed_external_ips));
    return plan;
}

void set_up_logging(const config::Logging& logging) {
    log::set_level(logging.verbosity >= kDebugVerbosity ? log::Level::kDebug : log::Level::kInfo);
}

Result<void> initialize_only(const ProxySettings& /*settings*/, const ProxyPlan& plan) {
    std::string lacks;
    for (const auto family : net::kFamilies) {
        const auto missing = plan.mode->missing(family);
        if (missing.empty()) return {};
        lacks +=
            fmt::format("{}{}: {}", lacks.empty() ? "" : "; ", net::family_name(family), config::join(missing, ", "));
    }
    return fail("this host cannot do {} mode: {}", plan.mode->name, lacks);
}

Result<void> run_proxy(ProxySettings settings, ProxyPlan plan) {
    const auto& configuration = settings.configuration;
    if (settings.own.manifests.empty())
        return fail("objects can only come from --manifests so far, not from a cluster");
    SignalStop signals;
    std::atomic<int> bad_objects = 0;
    source::ManifestSource source(settings.own.manifests, [&](const api::Problem& problem) {
        if (problem.severity == api::Severity::kError) {
            ++bad_objects;
            log::error("{}", problem.text());
        } else {
            log::warning("{}", problem.text());
        }
    });
    agent::Health health;
    agent::Metrics metrics;
    const std::string node_name = plan.node.node_name;
    const std::string mode_name(plan.mode->name);
    ASSIGN_OR_RETURN(const auto agent,
                     agent::Agent::create(agent_config(settings, std::move(plan)), source, health, metrics));
    signals.watch(*agent);

    if (settings.own.once) {
        RETURN_IF_ERROR(agent->run_once());
        if (bad_objects > 0)
            return fail("{} problems in {}; all else is programmed", bad_objects.load(), settings.own.manifests);
        return {};
    }
    const bool hard_fail = configuration.bind_address_hard_fail;
    ASSIGN_OR_RETURN(const auto healthz, serve("healthzBindAddress", configuration.healthz_bind_address, hard_fail,
                                               "/healthz", [&health] { return health.healthz(); }));
    ASSIGN_OR_RETURN(
        const auto metrics_page,
        serve("metricsBindAddress", settings.own.serve_metrics ? configuration.metrics_bind_address : std::string(),
              hard_fail, "/metrics", [&metrics] { return metrics.metrics(); }));
    log::info("node {}, mode {}, manifests {}", node_name, mode_name, settings.own.manifests);
    FileStop file(std::move(settings.file_watch), *agent);
    RETURN_IF_ERROR(agent->run());
    return file.end();
}

}  // namespace ghostip::cli
