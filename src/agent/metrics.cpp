#include "agent/metrics.h"

#include <string>
#include <utility>

#include "agent/process.h"

namespace ghostip::agent {
namespace {

const std::string kFamilyLabel = "ip_family";  // as kube-proxy's metrics have it, with the values IPv4 and IPv6

using Kind = MetricsRegistry::Kind;

}  // namespace

Metrics::Metrics(std::string_view mode)
    : kube_proxy_(registry_, mode),
      client_(registry_),
      sync_total_(registry_.counter("ghostip_sync_total", "Syncs of the plan to the kernel, by how they ended.",
                                    {kFamilyLabel, "result"})),
      // 0.1 ms to 26 s.
      sync_duration_(registry_.histogram("ghostip_sync_duration_seconds",
                                         "From taking changes to having them in the kernel.",
                                         exponential_limits(0.0001, 4, 10), {kFamilyLabel})),
      transaction_duration_(registry_.histogram("ghostip_transaction_duration_seconds",
                                                "How long the kernel took for one transaction.",
                                                exponential_limits(0.0001, 4, 10), {kFamilyLabel})),
      foreign_writes_(registry_.counter("ghostip_foreign_writes_total",
                                        "Transactions of other programs that touched our rules.", {kFamilyLabel})),
      repairs_(registry_.counter("ghostip_repairs_total", "Repairs of what other programs did to our rules.",
                                 {kFamilyLabel})),
      drift_alarm_(registry_.gauge("ghostip_drift_alarm",
                                   "1 while another program keeps changing our rules and repairs are delayed.",
                                   {kFamilyLabel})),
      objects_set_aside_(registry_.gauge("ghostip_objects_set_aside",
                                         "Objects that the kernel refused and that are not served.", {kFamilyLabel})),
      stale_flows_removed_(registry_.counter("ghostip_stale_flows_removed_total",
                                             "Tracked flows removed because their destination went away.",
                                             {kFamilyLabel})),
      service_ports_(registry_.gauge("ghostip_service_ports", "Service ports in the kernel.", {kFamilyLabel})),
      destinations_(registry_.gauge("ghostip_plan_destinations",
                                    "Addresses and ports, and node ports, that clients can dial.", {kFamilyLabel})),
      endpoints_(registry_.gauge("ghostip_plan_endpoints", "Endpoints of all service ports that this node may send to.",
                                 {kFamilyLabel})),
      health_check_ports_(registry_.gauge("ghostip_health_check_ports",
                                          "Services whose health-check node port is served.", {kFamilyLabel})),
      transactions_(registry_.counter("ghostip_transactions_total", "Transactions committed to the kernel.").with()),
      build_(registry_.gauge("kubernetes_build_info", "[ALPHA] Always 1; the labels say which build this is.",
                             {"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date",
                              "go_version", "compiler", "platform"})),
      features_(registry_.gauge("kubernetes_feature_enabled",
                                "[BETA] 1 where the feature gate is on, 0 where it is off.", {"name", "stage"})) {
    register_process_metrics(registry_);
    auto& registered = registry_.counter("registered_metrics_total", "[BETA] Metrics there are, by stability level.",
                                         {"stability_level", "deprecated_version"});
    for (const std::string level : {"ALPHA", "BETA"})
        registered.with({level, ""}).add(static_cast<double>(registry_.count_described("[" + level + "] ")));
}

Metrics::OfFamily& Metrics::of(net::Family family) {
    const std::lock_guard lock(mutex_);
    const auto known = of_family_.find(family);
    return known != of_family_.end() ? known->second : of_family_.emplace(family, children(family)).first->second;
}

Metrics::OfFamily Metrics::children(net::Family family) {
    const std::string name(net::family_name(family));
    return {.sync_success = sync_total_.with({name, "success"}),
            .sync_error = sync_total_.with({name, "error"}),
            .sync_duration = sync_duration_.with({name}),
            .transaction_duration = transaction_duration_.with({name}),
            .foreign_writes = foreign_writes_.with({name}),
            .repairs = repairs_.with({name}),
            .drift_alarm = drift_alarm_.with({name}),
            .objects_set_aside = objects_set_aside_.with({name}),
            .stale_flows_removed = stale_flows_removed_.with({name}),
            .service_ports = service_ports_.with({name}),
            .destinations = destinations_.with({name}),
            .endpoints = endpoints_.with({name}),
            .health_check_ports = health_check_ports_.with({name})};
}

void Metrics::set_build(const BuildInfo& build) {
    build_
        .with({build.major, build.minor, build.git_version, build.git_commit, build.git_tree_state, build.build_date,
               build.go_version, build.compiler, build.platform})
        .set(1);
}

void Metrics::set_feature(const std::string& name, const std::string& stage, bool enabled) {
    features_.with({name, stage}).set(enabled ? 1 : 0);
}

void Metrics::watch(std::function<std::vector<WatchState>()> states) {
    const auto observe = [&](Kind kind, const char* name, const char* help, auto value) {
        registry_.observed_family(kind, name, help, {"resource"}, [states, value] {
            MetricsRegistry::Values values;
            for (const auto& state : states()) values.emplace_back(LabelValues{state.resource}, value(state));
            return values;
        });
    };
    observe(Kind::kGauge, "ghostip_watch_age_seconds", "Since the API server last said something about this resource.",
            [](const WatchState& state) { return state.age_seconds; });
    observe(Kind::kCounter, "ghostip_watch_relists_total", "How often everything was asked for.",
            [](const WatchState& state) { return static_cast<double>(state.relists); });
    observe(Kind::kCounter, "ghostip_watch_stalls_total",
            "Watches that were given up because nothing was heard for too long.",
            [](const WatchState& state) { return static_cast<double>(state.stalls); });
    observe(Kind::kCounter, "ghostip_watch_restarts_total", "Watches that were opened after the first.",
            [](const WatchState& state) { return static_cast<double>(state.restarts); });
    observe(Kind::kCounter, "ghostip_decode_failures_total",
            "Objects that could not be read and went on in their last good state.",
            [](const WatchState& state) { return static_cast<double>(state.decode_failures); });
    observe(Kind::kCounter, "ghostip_held_removals_total",
            "Full states that lacked so much of what there was that they were not believed at once.",
            [](const WatchState& state) { return static_cast<double>(state.held_removals); });
    observe(Kind::kGauge, "ghostip_removal_held", "1 while such a state waits to be confirmed.",
            [](const WatchState& state) { return state.holding ? 1 : 0; });
}

void Metrics::count_services(net::Family family, std::shared_ptr<ServiceCounters> counters) {
    {
        const std::lock_guard lock(mutex_);
        service_counters_[family] = std::move(counters);
        if (service_counters_.size() > 1) return;
    }
    const auto observe = [this](const char* name, const char* help, std::uint64_t ServiceCounters::Sum::*number) {
        registry_.observed_family(Kind::kCounter, name, help,
                                  {"namespace", "service", "port_name", "protocol", kFamilyLabel},
                                  [this, number] { return service_sums(number); });
    };
    observe("ghostip_service_packets_total", "Packets to a Service's port and back, of connections translated here.",
            &ServiceCounters::Sum::packets);
    observe("ghostip_service_bytes_total", "The bytes of these packets, from the IP header on.",
            &ServiceCounters::Sum::bytes);
}

MetricsRegistry::Values Metrics::service_sums(std::uint64_t ServiceCounters::Sum::*number) {
    std::map<net::Family, std::shared_ptr<ServiceCounters>> all;
    {
        const std::lock_guard lock(mutex_);
        all = service_counters_;
    }
    MetricsRegistry::Values values;
    for (const auto& [family, counters] : all)
        for (const auto& sum : counters->sums())
            values.emplace_back(
                LabelValues{sum.name.service.namespace_, sum.name.service.name, sum.name.port,
                            std::string(net::protocol_name(sum.name.protocol)), std::string(net::family_name(family))},
                static_cast<double>(sum.*number));
    return values;
}

http::Response Metrics::metrics() const {
    return {200,
            registry_.text(),
            {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
            http::Compression::kIfAccepted};
}

}  // namespace ghostip::agent
