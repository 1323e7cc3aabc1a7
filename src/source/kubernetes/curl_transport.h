// Requests over HTTP/1.1 or 2 by libcurl, all of them on the thread that calls run_for(). One connection carries all
// requests where the server speaks HTTP/2 (by ALPN); otherwise each watch has its own.
//
// When an HTTP/2 server breaks the protocol in the middle of an answer, libcurl 7.88 closes and calls the answer whole,
// unless it had announced its length. Who reads a body must notice by itself that it stops short.
//
// Credentials that a plugin must be asked for first do not hold anything up: the request waits, others go on.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "source/kubernetes/client_config.h"
#include "source/kubernetes/curl_exchange.h"
#include "source/kubernetes/token_bucket.h"
#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

struct CurlOptions {
    std::string user_agent = "kube-proxy";
    double qps = 5;  // below 0: no limit
    int burst = 10;
    std::chrono::milliseconds connect_limit{30'000};  // name, TCP and TLS together
    std::chrono::milliseconds tls_limit{10'000};
    // Without a head, or (but for watches) between pieces of a body. The API server itself gives up after 60 s.
    std::chrono::milliseconds silence_limit{75'000};
    Environment environment = process_environment();
    TimeSource time = {};                   // for credentials and the rate limit; the limits above are real time
    TransportObserver* observer = nullptr;  // outlives the transport
};

// `kube-proxy/v1.36.2 (linux/amd64) kubernetes/0123abc`: Kubernetes' shape. What is behind a - or + of the version is
// left out, as there.
[[nodiscard]] std::string user_agent(std::string_view program, std::string_view version, std::string_view commit);

class CurlTransport : public Transport {
  public:
    [[nodiscard]] static Result<std::unique_ptr<CurlTransport>> create(ClientConfig config, CurlOptions options);
    CurlTransport(const CurlTransport&) = delete;
    CurlTransport& operator=(const CurlTransport&) = delete;
    // Handlers hear nothing of the end.
    ~CurlTransport() override;

    [[nodiscard]] RequestId send(Request request, ResponseHandler& handler) override;
    void cancel(RequestId id) override;
    void run_for(std::chrono::milliseconds limit) override;
    void wake() override;

  private:
    using Time = std::chrono::steady_clock::time_point;
    struct MultiDeleter {
        void operator()(CURLM* multi) const { ::curl_multi_cleanup(multi); }
    };
    using Multi = std::unique_ptr<CURLM, MultiDeleter>;

    CurlTransport(ClientConfig config, CurlOptions options);
    [[nodiscard]] static Multi new_multi();

    void start_ready();
    void start(CurlExchange& exchange, Identity identity);
    void finish_done();
    void stop_sharing();
    void give_up_overdue();
    void check_certificate();
    void use_certificate(const ClientCertificate& certificate);
    // Closes all, and ends what runs on them.
    void drop_connections(std::string_view why);
    void end(CurlExchange& exchange, const std::optional<TransportError>& error);
    void on_head(CurlExchange& exchange, const ResponseHead& head);
    void sweep();
    void interrupt();
    [[nodiscard]] Result<std::string> authority();
    [[nodiscard]] Time::duration until_deadline(Time now) const;
    [[nodiscard]] std::vector<CurlExchange*> all() const;

    const ClientConfig config_;
    const CurlOptions options_;
    const CurlSettings settings_;
    TokenBucket bucket_;
    std::optional<RefreshedFile> authority_;
    std::optional<ClientCertificate> certificate_;  // that connections were opened with
    Time certificate_checked_{};
    bool happened_ = false;  // a handler was called in this run_for()
    bool busy_ = false;      // in run_for(): what is cancelled stays until sweep()
    bool saw_http1_ = false;
    RequestId last_id_ = 0;

    std::atomic<bool> woken_ = false;
    std::mutex multi_mutex_;
    Multi multi_;  // changed under multi_mutex_; others than the owner only wake it
    std::map<RequestId, std::unique_ptr<CurlExchange>> exchanges_;
    std::unique_ptr<Credentials> credentials_;  // last: its thread wakes the rest
};

}  // namespace ghostip::source::kubernetes
