#include "cli/run_proxy.h"

#include <linux/capability.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "agent/agent.h"
#include "agent/config/scalars.h"
#include "agent/config/validate.h"
#include "agent/config/warnings.h"
#include "agent/conntrack_settings.h"
#include "agent/health_pages.h"
#include "agent/heartbeat.h"
#include "agent/ipvs_settings.h"
#include "agent/leftovers.h"
#include "agent/metrics.h"
#include "agent/privileges.h"
#include "agent/process.h"
#include "agent/relay_metrics.h"
#include "base/log.h"
#include "base/service_manager.h"
#include "cli/drain.h"
#include "cli/ending.h"
#include "cli/file_stop.h"
#include "cli/object_source.h"
#include "cli/pages.h"
#include "cli/stop_signals.h"
#include "cli/succession.h"
#include "dataplane/carrier.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;
using source::kubernetes::Event;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr std::uint16_t kFirstUnprivilegedPort = 1024;
constexpr std::chrono::seconds kLinger{2};

bool is_low_port(const std::string& address) {
    const auto port = port_of(address);
    return port != 0 && port < kFirstUnprivilegedPort;
}

agent::AgentConfig agent_config(const ProxySettings& settings, ProxyPlan plan) {
    agent::AgentConfig agent;
    agent.node = std::move(plan.node);
    agent.mode = plan.mode;
    agent.dataplane = plan.options;
    agent.dataplane.count_services = settings.own.service_counters;
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

// What needs privileges that are given up later. Failures are told and survived.
void prepare_host(const config::KubeProxyConfiguration& configuration) {
    const auto& wanted = configuration.conntrack;
    agent::ConntrackSettings conntrack;
    conntrack.max_per_core = wanted.max_per_core.value_or(0);
    conntrack.min = wanted.min.value_or(0);
    conntrack.tcp_established_timeout = wanted.tcp_established_timeout.value_or(config::Duration(0));
    conntrack.tcp_close_wait_timeout = wanted.tcp_close_wait_timeout.value_or(config::Duration(0));
    conntrack.tcp_be_liberal = wanted.tcp_be_liberal;
    conntrack.udp_timeout = wanted.udp_timeout;
    conntrack.udp_stream_timeout = wanted.udp_stream_timeout;
    agent::apply_conntrack_settings(conntrack);
    if (!configuration.oom_score_adj) return;
    if (const auto set = agent::set_oom_score_adjustment(*configuration.oom_score_adj); !set)
        log::verbose(2, "{}", set.error().message);
}

// The programs of a mode load modules of the kernel when something first needs them, which needs more privileges than
// they are left with. Trying out what there is needs all of them; what is missing is said when the mode is opened.
void load_modules(const ProxyPlan& plan) {
    for (const auto family : net::kFamilies)
        if (agent::family_enabled(family)) static_cast<void>(plan.mode->missing(family, plan.options));
}

// Without these settings the mode's packets go wrong, whoever hands out the objects.
Result<void> prepare_mode(const ProxyPlan& plan) {
    if (!plan.mode->profile().schedules) return {};
    return agent::apply_ipvs_settings(plan.options.ipvs);
}

Event node_event(const ObjectSource& objects, Event::Type type, std::string reason, std::string note = {}) {
    return {type, std::move(reason), "StartKubeProxy", objects.node(), std::move(note)};
}

Event port_event(const std::string& node_name, const plan::ServiceName& service, std::uint16_t port,
                 const Error& error) {
    return {Event::Type::kWarning,
            "FailedToStartServiceHealthcheck",
            "Listen",
            {"v1", "Service", service.namespace_, service.name, ""},
            fmt::format("node {} failed to start healthcheck \"{}\" on port {}: {}", node_name, service.text(), port,
                        error.message)};
}

// Whether the configuration fits the node, once that is known: told once, and an error if it cannot be meant.
Result<void> check_node(const config::KubeProxyConfiguration& configuration, const api::Node& node) {
    const bool dual_stack = agent::family_enabled(net::Family::kIpv6);
    const auto found = config::mismatches(configuration, config::node_facts(configuration, node, dual_stack));
    constexpr std::string_view kMaybe = "Kube-proxy configuration may be incomplete or incorrect";
    for (const auto* sentences : {&found.incomplete, &found.wrong})
        if (!sentences->empty()) log::write(log::Level::kError, kMaybe, {{"err", config::join(*sentences, "; ")}});
    if (found.fatal) return fail("kube-proxy configuration is incorrect: {}", config::join(found.wrong, "; "));
    return {};
}

bool listens_low(const dataplane::RelayOptions& relay) {
    return std::any_of(relay.listen.begin(), relay.listen.end(),
                       [](const auto& request) { return request.at.port < kFirstUnprivilegedPort; });
}

// Null where the mode carries nothing. Its threads have the privileges of this one.
Result<std::shared_ptr<dataplane::Carrier>> start_carrier(const ProxyPlan& plan, agent::Metrics& metrics,
                                                          Succession& succession) {
    const bool localhost = plan.options.relay.localhost_node_ports;
    if (!plan.mode->profile().relays && !localhost) return std::shared_ptr<dataplane::Carrier>();
    ASSIGN_OR_RETURN(auto carrier, dataplane::Carrier::start(plan.options.relay, succession.take_listeners(),
                                                             succession.keeper(), succession.predecessor()));
    agent::register_relay_metrics(metrics.registry(), carrier);
    if (localhost) agent::register_localhost_metrics(metrics.registry(), carrier, plan.mode->packet_counts);
    return carrier;
}

// Kubelet sets it in every container, and starts those of a DaemonSet again that end by themselves.
bool in_a_pod() { return std::getenv("KUBERNETES_SERVICE_HOST") != nullptr; }

// A changed configuration is the successor's business. An error: there is nobody any more, so start this one again.
Result<void> wait_for_end_of_pod(const Succession& succession, Ending& ending) {
    constexpr std::chrono::seconds kLook{1};
    constexpr int kPatience = 3;  // its own container may be started again at once
    log::info("nothing is carried any more; waiting for the end of the pod, whose container would be started again");
    for (int gone = 0; gone < kPatience; gone = succession.nobody_serves() ? gone + 1 : 0)
        if (ending.wait_for_signal(kLook)) return {};
    return fail("the ghostip that took over has ended, and nobody serves after it");
}

void describe_build(const ProxySettings& settings, agent::Metrics& metrics) {
    const auto parts = config::split(std::string_view(settings.version).substr(1), '.');
    metrics.set_build({.major = std::string(parts.front()),
                       .minor = parts.size() > 1 ? std::string(parts[1]) : std::string(),
                       .git_version = settings.version,
                       .git_commit = "ghostip-" GHOSTIP_VERSION,
                       .git_tree_state = "",
                       .build_date = "",
                       .go_version = "",
                       .compiler = "g++",
                       .platform = "linux"});
    for (const auto& gate : config::known_gates())
        metrics.set_feature(std::string(gate.name), std::string(config::stage_name(gate.stage)),
                            config::gate_enabled(settings.configuration.feature_gates, gate.name));
}

}  // namespace

