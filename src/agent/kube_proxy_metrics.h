// What kube-proxy counts, under its names, so that dashboards and alerts made for it go on working. Labels, buckets and
// stability levels are those of Kubernetes 1.36; only what exists in nftables mode. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "agent/metrics_registry.h"
#include "net/address.h"

namespace ghostip::agent {

class KubeProxyMetrics {
  public:
    using WallTime = std::chrono::system_clock::time_point;
    enum class Sync : std::uint8_t { kFull, kPartial };
    enum class Outcome : std::uint8_t { kSuccess, kFailure };

    explicit KubeProxyMetrics(MetricsRegistry& registry);

    // A sync was asked for.
    void queued(net::Family family, WallTime now);
    void synced(net::Family family, Sync sync, Outcome outcome, double seconds, WallTime now);
    // So long after somebody changed an endpoint, the kernel knew.
    void programmed(net::Family family, double seconds);
    // Changes that came, and that wait no longer.
    void took_changes(std::uint64_t services, std::uint64_t endpoint_slices);
    void settled_changes(std::uint64_t services, std::uint64_t endpoint_slices);
    // Services whose policy wants local endpoints, where all are elsewhere.
    void set_without_local_endpoints(net::Family family, std::size_t internal, std::size_t external);
    // What was to be removed behind a sync was not.
    void cleanup_failed(net::Family family);
    void reconciled_conntrack(net::Family family, double seconds, std::uint64_t deleted);
    void answered_healthz(unsigned code);
    void answered_livez(unsigned code);

  private:
    Family<Histogram>& sync_;
    Family<Histogram>& full_sync_;
    Family<Histogram>& partial_sync_;
    Family<Gauge>& last_success_;
    Family<Gauge>& last_queued_;
    Family<Histogram>& programming_;
    Gauge& endpoint_changes_pending_;
    Counter& endpoint_changes_;
    Gauge& service_changes_pending_;
    Counter& service_changes_;
    Family<Gauge>& without_local_endpoints_;
    Family<Counter>& healthz_;
    Family<Counter>& livez_;
    Family<Counter>& nftables_failures_;
    Family<Counter>& nftables_cleanup_failures_;
    Family<Histogram>& conntrack_reconciliation_;
    Family<Counter>& conntrack_deleted_;
};

// Upper limits of network_programming_duration_seconds.
[[nodiscard]] std::vector<double> network_programming_limits();

}  // namespace ghostip::agent
