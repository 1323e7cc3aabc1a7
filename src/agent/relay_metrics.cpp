#include "agent/relay_metrics.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace ghostip::agent {
namespace {

using dataplane::CarriedPool;
using dataplane::Carrier;
using relay::ServiceMetrics;
using Kind = MetricsRegistry::Kind;
using Values = MetricsRegistry::Values;

// A page asks for a dozen names, of one state.
constexpr std::chrono::milliseconds kOneReading{200};

template <typename Array>
void add_each(Array& sum, const Array& part) {
    std::transform(sum.begin(), sum.end(), part.begin(), sum.begin(), std::plus<>());
}

void add(ServiceMetrics& sum, const ServiceMetrics& part) {
    sum.connections_opened += part.connections_opened;
    sum.connections_open += part.connections_open;
    sum.connections_drained += part.connections_drained;
    add_each(sum.refused, part.refused);
    sum.dial_failures += part.dial_failures;
    sum.dial_timeouts += part.dial_timeouts;
    sum.bytes_to_endpoints += part.bytes_to_endpoints;
    sum.bytes_to_clients += part.bytes_to_clients;
    add_each(sum.durations, part.durations);
    sum.duration_seconds += part.duration_seconds;
    sum.sessions_opened += part.sessions_opened;
    sum.sessions_open += part.sessions_open;
    sum.datagrams_to_endpoints += part.datagrams_to_endpoints;
    sum.datagrams_to_clients += part.datagrams_to_clients;
    add_each(sum.datagrams_lost, part.datagrams_lost);
}

template <typename Array>
bool any(const Array& numbers) {
    return std::any_of(numbers.begin(), numbers.end(), [](auto number) { return number != 0; });
}

bool somebody_came(const ServiceMetrics& counted) {
    return counted.connections_opened != 0 || counted.connections_open != 0 || counted.dial_failures != 0 ||
           counted.sessions_opened != 0 || any(counted.refused) || any(counted.datagrams_lost);
}

// namespace, service, port_name, protocol, ip_family
LabelValues labels_of(const CarriedPool& pool) {
    const auto& name = pool.service_port;
    return {name.service.namespace_, name.service.name, name.port, std::string(net::protocol_name(name.protocol)),
            std::string(net::family_name(pool.family))};
}

class Readings {
  public:
    using Sums = std::map<LabelValues, ServiceMetrics>;

    explicit Readings(std::shared_ptr<const Carrier> carrier) : carrier_(std::move(carrier)) {}
    [[nodiscard]] const Carrier& carrier() const { return *carrier_; }
    [[nodiscard]] std::shared_ptr<const Sums> sums() {
        const std::lock_guard lock(mutex_);
        const auto now = std::chrono::steady_clock::now();
        if (last_ && now - read_at_ < kOneReading) return last_;
        auto sums = std::make_shared<Sums>();
        for (const auto& [pool, counted] : carrier_->metrics())
            if (somebody_came(counted)) add((*sums)[labels_of(pool)], counted);
        read_at_ = now;
        last_ = sums;
        return last_;
    }

  private:
    const std::shared_ptr<const Carrier> carrier_;
    std::mutex mutex_;
    std::shared_ptr<const Sums> last_;               // guarded by mutex_
    std::chrono::steady_clock::time_point read_at_;  // guarded by mutex_
};
using ReadingsPtr = std::shared_ptr<Readings>;

const std::vector<std::string> kLabels{"namespace", "service", "port_name", "protocol", "ip_family"};

std::vector<std::string> labels_and(std::string one) {
    auto labels = kLabels;
    labels.push_back(std::move(one));
    return labels;
}

void number(MetricsRegistry& registry, const ReadingsPtr& readings, Kind kind, const char* name, const char* help,
            std::uint64_t ServiceMetrics::*member) {
    registry.observed_family(kind, name, help, kLabels, [readings, member] {
        Values values;
        for (const auto& [labels, counted] : *readings->sums())
            values.emplace_back(labels, static_cast<double>(counted.*member));
        return values;
    });
}

// Two numbers under one name: to endpoints and to clients.
void both_ways(MetricsRegistry& registry, const ReadingsPtr& readings, const char* name, const char* help,
               std::uint64_t ServiceMetrics::*to_endpoints, std::uint64_t ServiceMetrics::*to_clients) {
    registry.observed_family(Kind::kCounter, name, help, labels_and("direction"), [=] {
        Values values;
        for (const auto& [labels, counted] : *readings->sums())
            for (const auto& [direction, member] :
                 {std::pair{"to_endpoints", to_endpoints}, std::pair{"to_clients", to_clients}}) {
                auto own = labels;
                own.emplace_back(direction);
                values.emplace_back(std::move(own), static_cast<double>(counted.*member));
            }
        return values;
    });
}

template <std::size_t N>
void by_reason(MetricsRegistry& registry, const ReadingsPtr& readings, const char* name, const char* help,
               std::array<std::uint64_t, N> ServiceMetrics::*member, const std::array<std::string_view, N>& names) {
    registry.observed_family(Kind::kCounter, name, help, labels_and("reason"), [readings, member, names] {
        Values values;
        for (const auto& [labels, counted] : *readings->sums())
            for (std::size_t i = 0; i < N; ++i) {
                if ((counted.*member)[i] == 0) continue;
                auto own = labels;
                own.emplace_back(names[i]);
                values.emplace_back(std::move(own), static_cast<double>((counted.*member)[i]));
            }
        return values;
    });
}

void of_the_whole(MetricsRegistry& registry, const ReadingsPtr& readings) {
    const auto gauge = [&](const char* name, const char* help, std::uint64_t relay::RelayMetrics::*member) {
        registry.observed(Kind::kGauge, name, help, [readings, member] {
            return static_cast<double>(readings->carrier().relay().metrics().*member);
        });
    };
    gauge("ghostip_relay_connections", "Connections that the relay carries at the moment.",
          &relay::RelayMetrics::connections_open);
    gauge("ghostip_relay_udp_sessions", "UDP clients that the relay carries at the moment.",
          &relay::RelayMetrics::sessions_open);
    gauge("ghostip_relay_held_connections", "Connections that are to be dropped, and so get no answer.",
          &relay::RelayMetrics::held_connections);
    registry.observed_family(Kind::kCounter, "ghostip_relay_accept_pauses_total",
                             "How often nothing was accepted for a while, and why.", {"reason"}, [readings] {
                                 const auto counted = readings->carrier().relay().metrics();
                                 return Values{
                                     {{"limit"}, static_cast<double>(counted.accept_pauses_limit)},
                                     {{"descriptors"}, static_cast<double>(counted.accept_pauses_descriptors)}};
                             });
}

}  // namespace