Result<void> initialize_only(const ProxySettings& settings, const ProxyPlan& plan) {
    std::string lacks;
    for (const auto family : net::kFamilies) {
        const auto missing = plan.mode->missing(family, plan.options);
        if (missing.empty()) {
            prepare_host(settings.configuration);
            return prepare_mode(plan);
        }
        lacks +=
            fmt::format("{}{}: {}", lacks.empty() ? "" : "; ", net::family_name(family), config::join(missing, ", "));
    }
    return fail("this host cannot do {} mode: {}", plan.mode->name, lacks);
}

Result<void> run_proxy(ProxySettings settings, ProxyPlan plan) {
    const auto& configuration = settings.configuration;
    const bool once = settings.own.once;
    auto kept = ServiceManager::kept();
    const std::string node_name = plan.node.node_name;
    const std::string metrics_address = settings.own.serve_metrics ? configuration.metrics_bind_address : std::string();
    agent::Metrics metrics(plan.mode->name);
    if (plan.mode->packet_counts != nullptr) metrics.kube_proxy().count_packets(plan.mode->packet_counts);
    describe_build(settings, metrics);
    ASSIGN_OR_RETURN(const auto objects, ObjectSource::create(settings, metrics));

    ::signal(SIGPIPE, SIG_IGN);  // who is gone is told by an error
    // Still one thread and all privileges: what needs them comes first.
    std::unique_ptr<agent::Leftovers> leftovers;
    if (!once && !agent::has_capability(CAP_NET_ADMIN)) {
        log::info(
            "what other modes left is not looked for: this process may not ask the kernel (it has no CAP_NET_ADMIN)");
    } else if (!once) {
        const auto whose = settings.own.remove_kube_proxy_rules ? agent::Whose::kEverybodys : agent::Whose::kOurs;
        // Rules that lead to a relay are another mode's where nothing is to be redirected.
        const bool redirects = !plan.mode->rules_of.empty() && plan.options.relay.redirect;
        auto prepared = agent::Leftovers::prepare(whose, redirects ? plan.mode->rules_of : plan.mode->name);
        if (prepared)
            leftovers = std::move(*prepared);
        else
            log::warning("{}; what other modes left stays", prepared.error().message);
    }
    if (objects->is_cluster()) prepare_host(configuration);
    if (plan.mode->calls == dataplane::Calls::kRunPrograms) load_modules(plan);
    RETURN_IF_ERROR(prepare_mode(plan));
    agent::Privileges privileges{plan.mode->capabilities};
    privileges.mode_runs_programs = plan.mode->calls == dataplane::Calls::kRunPrograms;
    privileges.low_ports = is_low_port(configuration.healthz_bind_address) || is_low_port(metrics_address) ||
                           listens_low(plan.options.relay);
    privileges.programs =
        privileges.mode_runs_programs || objects->runs_programs() ? agent::Programs::kAllowed : agent::Programs::kNone;
    privileges.filter_calls = settings.own.seccomp;
    const auto service_manager = ServiceManager::from_environment();
    agent::drop_privileges(privileges);

    Ending ending;
    ASSIGN_OR_RETURN(const auto succession, Succession::begin(once ? "" : settings.own.relay.handover_socket,
                                                              service_manager, std::move(kept)));
    ASSIGN_OR_RETURN(plan.options.relay.carrier, start_carrier(plan, metrics, *succession));
    const auto carrier = plan.options.relay.carrier;
    const auto drain_time = plan.options.relay.drain;

    Drain drain_first(carrier, drain_time);
    const auto stop = [&] {
        service_manager.stopping(drain_first.longest());
        drain_first.begin([&] { ending.stop(); });
    };
    StopSignals signals;
    agent::Heartbeat heartbeat;
    agent::WatchdogPings pings(service_manager, heartbeat);
    service_manager.status("waiting for the first list of Services");
    RETURN_IF_ERROR(objects->open(node_name));
    agent::Health health(
        {.sync_period = config::sync_period(configuration),
         .node_object = objects->is_cluster() ? agent::NodeObject::kExpected : agent::NodeObject::kOptional});
    const auto metrics_pages = metrics_pages_of(settings, plan.mode->name);
    log::info("node {}, mode {}, {}", node_name, plan.mode->name, objects->text());
    auto agent_settings = agent_config(settings, std::move(plan));
    agent_settings.heartbeat = &heartbeat;
    agent::Agent* the_agent = nullptr;  // when it syncs
    Pages pages;
    agent_settings.on_first_list = [&] { succession->about_to_write(); };
    agent_settings.on_first_sync = [&](std::string_view variant) {
        pings.ready("serving");
        succession->serve(carrier, *the_agent, [&pages](bool open) { pages.set(open); });
        if (leftovers) leftovers->remove(variant);
    };
    agent_settings.on_health_check_port_failed = [&](const plan::ServiceName& service, std::uint16_t port,
                                                     const Error& error) {
        objects->post(port_event(node_name, service, port, error));
    };
    agent_settings.on_node = [&, checked = false](const api::Node& node) mutable {
        if (std::exchange(checked, true)) return;
        if (auto fits = check_node(configuration, node); !fits) ending.set(std::move(fits).error());
    };
    succession->watch(carrier, [&ending](Error error) { ending.set(std::move(error)); });
    // From here on, for a mode that runs programs takes its time to be opened.
    signals.watch(
        [&] {
            ending.note_signal();
            stop();
        },
        drain_first.longest());
    ASSIGN_OR_RETURN(const auto agent,
                     agent::Agent::create(std::move(agent_settings), objects->source(), health, metrics));
    const Ending::Of ended_by(ending, *agent);
    the_agent = agent.get();

    if (once) {
        const auto done = agent->run_once();
        RETURN_IF_ERROR(ending.get());  // nothing was written where the configuration does not fit the node
        RETURN_IF_ERROR(done);
        if (objects->bad_objects() > 0)
            return fail("{} problems in {}; all else is programmed", objects->bad_objects(), settings.own.manifests);
        return {};
    }
    const auto on_hard_failure = [&](std::string what, std::string reason) -> std::function<void(const Error&)> {
        if (!configuration.bind_address_hard_fail) return nullptr;
        return [&, what = std::move(what), reason = std::move(reason)](const Error& error) {
            objects->post(node_event(*objects, Event::Type::kWarning, reason, error.message));
            ending.set(error.within(what));
        };
    };
    const Succession::Waiting successors(*succession);
    pages.open_by([&] {
        std::vector<std::unique_ptr<agent::PageServer>> servers;
        servers.push_back(serve("healthzBindAddress", configuration.healthz_bind_address,
                                agent::health_pages(health, metrics.kube_proxy()),
                                on_hard_failure("healthzBindAddress", "FailedToStartProxierHealthcheck")));
        servers.push_back(serve("metricsBindAddress", metrics_address, agent::metrics_pages(metrics_pages, metrics),
                                on_hard_failure("metricsBindAddress", "FailedToStartMetricServer")));
        return servers;
    });
    FileStop file(std::move(settings.file_watch), stop);
    objects->post(node_event(*objects, Event::Type::kNormal, "Starting"));
    RETURN_IF_ERROR(agent->run());
    RETURN_IF_ERROR(ending.get());
    heartbeat.waiting(std::chrono::hours(24 * 365));
    if (!succession->succeeded()) {
        if (carrier) carrier->leave_to_keeper();
        return file.end();
    }
    // The successor removes UDP flows that led here once it has begun to serve; until then they are served.
    static_cast<void>(carrier->relay().wait_until_idle(kLinger));
    carrier->relay().close_all_listeners();
    drain(carrier->relay(), drain_time, [] { return false; });
    return in_a_pod() ? wait_for_end_of_pod(*succession, ending) : file.end();
}

}  // namespace ghostip::cli
