// What the relay of this process counts, for /metrics: by service port, of both of its pools, and for the whole.
#pragma once

#include <memory>
#include <vector>

#include "agent/metrics_registry.h"
#include "dataplane/carrier.h"
#include "dataplane/dataplane.h"

namespace ghostip::agent {

// Once. Service ports that nobody has come to yet have no series.
void register_relay_metrics(MetricsRegistry& registry, std::shared_ptr<const dataplane::Carrier> carrier);

// Once: node ports at localhost, under the names of KEP-6032. `counts` is Mode::packet_counts, null for none.
void register_localhost_metrics(MetricsRegistry& registry, std::shared_ptr<dataplane::Carrier> carrier,
                                std::vector<dataplane::PacketCount> (*counts)());

}  // namespace ghostip::agent
