#include "agent/health_pages.h"

namespace ghostip::agent {

http::Routes health_pages(const Health& health, KubeProxyMetrics& metrics) {
    const auto healthz = [&](const http::Request& /*request*/) {
        auto answer = health.healthz();
        metrics.answered_healthz(answer.status);
        return answer;
    };
    const auto livez = [&](const http::Request& /*request*/) {
        auto answer = health.livez();
        metrics.answered_livez(answer.status);
        return answer;
    };
    const auto readyz = [&](const http::Request& /*request*/) { return health.readyz(); };
    return {{"/healthz", {healthz, http::Methods::kAny}},
            {"/livez", {livez, http::Methods::kAny}},
            {"/readyz", {readyz, http::Methods::kAny}}};
}

}  // namespace ghostip::agent
