// What the node agent counts: kube-proxy's metrics under its names, those of its client, and our own (ghostip_*).
// Thread-safe: the loop counts, the HTTP server reads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "agent/client_metrics.h"
#include "agent/kube_proxy_metrics.h"
#include "agent/metrics_registry.h"
#include "agent/service_counters.h"
#include "http/message.h"
#include "net/address.h"

namespace ghostip::agent {

// Labels of kubernetes_build_info.
struct BuildInfo {
    std::string major;
    std::string minor;
    std::string git_version;
    std::string git_commit;
    std::string git_tree_state;
    std::string build_date;
    std::string go_version;
    std::string compiler;
    std::string platform;
};

// One watch at an API server, as its owner sees it at the moment.
struct WatchState {
    std::string resource;               // "services"
    double age_seconds = 0;             // since something was last heard
    std::uint64_t relists = 0;          // since the start, as all that follow
    std::uint64_t restarts = 0;         // watches after the first
    std::uint64_t stalls = 0;           // open, but nothing was heard for too long
    std::uint64_t decode_failures = 0;  // objects that could not be read and keep their last good state
    std::uint64_t held_removals = 0;    // full states that lacked so much that they were not believed at once
    bool holding = false;               // one is held at the moment
};

class Metrics {
  public:
    // What one family's loop counts, without looking anything up.
    struct OfFamily {
        Counter& sync_success;
        Counter& sync_error;
        Histogram& sync_duration;         // seconds
        Histogram& transaction_duration;  // seconds
        Counter& foreign_writes;
        Counter& repairs;
        Gauge& drift_alarm;  // 1 or 0
        Gauge& objects_set_aside;
        Counter& stale_flows_removed;
        Gauge& service_ports;
        Gauge& destinations;
        Gauge& endpoints;
        Gauge& health_check_ports;
    };

    // `mode`: as the table of modes names it; kube-proxy's metrics depend on it.
    explicit Metrics(std::string_view mode);
    // A family that nobody asks for has no series.
    [[nodiscard]] OfFamily& of(net::Family family);
    // Committed to the kernel.
    [[nodiscard]] Counter& transactions() { return transactions_; }
    [[nodiscard]] KubeProxyMetrics& kube_proxy() { return kube_proxy_; }
    [[nodiscard]] ClientMetrics& client() { return client_; }
    // For families of somebody else's.
    [[nodiscard]] MetricsRegistry& registry() { return registry_; }

    // Once each, by the wiring. Feature stages: "", ALPHA, BETA, DEPRECATED.
    void set_build(const BuildInfo& build);
    void set_feature(const std::string& name, const std::string& stage, bool enabled);
    // Asked for at every reading, on the reader's thread.
    void watch(std::function<std::vector<WatchState>()> states);

    // Packets and bytes of this family's service ports, asked for at every reading. Once for each family.
    void count_services(net::Family family, std::shared_ptr<ServiceCounters> counters);

    // /metrics
    [[nodiscard]] http::Response metrics() const;

  private:
    [[nodiscard]] OfFamily children(net::Family family);
    [[nodiscard]] MetricsRegistry::Values service_sums(std::uint64_t ServiceCounters::Sum::*number);

    // The families, in the order of their declaration, before the references into them.
    MetricsRegistry registry_;
    KubeProxyMetrics kube_proxy_;
    ClientMetrics client_;
    Family<Counter>& sync_total_;
    Family<Histogram>& sync_duration_;
    Family<Histogram>& transaction_duration_;
    Family<Counter>& foreign_writes_;
    Family<Counter>& repairs_;
    Family<Gauge>& drift_alarm_;
    Family<Gauge>& objects_set_aside_;
    Family<Counter>& stale_flows_removed_;
    Family<Gauge>& service_ports_;
    Family<Gauge>& destinations_;
    Family<Gauge>& endpoints_;
    Family<Gauge>& health_check_ports_;
    Counter& transactions_;
    Family<Gauge>& build_;
    Family<Gauge>& features_;

    std::mutex mutex_;
    std::map<net::Family, OfFamily> of_family_;  // guarded by mutex_; entries stay where they are
    std::map<net::Family, std::shared_ptr<ServiceCounters>> service_counters_;  // guarded by mutex_
};

}  // namespace ghostip::agent
