// One request on its way and its answer as it arrives: a libcurl easy handle and what hangs on it. It does not know
// when to start or to give up; that is curl_transport.h's business. Lives on the transport's thread.
#pragma once

#include <curl/curl.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "source/kubernetes/credentials.h"
#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

// What all requests have in common.
struct CurlSettings {
    const ClientConfig& config;
    std::string user_agent;
    std::string proxy;  // empty: none
    bool http2 = true;
    std::chrono::milliseconds connect_limit{};
    // TCP probes after this long without traffic, and gives the connection up after that. 0: as the system does.
    std::chrono::seconds probe_after{};
    std::chrono::seconds dead_after{};
};

class CurlExchange {
  public:
    using Time = std::chrono::steady_clock::time_point;

    CurlExchange(RequestId id, Request request, ResponseHandler& handler)
        : id_(id), request_(std::move(request)), handler_(&handler) {}
    CurlExchange(const CurlExchange&) = delete;
    CurlExchange& operator=(const CurlExchange&) = delete;

    // Makes the handle ready for a multi handle. `on_head` is called before the handler is.
    [[nodiscard]] Result<void> open(const CurlSettings& settings, Identity identity, const std::string& authority,
                                    std::function<void(CurlExchange&, const ResponseHead&)> on_head);
    // Of what was opened; null before.
    [[nodiscard]] CURL* easy() const { return easy_.get(); }
    // The exchange that a handle belongs to.
    [[nodiscard]] static CurlExchange* of(CURL* easy);

    // The handler hears no more. Also from within it.
    void cancel() { handler_ = nullptr; }
    [[nodiscard]] bool cancelled() const { return handler_ == nullptr; }
    // Tells the handler the end, unless it was cancelled; it hears no more.
    void end(const std::optional<TransportError>& error);
    // How libcurl's result reads.
    [[nodiscard]] std::optional<TransportError> result(CURLcode code, const CurlSettings& settings) const;

    [[nodiscard]] RequestId id() const { return id_; }
    [[nodiscard]] const Request& request() const { return request_; }
    [[nodiscard]] const Identity& identity() const { return identity_; }
    [[nodiscard]] bool head_told() const { return head_told_; }
    [[nodiscard]] std::uint64_t body_bytes() const { return body_bytes_; }
    // How long TCP is connected, as seen by calling this, without TLS being through. Zero when it is, or there is none.
    // libcurl has one limit for both and does not say when the first is done.
    [[nodiscard]] Time::duration in_handshake(Time now);
    [[nodiscard]] bool is_http1() const;
    // Waits for a connection that others opened, because it may carry many requests.
    [[nodiscard]] bool waits_for_others() const { return easy_ && shares && sockets_.empty() && !head_told_; }
    // It has a connection of its own from now on. Not while the handle is in a multi handle.
    void go_alone();

    // For the transport's deadlines.
    Credentials::Ticket ticket = 0;
    Time queued_at{};  // by the clock of the rate limit, as due
    Time due{};
    Time opened_at{};    // given to libcurl
    Time heard_at{};     // the last that came from the server, or opened_at
    bool shares = true;  // before open(): waits until it is known whether a connection under way can be shared

  private:
    struct EasyDeleter {
        void operator()(CURL* easy) const { ::curl_easy_cleanup(easy); }
    };
    struct ListDeleter {
        void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
    };
    using List = std::unique_ptr<curl_slist, ListDeleter>;

    // libcurl's callbacks.
    static std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* self);
    static std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* self);
    static int on_socket(void* self, curl_socket_t socket, curlsocktype purpose);

    void set_target(const CurlSettings& settings);
    void set_tls(const CurlSettings& settings, const std::string& authority);
    void set_request(const CurlSettings& settings);
    void add(List& list, const std::string& entry);
    template <typename Value>
    void set(CURLoption option, Value value);
    [[nodiscard]] bool take_header(std::string_view line);

    const RequestId id_;
    const Request request_;
    ResponseHandler* handler_;  // null: cancelled
    Identity identity_;
    std::function<void(CurlExchange&, const ResponseHead&)> on_head_;

    List headers_;
    List connect_to_;
    std::string error_text_;  // CURL_ERROR_SIZE bytes, written by libcurl
    CURLcode set_error_ = CURLE_OK;
    const CurlSettings* settings_ = nullptr;
    std::vector<int> sockets_;  // libcurl's, opened for this request and perhaps closed since; only looked at
    std::optional<Time> connected_at_;
    ResponseHead head_;
    std::size_t header_bytes_ = 0;
    bool headers_too_large_ = false;
    bool head_told_ = false;
    std::uint64_t body_bytes_ = 0;
    std::unique_ptr<CURL, EasyDeleter> easy_;  // last: goes before what it points into
};

}  // namespace ghostip::source::kubernetes
