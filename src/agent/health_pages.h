// /healthz and /livez as kube-proxy has them, and our own /readyz.
#pragma once

#include "agent/health.h"
#include "agent/kube_proxy_metrics.h"
#include "http/routes.h"

namespace ghostip::agent {

// Both outlive the routes. Any method is answered; answers are counted.
[[nodiscard]] http::Routes health_pages(const Health& health, KubeProxyMetrics& metrics);

}  // namespace ghostip::agent