void register_relay_metrics(MetricsRegistry& registry, std::shared_ptr<const Carrier> carrier) {
    const auto readings = std::make_shared<Readings>(std::move(carrier));
    number(registry, readings, Kind::kCounter, "ghostip_relay_service_connections_total",
           "Connections for which an endpoint was reached.", &ServiceMetrics::connections_opened);
    number(registry, readings, Kind::kGauge, "ghostip_relay_service_connections", "Connections at the moment.",
           &ServiceMetrics::connections_open);
    number(registry, readings, Kind::kCounter, "ghostip_relay_service_connections_drained_total",
           "Connections that were cut because their endpoint had left for longer than --drain-timeout.",
           &ServiceMetrics::connections_drained);
    number(registry, readings, Kind::kCounter, "ghostip_relay_service_dial_failures_total",
           "Attempts to reach an endpoint that failed; time-outs too.", &ServiceMetrics::dial_failures);
    number(registry, readings, Kind::kCounter, "ghostip_relay_service_dial_timeouts_total",
           "Attempts to reach an endpoint that took too long.", &ServiceMetrics::dial_timeouts);
    by_reason(registry, readings, "ghostip_relay_service_refused_total", "Connections that got no endpoint, and why.",
              &ServiceMetrics::refused, relay::kRefusalNames);
    both_ways(registry, readings, "ghostip_relay_service_bytes_total", "Payload of TCP and UDP.",
              &ServiceMetrics::bytes_to_endpoints, &ServiceMetrics::bytes_to_clients);
    registry.observed_histograms(
        "ghostip_relay_service_connection_duration_seconds", "How long connections lasted that have ended.", kLabels,
        {relay::kDurationBounds.begin(), relay::kDurationBounds.end()}, [readings] {
            MetricsRegistry::Histograms all;
            for (const auto& [labels, counted] : *readings->sums())
                all.push_back({labels, {counted.durations.begin(), counted.durations.end()}, counted.duration_seconds});
            return all;
        });
    number(registry, readings, Kind::kCounter, "ghostip_relay_service_udp_sessions_total", "UDP clients.",
           &ServiceMetrics::sessions_opened);
    number(registry, readings, Kind::kGauge, "ghostip_relay_service_udp_sessions", "UDP clients at the moment.",
           &ServiceMetrics::sessions_open);
    both_ways(registry, readings, "ghostip_relay_service_datagrams_total", "Datagrams.",
              &ServiceMetrics::datagrams_to_endpoints, &ServiceMetrics::datagrams_to_clients);
    by_reason(registry, readings, "ghostip_relay_service_datagrams_lost_total", "Datagrams that went nowhere, and why.",
              &ServiceMetrics::datagrams_lost, relay::kDatagramLossNames);
    of_the_whole(registry, readings);
}

void register_localhost_metrics(MetricsRegistry& registry, std::shared_ptr<Carrier> carrier,
                                std::vector<dataplane::PacketCount> (*counts)()) {
    const auto by_family = [&](Kind kind, const char* name, const char* help,
                               std::atomic<std::uint64_t> dataplane::LocalhostCounts::*member) {
        registry.observed_family(kind, name, help, {"ip_family"}, [carrier, member] {
            Values values;
            for (const auto family : net::kFamilies)
                values.emplace_back(LabelValues{std::string(net::family_name(family))},
                                    static_cast<double>((carrier->localhost(family).*member).load()));
            return values;
        });
    };
    by_family(Kind::kGauge, "kubeproxy_nftables_localhost_nodeport_listeners",
              "[ALPHA] Node ports that are open at localhost.", &dataplane::LocalhostCounts::listeners);
    by_family(Kind::kCounter, "kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total",
              "[ALPHA] Attempts to open a node port at localhost that failed.", &dataplane::LocalhostCounts::failures);
    if (counts == nullptr) return;
    registry.observed_family(
        Kind::kCounter, "kubeproxy_nftables_localhost_nodeport_rejected_packets_total",
        "[ALPHA] Packets rejected at localhost on node ports of a protocol that is not relayed.",
        {"ip_family", "protocol"}, [counts] {
            Values values;
            for (const auto& count : counts())
                if (count.name == dataplane::kLocalhostNodePortsRejected && count.family && count.protocol)
                    values.emplace_back(LabelValues{std::string(net::family_name(*count.family)),
                                                    std::string(net::protocol_name(*count.protocol))},
                                        static_cast<double>(count.packets));
            return values;
        });
}

}  // namespace ghostip::agent
