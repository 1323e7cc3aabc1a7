#include "agent/slis.h"

namespace ghostip::agent {

void Slis::reset() {
    auto fresh = std::make_unique<MetricsRegistry>();
    healthcheck_ =
        &fresh->gauge("kubernetes_healthcheck", "[STABLE] 1: the check was good when last asked.", {"name", "type"});
    healthchecks_ = &fresh->counter("kubernetes_healthchecks_total", "[STABLE] Results of health checks.",
                                    {"name", "status", "type"});
    registry_ = std::move(fresh);
}

void Slis::passed(const std::string& name, const std::string& type) {
    healthcheck_->with({name, type}).set(1);
    healthchecks_->with({name, "success", type}).add();
}

http::Response Slis::page(const http::Request& request) {
    if (request.method == "DELETE") {
        reset();
        return {200, "metrics reset\n", {{"Content-Type", "text/plain; charset=utf-8"}}};
    }
    return {200,
            registry_->text(),
            {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
            http::Compression::kIfAccepted};
}

}  // namespace ghostip::agent
