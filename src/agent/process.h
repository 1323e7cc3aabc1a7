// This process as /proc shows it, for metrics, and what it asks of the kernel for itself.
#pragma once

#include <string>

#include "agent/metrics_registry.h"
#include "base/result.h"

namespace ghostip::agent {

// 0 where the kernel does not tell.
[[nodiscard]] double resident_memory_bytes();
[[nodiscard]] double cpu_seconds();
[[nodiscard]] double open_descriptors();
[[nodiscard]] double thread_count();
[[nodiscard]] double start_time_seconds();  // since 1970

// process_* as Prometheus' client libraries name them, and the threads under the two names of Go's runtime that
// dashboards for kube-proxy read.
void register_process_metrics(MetricsRegistry& registry);

// KubeProxyConfiguration oomScoreAdj, -1000 to 1000: how willingly the kernel ends this process when memory is short.
[[nodiscard]] Result<void> set_oom_score_adjustment(int adjustment,
                                                    const std::string& path = "/proc/self/oom_score_adj");

}  // namespace ghostip::agent
