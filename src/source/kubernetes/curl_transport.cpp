#include "source/kubernetes/curl_transport.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <utility>

#include "source/kubernetes/pem.h"
#include "source/kubernetes/proxy.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using Kind = TransportError::Kind;

constexpr auto kAuthorityAge = 5min;
constexpr auto kCertificateCheck = 5min;
constexpr long kIdleConnections = 25;
constexpr std::int64_t kLongestPoll = 60'000;  // ms

std::chrono::seconds seconds_of(const Environment& environment, const std::string& name,
                                std::chrono::seconds otherwise) {
    const std::string text = environment(name).value_or("");
    int value = 0;
    const char* const end = text.data() + text.size();
    const bool good =
        std::from_chars(text.data(), end, value) == std::from_chars_result{end, std::errc()} && value >= 0;
    return good && !text.empty() ? std::chrono::seconds(value) : otherwise;
}

CurlSettings settings_of(const ClientConfig& config, const CurlOptions& options) {
    // client-go pings a silent HTTP/2 connection. libcurl has no such thing that tells of an answer; TCP's own probes,
    // by the same variables, notice a peer that is gone, though not one whose process hangs.
    const auto idle = seconds_of(options.environment, "HTTP2_READ_IDLE_TIMEOUT_SECONDS", 30s);
    const auto unanswered = seconds_of(options.environment, "HTTP2_PING_TIMEOUT_SECONDS", 15s);
    return {.config = config,
            .user_agent = options.user_agent,
            .proxy = proxy_for(config, options.environment),
            .http2 = options.environment("DISABLE_HTTP2").value_or("").empty(),
            .connect_limit = options.connect_limit,
            .probe_after = idle,
            .dead_after = idle + unanswered};
}

// OpenSSL writes to connections that are gone; libcurl leaves the signal to us (CURLOPT_NOSIGNAL). Not delivered to
// this thread meanwhile, and taken away at the end.
class WithoutSigpipe {
  public:
    WithoutSigpipe() {
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    WithoutSigpipe(const WithoutSigpipe&) = delete;
    WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
    ~WithoutSigpipe() {
        const timespec at_once{};
        while (::sigtimedwait(&pipe_, nullptr, &at_once) > 0) {
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

  private:
    sigset_t pipe_{};
    sigset_t before_{};
};

// May be silent for as long as it likes.
bool is_open_watch(const CurlExchange& exchange) { return exchange.head_told() && !exchange.request().rate_limited; }

constexpr const char* go_architecture() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__s390x__)
    return "s390x";
#elif defined(__powerpc64__)
    return "ppc64le";
#else
    return "unknown";
#endif
}

}  // namespace

std::string user_agent(std::string_view program, std::string_view version, std::string_view commit) {
    return fmt::format("{}/{} (linux/{}) kubernetes/{}", program, version.substr(0, version.find_first_of("-+")),
                       go_architecture(), commit.substr(0, 7));
}

Result<std::unique_ptr<CurlTransport>> CurlTransport::create(ClientConfig config, CurlOptions options) {
    // Once for the process; thread-safe since 7.84.
    static const CURLcode ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready != CURLE_OK) return fail("libcurl: {}", ::curl_easy_strerror(ready));
    std::unique_ptr<CurlTransport> transport(new CurlTransport(std::move(config), std::move(options)));
    if (!transport->multi_) return fail("libcurl gives no handle");
    return transport;
}

CurlTransport::CurlTransport(ClientConfig config, CurlOptions options)
    : config_(std::move(config)),
      options_(std::move(options)),
      settings_(settings_of(config_, options_)),
      bucket_(options_.qps, options_.burst),
      multi_(new_multi()),
      credentials_(std::make_unique<Credentials>(
          config_, options_.environment, options_.time, [this] { interrupt(); }, options_.observer)) {
    if (config_.authority.data.empty() && !config_.authority.file.empty())
        authority_.emplace(config_.authority.file, kAuthorityAge, [](std::string content) -> Result<std::string> {
            if (!has_pem_block(content, "CERTIFICATE")) return fail("holds no CERTIFICATE in PEM");
            return content;
        });
}

CurlTransport::~CurlTransport() {
    const WithoutSigpipe quiet;
    credentials_.reset();  // a plugin's thread may still call interrupt()
    for (CurlExchange* exchange : all())
        if (exchange->easy() != nullptr) ::curl_multi_remove_handle(multi_.get(), exchange->easy());
    exchanges_.clear();
    multi_.reset();
}

CurlTransport::Multi CurlTransport::new_multi() {
    Multi multi(::curl_multi_init());
    if (multi) ::curl_multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, kIdleConnections);
    return multi;
}

