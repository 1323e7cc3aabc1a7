// What Kubernetes' Go clients count of their requests to an API server, under the same names. Whoever makes requests
// calls these. Thread-safe.
//
// `host` is the server's with its port; `verb` the HTTP method; `code` the HTTP status, or `<error>` where none came.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "agent/metrics_registry.h"

namespace ghostip::agent {

class ClientMetrics {
  public:
    explicit ClientMetrics(MetricsRegistry& registry);

    // A request was answered (its headers came) or failed.
    void requested(const std::string& verb, const std::string& host, const std::string& code, double seconds,
                   std::uint64_t request_body_bytes);
    // The body of an answer has ended.
    void responded(const std::string& verb, const std::string& host, std::uint64_t body_bytes);
    // The request waited for so long, because too many are not wanted.
    void waited(const std::string& verb, const std::string& host, double seconds);
    // It was made once more after an answer of this code.
    void retried(const std::string& verb, const std::string& host, const std::string& code);
    // An exec credential plugin ran. `call_status`: no_error, plugin_execution_error, plugin_not_found_error,
    // client_internal_error.
    void ran_exec_plugin(int exit_code, const std::string& call_status);
    // When the plugin's credentials expire.
    void set_exec_plugin_expiry(std::chrono::system_clock::time_point expiry);
    // How old a certificate of the plugin was when another one took its place.
    void rotated_certificate(double age_seconds);

  private:
    Family<Counter>& requests_;
    Family<Histogram>& duration_;
    Family<Histogram>& limiter_duration_;
    Family<Histogram>& request_size_;
    Family<Histogram>& response_size_;
    Family<Counter>& retries_;
    Family<Counter>& exec_calls_;
    Histogram& rotation_age_;
    std::atomic<std::int64_t> expiry_seconds_ = 0;  // since 1970; 0: no plugin
};

}  // namespace ghostip::agent
