// /metrics/slis: how often the health checks of the metrics address were asked for and what they said. Used by one
// thread, the server's.
#pragma once

#include <memory>
#include <string>

#include "agent/metrics_registry.h"
#include "http/message.h"

namespace ghostip::agent {

class Slis {
  public:
    Slis() { reset(); }
    // A check was good.
    void passed(const std::string& name, const std::string& type);
    // GET: the counts. DELETE: they begin anew.
    [[nodiscard]] http::Response page(const http::Request& request);

  private:
    void reset();

    std::unique_ptr<MetricsRegistry> registry_;
    Family<Gauge>* healthcheck_ = nullptr;     // in registry_
    Family<Counter>* healthchecks_ = nullptr;  // in registry_
};

}  // namespace ghostip::agent