RequestId CurlTransport::send(Request request, ResponseHandler& handler) {
    const RequestId id = ++last_id_;
    auto exchange = std::make_unique<CurlExchange>(id, std::move(request), handler);
    exchange->ticket = credentials_->ticket();
    exchange->queued_at = options_.time.steady();
    exchange->due = exchange->request().rate_limited ? bucket_.take(exchange->queued_at) : exchange->queued_at;
    exchanges_.emplace(id, std::move(exchange));
    return id;
}

void CurlTransport::cancel(RequestId id) {
    const auto found = exchanges_.find(id);
    if (found == exchanges_.end()) return;
    found->second->cancel();
    if (busy_) return;
    const WithoutSigpipe quiet;
    sweep();
}

void CurlTransport::wake() {
    woken_ = true;
    interrupt();
}

void CurlTransport::interrupt() {
    const std::lock_guard lock(multi_mutex_);
    ::curl_multi_wakeup(multi_.get());
}

void CurlTransport::run_for(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    const WithoutSigpipe quiet;
    busy_ = true;
    happened_ = false;
    while (true) {
        check_certificate();
        start_ready();
        int running = 0;
        ::curl_multi_perform(multi_.get(), &running);
        finish_done();
        if (saw_http1_) stop_sharing();
        give_up_overdue();
        sweep();
        const auto now = std::chrono::steady_clock::now();
        if (woken_.exchange(false) || happened_ || now >= end) break;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::min(end - now, until_deadline(now)));
        ::curl_multi_poll(multi_.get(), nullptr, 0,
                          static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kLongestPoll)), nullptr);
    }
    busy_ = false;
}

std::vector<CurlExchange*> CurlTransport::all() const {
    std::vector<CurlExchange*> exchanges;
    for (const auto& [id, exchange] : exchanges_) exchanges.push_back(exchange.get());
    return exchanges;
}

// Handlers send while this walks: what they send waits for the next round.
void CurlTransport::start_ready() {
    const Time now = options_.time.steady();
    for (CurlExchange* exchange : all()) {
        if (exchange->easy() != nullptr || exchange->cancelled() || exchange->due > now) continue;
        auto prepared = credentials_->prepare(exchange->ticket);
        if (auto* identity = std::get_if<Identity>(&prepared))
            start(*exchange, std::move(*identity));
        else if (const auto* error = std::get_if<Error>(&prepared))
            end(*exchange,
                TransportError{Kind::kCredentials, config_.server.text() + ": no credentials: " + error->message});
    }
}

void CurlTransport::start(CurlExchange& exchange, Identity identity) {
    auto roots = authority();
    if (!roots) return end(exchange, TransportError{Kind::kTls, config_.server.text() + ": " + roots.error().message});
    use_certificate(identity.certificate);
    exchange.shares = !saw_http1_;
    const auto opened = exchange.open(settings_, std::move(identity), *roots,
                                      [this](CurlExchange& told, const ResponseHead& head) { on_head(told, head); });
    if (!opened)
        return end(exchange, TransportError{Kind::kOther, config_.server.text() + ": " + opened.error().message});
    exchange.opened_at = exchange.heard_at = std::chrono::steady_clock::now();
    if (options_.observer != nullptr && exchange.request().rate_limited)
        options_.observer->on_rate_limited(exchange.request().method, config_.server.host_and_port(),
                                           exchange.due - exchange.queued_at);
    ::curl_multi_add_handle(multi_.get(), exchange.easy());
}

Result<std::string> CurlTransport::authority() {
    if (!authority_) return config_.authority.data;
    auto content = authority_->content(options_.time.steady());
    const auto failure = authority_->take_failure();
    if (content && failure && options_.observer != nullptr)
        options_.observer->on_notice(failure->message + "; the certificate authority read before is used");
    return content;
}

void CurlTransport::use_certificate(const ClientCertificate& certificate) {
    if (certificate_ && *certificate_ != certificate) drop_connections("the client certificate has changed");
    certificate_ = certificate;
}

// Also when nothing is sent for long. A plugin's certificate changes only with a request.
void CurlTransport::check_certificate() {
    const Time now = options_.time.steady();
    if (!certificate_ || config_.certificate.file.empty() || now - certificate_checked_ < kCertificateCheck) return;
    certificate_checked_ = now;
    if (const auto certificate = credentials_->configured_certificate()) use_certificate(*certificate);
}

void CurlTransport::drop_connections(std::string_view why) {
    for (CurlExchange* exchange : all()) {
        if (exchange->easy() == nullptr || exchange->opened_at == Time()) continue;
        ::curl_multi_remove_handle(multi_.get(), exchange->easy());
        end(*exchange,
            TransportError{Kind::kBroken, fmt::format("{}: connections are closed: {}", config_.server.text(), why)});
    }
    Multi fresh = new_multi();
    const std::lock_guard lock(multi_mutex_);
    if (fresh) std::swap(multi_, fresh);
}

