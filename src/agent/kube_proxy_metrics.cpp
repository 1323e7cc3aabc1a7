#include "agent/kube_proxy_metrics.h"

#include <string>
#include <utility>

namespace ghostip::agent {
namespace {

const std::string kFamily = "ip_family";

std::string name_of(net::Family family) { return std::string(net::family_name(family)); }

double unix_seconds(KubeProxyMetrics::WallTime time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// Declares one of kube-proxy's, with its prefix and its stability level.
struct Declare {
    MetricsRegistry& registry;

    [[nodiscard]] Family<Counter>& counter(const char* name, const char* help,
                                           std::vector<std::string> labels = {}) const {
        return registry.counter(full(name), described(help), std::move(labels));
    }
    [[nodiscard]] Family<Gauge>& gauge(const char* name, const char* help, std::vector<std::string> labels = {}) const {
        return registry.gauge(full(name), described(help), std::move(labels));
    }
    [[nodiscard]] Family<Histogram>& histogram(const char* name, const char* help, std::vector<double> limits) const {
        return registry.histogram(full(name), described(help), std::move(limits), {kFamily});
    }

    void observed(const char* name, const char* help, std::function<double()> value) const {
        registry.observed(MetricsRegistry::Kind::kCounter, full(name), described(help), std::move(value));
    }

  private:
    static std::string full(const char* name) { return std::string("kubeproxy_") + name; }
    static std::string described(const char* help) { return std::string("[ALPHA] ") + help; }
};

std::vector<double> sync_limits() { return exponential_limits(0.001, 2, 15); }

}  // namespace

std::vector<double> network_programming_limits() {
    std::vector<double> limits{0, 0.25, 0.5};
    for (int seconds = 1; seconds < 60; seconds += 1) limits.push_back(seconds);
    for (int seconds = 60; seconds < 120; seconds += 5) limits.push_back(seconds);
    for (int seconds = 120; seconds <= 300; seconds += 30) limits.push_back(seconds);
    return limits;
}

KubeProxyMetrics::KubeProxyMetrics(MetricsRegistry& registry, std::string_view mode)
    : sync_(Declare{registry}.histogram("sync_proxy_rules_duration_seconds", "How long syncs took, all kinds.",
                                        sync_limits())),
      full_sync_(Declare{registry}.histogram("sync_full_proxy_rules_duration_seconds",
                                             "How long syncs of everything took.", sync_limits())),
      partial_sync_(Declare{registry}.histogram("sync_partial_proxy_rules_duration_seconds",
                                                "How long syncs of what changed took.", sync_limits())),
      last_success_(Declare{registry}.gauge("sync_proxy_rules_last_timestamp_seconds",
                                            "When a sync last succeeded, in seconds since 1970.", {kFamily})),
      last_queued_(Declare{registry}.gauge("sync_proxy_rules_last_queued_timestamp_seconds",
                                           "When a sync was last asked for, in seconds since 1970.", {kFamily})),
      programming_(
          Declare{registry}.histogram("network_programming_duration_seconds",
                                      "From a change of an endpoint in the cluster until this node's kernel knows it.",
                                      network_programming_limits())),
      endpoint_changes_pending_(Declare{registry}
                                    .gauge("sync_proxy_rules_endpoint_changes_pending",
                                           "Changes of EndpointSlices that the kernel does not have yet.")
                                    .with()),
      endpoint_changes_(
          Declare{registry}
              .counter("sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices that were taken.")
              .with()),
      service_changes_pending_(Declare{registry}
                                   .gauge("sync_proxy_rules_service_changes_pending",
                                          "Changes of Services that the kernel does not have yet.")
                                   .with()),
      service_changes_(Declare{registry}
                           .counter("sync_proxy_rules_service_changes_total",
                                    "Changes of Services that were taken, once for each IP family.")
                           .with()),
      without_local_endpoints_(Declare{registry}.gauge(
          "sync_proxy_rules_no_local_endpoints_total",
          "Services of which this policy wants local endpoints, while all endpoints are on other nodes.",
          {"traffic_policy", kFamily})),
      healthz_(Declare{registry}.counter("proxy_healthz_total", "Answers of /healthz, by HTTP status.", {"code"})),
      livez_(Declare{registry}.counter("proxy_livez_total", "Answers of /livez, by HTTP status.", {"code"})),
      conntrack_reconciliation_(Declare{registry}.histogram(
          "conntrack_reconciler_sync_duration_seconds", "How long looking for stale UDP flows took.", sync_limits())),
      conntrack_deleted_(Declare{registry}.counter("conntrack_reconciler_deleted_entries_total",
                                                   "UDP flows removed from conntrack.", {kFamily})) {
    if (mode == "nftables") declare_for_nftables(registry);
    if (mode == "iptables" || mode == "ipvs") declare_restore_failures(registry);
    if (mode == "iptables") declare_for_iptables(registry);
}

void KubeProxyMetrics::declare_for_nftables(MetricsRegistry& registry) {
    const Declare declare{registry};
    nftables_failures_ = &declare.counter("sync_proxy_rules_nftables_sync_failures_total",
                                          "Syncs that nftables did not take.", {kFamily});
    nftables_cleanup_failures_ = &declare.counter("sync_proxy_rules_nftables_cleanup_failures_total",
                                                  "Removals behind a sync that failed.", {kFamily});
}

void KubeProxyMetrics::declare_restore_failures(MetricsRegistry& registry) {
    restore_failures_ = &Declare{registry}.counter("sync_proxy_rules_iptables_restore_failures_total",
                                                   "Syncs that iptables did not take.", {kFamily});
}

void KubeProxyMetrics::declare_for_iptables(MetricsRegistry& registry) {
    const Declare declare{registry};
    partial_restore_failures_ = &declare.counter("sync_proxy_rules_iptables_partial_restore_failures_total",
                                                 "Those among them that were syncs of what changed.", {kFamily});
    rules_total_ = &declare.gauge("sync_proxy_rules_iptables_total", "Rules of ours in iptables.", {"table", kFamily});
    rules_last_ =
        &declare.gauge("sync_proxy_rules_iptables_last", "Rules that the last sync wrote.", {"table", kFamily});
    // By the names of their counters in the kernel.
    const auto packets = [&](const char* name, const char* help, std::string_view counter) {
        declare.observed(name, help, [source = packets_, counter] {
            const std::lock_guard lock(source->mutex);
            if (source->ask)
                for (const auto& count : source->ask())
                    if (count.name == counter) return static_cast<double>(count.packets);
            return 0.0;
        });
    };
    packets("iptables_ct_state_invalid_dropped_packets_total", "Packets dropped because conntrack found them invalid.",
            "ct_state_invalid_dropped_pkts");
    packets("iptables_localhost_nodeports_accepted_packets_total", "Packets to node ports on loopback.",
            "localhost_nps_accepted_pkts");
}

void KubeProxyMetrics::queued(net::Family family, WallTime now) {
    last_queued_.with({name_of(family)}).set(unix_seconds(now));
}

void KubeProxyMetrics::synced(net::Family family, Sync sync, Outcome outcome, double seconds, WallTime now) {
    const LabelValues labels{name_of(family)};
    sync_.with(labels).observe(seconds);
    (sync == Sync::kFull ? full_sync_ : partial_sync_).with(labels).observe(seconds);
    // There from the first sync on, so that rates of it begin at 0.
    const double failed = outcome == Outcome::kFailure ? 1 : 0;
    if (nftables_failures_ != nullptr) nftables_failures_->with(labels).add(failed);
    if (nftables_cleanup_failures_ != nullptr) nftables_cleanup_failures_->with(labels).add(0);
    if (restore_failures_ != nullptr) restore_failures_->with(labels).add(failed);
    if (partial_restore_failures_ != nullptr)
        partial_restore_failures_->with(labels).add(sync == Sync::kPartial ? failed : 0);
    if (outcome == Outcome::kSuccess) last_success_.with(labels).set(unix_seconds(now));
}

void KubeProxyMetrics::programmed(net::Family family, double seconds) {
    programming_.with({name_of(family)}).observe(seconds);
}

void KubeProxyMetrics::took_changes(std::uint64_t services, std::uint64_t endpoint_slices) {
    service_changes_.add(static_cast<double>(services));
    service_changes_pending_.add(static_cast<double>(services));
    endpoint_changes_.add(static_cast<double>(endpoint_slices));
    endpoint_changes_pending_.add(static_cast<double>(endpoint_slices));
}

void KubeProxyMetrics::settled_changes(std::uint64_t services, std::uint64_t endpoint_slices) {
    service_changes_pending_.add(-static_cast<double>(services));
    endpoint_changes_pending_.add(-static_cast<double>(endpoint_slices));
}

void KubeProxyMetrics::set_without_local_endpoints(net::Family family, std::size_t internal, std::size_t external) {
    without_local_endpoints_.with({"internal", name_of(family)}).set(static_cast<double>(internal));
    without_local_endpoints_.with({"external", name_of(family)}).set(static_cast<double>(external));
}

void KubeProxyMetrics::cleanup_failed(net::Family family) {
    if (nftables_cleanup_failures_ != nullptr) nftables_cleanup_failures_->with({name_of(family)}).add();
}

void KubeProxyMetrics::set_rules(net::Family family, const std::vector<dataplane::RuleCount>& rules) {
    if (rules_total_ == nullptr) return;
    for (const auto& count : rules) {
        const LabelValues labels{count.part, name_of(family)};
        rules_total_->with(labels).set(static_cast<double>(count.total));
        rules_last_->with(labels).set(static_cast<double>(count.written));
    }
}

void KubeProxyMetrics::count_packets(PacketCounts source) {
    const std::lock_guard lock(packets_->mutex);
    packets_->ask = std::move(source);
}

void KubeProxyMetrics::reconciled_conntrack(net::Family family, double seconds, std::uint64_t deleted) {
    conntrack_reconciliation_.with({name_of(family)}).observe(seconds);
    conntrack_deleted_.with({name_of(family)}).add(static_cast<double>(deleted));
}

void KubeProxyMetrics::answered_healthz(unsigned code) { healthz_.with({std::to_string(code)}).add(); }

void KubeProxyMetrics::answered_livez(unsigned code) { livez_.with({std::to_string(code)}).add(); }

}  // namespace ghostip::agent
