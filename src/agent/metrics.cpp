#include "agent/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace ghostip::agent {
namespace {

const std::string kFamilyLabel = "ip_family";  // as kube-proxy's metrics have it, with the values IPv4 and IPv6

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

double resident_memory_bytes() {
    std::ifstream file("/proc/self/statm");
    double size_pages = 0;
    double resident_pages = 0;
    if (!(file >> size_pages >> resident_pages)) return 0;
    return resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Metrics::Metrics()
    : sync_total_(registry_.counter("ghostip_sync_total", "Syncs of the plan to the kernel, by how they ended.",
                                    {kFamilyLabel, "result"})),
      // 0.1 ms to 26 s.
      sync_duration_(registry_.histogram("ghostip_sync_duration_seconds",
                                         "From taking changes to having them in the kernel.",
                                         exponential_limits(0.0001, 4, 10), {kFamilyLabel})),
      foreign_writes_(registry_.counter("ghostip_foreign_writes_total",
                                        "Transactions of other programs that touched our table.", {kFamilyLabel})),
      repairs_(registry_.counter("ghostip_repairs_total", "Repairs of what other programs did to our table.",
                                 {kFamilyLabel})),
      drift_alarm_(registry_.gauge("ghostip_drift_alarm",
                                   "1 while another program keeps changing our table and repairs are delayed.",
                                   {kFamilyLabel})),
      objects_set_aside_(registry_.gauge("ghostip_objects_set_aside",
                                         "Objects that the kernel refused and that are not served.", {kFamilyLabel})),
      stale_flows_removed_(registry_.counter("ghostip_stale_flows_removed_total",
                                             "Tracked flows removed because their destination went away.",
                                             {kFamilyLabel})),
      service_ports_(registry_.gauge("ghostip_service_ports", "Service ports in the kernel.", {kFamilyLabel})),
      transactions_(registry_.counter("ghostip_transactions_total", "Transactions committed to the kernel.").with()),
      ipv4_(children(net::Family::kIpv4)),
      ipv6_(children(net::Family::kIpv6)) {
    using Kind = MetricsRegistry::Kind;
    registry_.observed(Kind::kGauge, "process_resident_memory_bytes", "Resident memory size in bytes.",
                       resident_memory_bytes);
    registry_.observed(Kind::kCounter, "process_cpu_seconds_total", "User and system CPU time spent in seconds.",
                       cpu_seconds);
}

Metrics::OfFamily Metrics::children(net::Family family) {
    const std::string name(net::family_name(family));
    return {.sync_success = sync_total_.with({name, "success"}),
            .sync_error = sync_total_.with({name, "error"}),
            .sync_duration = sync_duration_.with({name}),
            .foreign_writes = foreign_writes_.with({name}),
            .repairs = repairs_.with({name}),
            .drift_alarm = drift_alarm_.with({name}),
            .objects_set_aside = objects_set_aside_.with({name}),
            .stale_flows_removed = stale_flows_removed_.with({name}),
            .service_ports = service_ports_.with({name})};
}

http::Response Metrics::metrics() const {
    return {200, registry_.text(), {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}};
}

}  // namespace ghostip::agent