// The server speaks HTTP/1.1: each request needs a connection of its own. libcurl 7.88 lets only one of those that wait
// for a shared one go on when it learns that, and the next when a request ends; a watch does not.
void CurlTransport::stop_sharing() {
    for (CurlExchange* exchange : all()) {
        if (!exchange->waits_for_others()) continue;
        ::curl_multi_remove_handle(multi_.get(), exchange->easy());
        exchange->go_alone();
        ::curl_multi_add_handle(multi_.get(), exchange->easy());
    }
}

void CurlTransport::finish_done() {
    int left = 0;
    while (const CURLMsg* message = ::curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        CurlExchange* exchange = CurlExchange::of(message->easy_handle);
        const CURLcode code = message->data.result;  // gone with the handle
        const auto result = exchange->result(code, settings_);
        ::curl_multi_remove_handle(multi_.get(), exchange->easy());
        end(*exchange, result);
    }
}

void CurlTransport::give_up_overdue() {
    const Time now = std::chrono::steady_clock::now();
    const std::string server = config_.server.text();
    for (CurlExchange* exchange : all()) {
        if (exchange->easy() == nullptr || exchange->cancelled()) continue;
        if (exchange->in_handshake(now) > options_.tls_limit) {
            ::curl_multi_remove_handle(multi_.get(), exchange->easy());
            end(*exchange, TransportError{Kind::kTimeout,
                                          fmt::format("{}: no TLS within {} ms", server, options_.tls_limit.count())});
            continue;
        }
        if (is_open_watch(*exchange) || now - exchange->heard_at <= options_.silence_limit) continue;
        const bool had_head = exchange->head_told();
        ::curl_multi_remove_handle(multi_.get(), exchange->easy());
        end(*exchange, TransportError{Kind::kTimeout, fmt::format("{}: {} for {} ms", server,
                                                                  had_head ? "the answer stands still" : "no answer",
                                                                  options_.silence_limit.count())});
        // libcurl would go on to use a connection that many share; one that is not answered on is dead for all.
        if (!saw_http1_) return drop_connections("one did not answer");
    }
}

void CurlTransport::on_head(CurlExchange& exchange, const ResponseHead& head) {
    happened_ = true;
    saw_http1_ = exchange.is_http1();
    if (head.status == 401) credentials_->rejected(exchange.identity());
    if (options_.observer == nullptr) return;
    options_.observer->on_request_done(
        {exchange.request().method, config_.server.host_and_port(), std::to_string(head.status),
         std::chrono::steady_clock::now() - exchange.opened_at, exchange.request().body.size()});
}

void CurlTransport::end(CurlExchange& exchange, const std::optional<TransportError>& error) {
    if (exchange.cancelled()) return;
    happened_ = true;
    if (TransportObserver* observer = options_.observer) {
        const std::string host = config_.server.host_and_port();
        const Time now = std::chrono::steady_clock::now();
        if (exchange.head_told())
            observer->on_response_size(exchange.request().method, host, exchange.body_bytes());
        else
            observer->on_request_done({exchange.request().method, host, "<error>",
                                       now - (exchange.easy() != nullptr ? exchange.opened_at : now),
                                       exchange.request().body.size()});
    }
    exchange.end(error);
}

// Takes out what has ended or was cancelled.
void CurlTransport::sweep() {
    for (auto at = exchanges_.begin(); at != exchanges_.end();) {
        CurlExchange& exchange = *at->second;
        if (!exchange.cancelled()) {
            ++at;
            continue;
        }
        if (exchange.easy() != nullptr) ::curl_multi_remove_handle(multi_.get(), exchange.easy());
        at = exchanges_.erase(at);
    }
}

// Until the next thing that no socket announces.
CurlTransport::Time::duration CurlTransport::until_deadline(Time now) const {
    auto least = Time::duration::max();
    for (CurlExchange* exchange : all()) {
        if (exchange->easy() == nullptr) {
            // Without a due time ahead it waits for a plugin, which interrupts.
            const auto wait = exchange->due - options_.time.steady();
            if (wait > Time::duration::zero()) least = std::min(least, wait);
            continue;
        }
        const auto handshake = exchange->in_handshake(now);
        if (handshake.count() > 0) least = std::min<Time::duration>(least, options_.tls_limit - handshake);
        if (!is_open_watch(*exchange))
            least = std::min<Time::duration>(least, exchange->heard_at + options_.silence_limit - now);
    }
    return least;
}

}  // namespace ghostip::source::kubernetes
