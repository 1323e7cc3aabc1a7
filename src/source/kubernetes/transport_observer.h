// What a transport tells beside the answers: figures for the rest_client_* metrics, and lines for the log.
//
// All calls come on the thread that calls Transport::run_for(), none from within send() or cancel().
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace ghostip::source::kubernetes {

struct RequestDone {
    std::string method;  // GET
    std::string host;    // 10.0.0.1:6443
    std::string code;    // 200, or `<error>` where there was no answer
    std::chrono::duration<double> duration{};
    std::uint64_t request_bytes = 0;  // of the body
};

struct PluginCalled {
    int exit_code = 0;
    std::string
        status;  // client-go's words: no_error, plugin_execution_error, plugin_not_found_error, client_internal_error
    std::optional<std::chrono::system_clock::time_point> expires;
};

class TransportObserver {
  public:
    virtual ~TransportObserver() = default;
    // When the head of an answer is there, or it is certain that none will come. As client-go measures: a watch is done
    // when it is open.
    virtual void on_request_done(const RequestDone& /*done*/) {}
    // When the body has ended, well or not.
    virtual void on_response_size(const std::string& /*method*/, const std::string& /*host*/, std::uint64_t /*bytes*/) {
    }
    // How long the client's own rate limit held a request back; also when it did not.
    virtual void on_rate_limited(const std::string& /*method*/, const std::string& /*host*/,
                                 std::chrono::duration<double> /*wait*/) {}
    virtual void on_plugin_called(const PluginCalled& /*called*/) {}
    // Something was survived, and what follows. Without secrets.
    virtual void on_notice(const std::string& /*line*/) {}
};

}  // namespace ghostip::source::kubernetes
