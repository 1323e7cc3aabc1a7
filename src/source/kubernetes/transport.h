// Requests to one API server and their answers as they arrive. The outside world's one interface: curl_transport.h is
// the real one, memory_transport.h its twin for tests.
//
// Everything happens on the thread that calls run_for(): handlers are called from there and nowhere else. Only wake()
// may be called from any thread. Who the server is and who we are (addresses, certificates, tokens) is the transport's
// business and not in a request.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ghostip::source::kubernetes {

struct Request {
    std::string method = "GET";
    std::string target;             // path and query, percent-encoded: `/api/v1/services?limit=500`
    std::string accept;             // media types
    std::string content_type = {};  // of the body; empty: there is none
    std::string body = {};
    // Lists take from the client's rate limit, watches do not (client-go).
    bool rate_limited = true;
};

struct ResponseHead {
    int status = 0;
    std::string content_type;
    std::optional<std::chrono::seconds> retry_after;
    std::vector<std::string> warnings;  // texts of `Warning: 299` headers
};

// Why there is no whole answer.
struct TransportError {
    enum class Kind : std::uint8_t {
        kRefused,      // nobody listens
        kTimeout,      // no connection, or no head, within the limit
        kBroken,       // the connection ended in the middle: reset, unexpected end, GOAWAY, HTTP/2 stream reset
        kTls,          // no trust, wrong name, no certificate
        kCredentials,  // a token, certificate or plugin that cannot be had: nothing was sent
        kOther,
    };
    Kind kind = Kind::kOther;
    std::string message;  // names the server
};

// Told about one request, in this order: on_head once, on_body any number of times, on_end once. on_end comes alone if
// there was no answer. Nothing comes after cancel().
class ResponseHandler {
  public:
    virtual ~ResponseHandler() = default;
    virtual void on_head(const ResponseHead& head) = 0;
    virtual void on_body(std::string_view bytes) = 0;
    // Nothing: the answer is whole.
    virtual void on_end(const std::optional<TransportError>& error) = 0;
};

using RequestId = std::uint64_t;

class Transport {
  public:
    virtual ~Transport() = default;
    // The handler outlives the request or cancels it. Never calls the handler from within.
    [[nodiscard]] virtual RequestId send(Request request, ResponseHandler& handler) = 0;
    // Also from within a handler; of a request that has ended: nothing happens.
    virtual void cancel(RequestId id) = 0;
    // Serves requests until something happened, wake() was called, or the time is over.
    virtual void run_for(std::chrono::milliseconds limit) = 0;
    virtual void wake() = 0;
};

}  // namespace ghostip::source::kubernetes
