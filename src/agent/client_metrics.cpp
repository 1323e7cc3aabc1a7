#include "agent/client_metrics.h"

#include <limits>
#include <vector>

namespace ghostip::agent {
namespace {

std::vector<double> duration_limits() { return {0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}; }

std::vector<double> size_limits() {
    return {64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216};
}

// From ten minutes over hours, days and months to four years.
std::vector<double> age_limits() {
    constexpr double kHour = 3600;
    constexpr double kDay = 24 * kHour;
    return {600, 1800, kHour, 4 * kHour, kDay, 7 * kDay, 30 * kDay, 90 * kDay, 180 * kDay, 360 * kDay, 4 * 360 * kDay};
}

}  // namespace

ClientMetrics::ClientMetrics(MetricsRegistry& registry)
    : requests_(registry.counter("rest_client_requests_total",
                                 "[ALPHA] Requests to the API server, by status, method and host.",
                                 {"code", "method", "host"})),
      duration_(registry.histogram("rest_client_request_duration_seconds",
                                   "[ALPHA] From sending a request to its answer, by verb and host.", duration_limits(),
                                   {"verb", "host"})),
      limiter_duration_(registry.histogram("rest_client_rate_limiter_duration_seconds",
                                           "[ALPHA] How long requests waited for the client's own limit.",
                                           duration_limits(), {"verb", "host"})),
      request_size_(registry.histogram("rest_client_request_size_bytes", "[ALPHA] Bodies of requests, in bytes.",
                                       size_limits(), {"verb", "host"})),
      response_size_(registry.histogram("rest_client_response_size_bytes", "[ALPHA] Bodies of answers, in bytes.",
                                        size_limits(), {"verb", "host"})),
      retries_(registry.counter("rest_client_request_retries_total", "[ALPHA] Requests that were made once more.",
                                {"code", "verb", "host"})),
      exec_calls_(registry.counter("rest_client_exec_plugin_call_total",
                                   "[ALPHA] Runs of credential plugins, by exit code and how they ended.",
                                   {"code", "call_status"})),
      rotation_age_(registry
                        .histogram("rest_client_exec_plugin_certificate_rotation_age",
                                   "[ALPHA] Age of a plugin's certificate when it was replaced, in seconds.",
                                   age_limits())
                        .with()) {
    registry.observed(MetricsRegistry::Kind::kGauge, "rest_client_exec_plugin_ttl_seconds",
                      "[ALPHA] Seconds until the credentials of a plugin expire, less than 0 when they did; +Inf: no "
                      "plugin is in use.",
                      [this] {
                          const auto expiry = expiry_seconds_.load();
                          if (expiry == 0) return std::numeric_limits<double>::infinity();
                          const auto now = std::chrono::system_clock::now().time_since_epoch();
                          return static_cast<double>(expiry) - std::chrono::duration<double>(now).count();
                      });
}

void ClientMetrics::requested(const std::string& verb, const std::string& host, const std::string& code, double seconds,
                              std::uint64_t request_body_bytes) {
    requests_.with({code, verb, host}).add();
    duration_.with({verb, host}).observe(seconds);
    request_size_.with({verb, host}).observe(static_cast<double>(request_body_bytes));
}

void ClientMetrics::responded(const std::string& verb, const std::string& host, std::uint64_t body_bytes) {
    response_size_.with({verb, host}).observe(static_cast<double>(body_bytes));
}

void ClientMetrics::waited(const std::string& verb, const std::string& host, double seconds) {
    limiter_duration_.with({verb, host}).observe(seconds);
}

void ClientMetrics::retried(const std::string& verb, const std::string& host, const std::string& code) {
    retries_.with({code, verb, host}).add();
}

void ClientMetrics::ran_exec_plugin(int exit_code, const std::string& call_status) {
    exec_calls_.with({std::to_string(exit_code), call_status}).add();
}

void ClientMetrics::set_exec_plugin_expiry(std::chrono::system_clock::time_point expiry) {
    expiry_seconds_ = std::chrono::duration_cast<std::chrono::seconds>(expiry.time_since_epoch()).count();
}

void ClientMetrics::rotated_certificate(double age_seconds) { rotation_age_.observe(age_seconds); }

}  // namespace ghostip::agent
