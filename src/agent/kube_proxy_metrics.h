// What kube-proxy counts, under its names, so that dashboards and alerts made for it go on working. Labels, buckets and
// stability levels are those of Kubernetes 1.36; only what exists in the mode that runs. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "agent/metrics_registry.h"
#include "dataplane/dataplane.h"
#include "net/address.h"

namespace ghostip::agent {

class KubeProxyMetrics {
  public:
    using WallTime = std::chrono::system_clock::time_point;
    enum class Sync : std::uint8_t { kFull, kPartial };
    enum class Outcome : std::uint8_t { kSuccess, kFailure };

    // `mode`: as the table of modes names it.
    KubeProxyMetrics(MetricsRegistry& registry, std::string_view mode);

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
    // Of modes that count their rules.
    void set_rules(net::Family family, const std::vector<dataplane::RuleCount>& rules);
    // Where the packets come from that the mode's own rules count; asked for at every reading, on the reader's thread.
    // Without it they are 0. Called once.
    using PacketCounts = std::function<std::vector<dataplane::PacketCount>()>;
    void count_packets(PacketCounts source);
    void reconciled_conntrack(net::Family family, double seconds, std::uint64_t deleted);
    void answered_healthz(unsigned code);
    void answered_livez(unsigned code);

  private:
    // Shared with what reads the metrics page.
    struct PacketSource {
        std::mutex mutex;
        PacketCounts ask;  // guarded by mutex; null: nobody counts
    };
    void declare_for_nftables(MetricsRegistry& registry);
    void declare_restore_failures(MetricsRegistry& registry);
    void declare_for_iptables(MetricsRegistry& registry);

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
    Family<Histogram>& conntrack_reconciliation_;
    Family<Counter>& conntrack_deleted_;
    // Null in other modes.
    Family<Counter>* nftables_failures_ = nullptr;
    Family<Counter>* nftables_cleanup_failures_ = nullptr;
    Family<Counter>* restore_failures_ = nullptr;
    Family<Counter>* partial_restore_failures_ = nullptr;
    Family<Gauge>* rules_total_ = nullptr;
    Family<Gauge>* rules_last_ = nullptr;
    const std::shared_ptr<PacketSource> packets_ = std::make_shared<PacketSource>();
};

// Upper limits of network_programming_duration_seconds.
[[nodiscard]] std::vector<double> network_programming_limits();

}  // namespace ghostip::agent
