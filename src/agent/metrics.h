// What the node agent counts. Thread-safe: the loop counts, the HTTP server reads.
#pragma once

#include "agent/metrics_registry.h"
#include "http/server.h"
#include "net/address.h"

namespace ghostip::agent {

class Metrics {
  public:
    // What one family's loop counts, without looking anything up.
    struct OfFamily {
        Counter& sync_success;
        Counter& sync_error;
        Histogram& sync_duration;  // seconds
        Counter& foreign_writes;
        Counter& repairs;
        Gauge& drift_alarm;  // 1 or 0
        Gauge& objects_set_aside;
        Counter& stale_flows_removed;
        Gauge& service_ports;
    };

    Metrics();
    [[nodiscard]] OfFamily& of(net::Family family) { return family == net::Family::kIpv4 ? ipv4_ : ipv6_; }
    // Committed to the kernel.
    [[nodiscard]] Counter& transactions() { return transactions_; }
    // For families of somebody else's.
    [[nodiscard]] MetricsRegistry& registry() { return registry_; }

    // /metrics
    [[nodiscard]] http::Response metrics() const;

  private:
    // The families, in the order of their declaration, before the references into them.
    MetricsRegistry registry_;
    Family<Counter>& sync_total_;
    Family<Histogram>& sync_duration_;
    Family<Counter>& foreign_writes_;
    Family<Counter>& repairs_;
    Family<Gauge>& drift_alarm_;
    Family<Gauge>& objects_set_aside_;
    Family<Counter>& stale_flows_removed_;
    Family<Gauge>& service_ports_;
    Counter& transactions_;
    OfFamily ipv4_;
    OfFamily ipv6_;

    [[nodiscard]] OfFamily children(net::Family family);
};

// Of this process, from /proc and the kernel; 0 where they do not tell.
[[nodiscard]] double resident_memory_bytes();
[[nodiscard]] double cpu_seconds();

}  // namespace ghostip::agent
