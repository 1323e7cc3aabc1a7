// The pages of the metrics address: /metrics, /metrics/slis, /healthz, /proxyMode, /configz, /flagz, /statusz,
// /debug/flags/v. Go's profiles (/debug/pprof/) do not exist here: 404.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "agent/metrics.h"
#include "base/result.h"
#include "http/routes.h"

namespace ghostip::agent {

struct MetricsPages {
    std::string program = "kube-proxy";  // as /flagz and /statusz name it
    std::string version;                 // "v1.36.2"
    std::string mode;                    // as the table of modes names it
    // A JSON object: what /configz shows, `{"kubeproxy.config.k8s.io":{…}}`. Empty: the page does not exist.
    std::string configz;
    // Every flag with its value. Empty, or the gate is off: the page does not exist.
    std::vector<std::pair<std::string, std::string>> flags;
    bool with_statusz = true;  // gate ComponentStatusz
    // enableProfiling: sets the verbosity of the log while running. Null: the page does not exist.
    std::function<Result<void>(int verbosity)> set_verbosity = nullptr;
    std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
};

// `metrics` outlives the routes.
[[nodiscard]] http::Routes metrics_pages(MetricsPages pages, const Metrics& metrics);

}  // namespace ghostip::agent
