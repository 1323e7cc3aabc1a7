#include "source/kubernetes/curl_exchange.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "source/kubernetes/curl_error.h"
#include "source/kubernetes/response_head.h"

namespace ghostip::source::kubernetes {
namespace {

// What an API server sends fits a hundred times.
constexpr std::size_t kLargestHead = std::size_t{256} << 10U;
constexpr long kIdleSeconds = 90;  // client-go closes idle connections after that
constexpr int kProbeSeconds = 5;

void set_option(int socket, int level, int option, int value) {
    // Without it the connection still works, it only dies later.
    std::ignore = ::setsockopt(socket, level, option, &value, sizeof value);
}

// A number that means something else by now is no TCP socket, or at worst another one.
bool is_connected(int socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

// Without user and password.
std::string shown_proxy(std::string_view url) {
    const std::size_t mark = url.find("://");
    const std::size_t user = url.rfind('@');
    if (user == std::string_view::npos || mark == std::string_view::npos || user < mark) return std::string(url);
    return std::string(url.substr(0, mark + 3)) + std::string(url.substr(user + 1));
}

}  // namespace

template <typename Value>
void CurlExchange::set(CURLoption option, Value value) {
    const CURLcode code = ::curl_easy_setopt(easy_.get(), option, value);
    if (set_error_ == CURLE_OK) set_error_ = code;
}

void CurlExchange::add(List& list, const std::string& entry) {
    curl_slist* longer = ::curl_slist_append(list.get(), entry.c_str());
    if (longer == nullptr) {
        set_error_ = CURLE_OUT_OF_MEMORY;
        return;
    }
    std::ignore = list.release();
    list.reset(longer);
}

Result<void> CurlExchange::open(const CurlSettings& settings, Identity identity, const std::string& authority,
                                std::function<void(CurlExchange&, const ResponseHead&)> on_head) {
    identity_ = std::move(identity);
    on_head_ = std::move(on_head);
    settings_ = &settings;
    easy_.reset(::curl_easy_init());
    if (!easy_) return fail("libcurl gives no handle");
    error_text_.assign(CURL_ERROR_SIZE, '\0');
    set(CURLOPT_ERRORBUFFER, error_text_.data());
    set(CURLOPT_PRIVATE, this);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_HEADERFUNCTION, &CurlExchange::on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &CurlExchange::on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_SOCKOPTFUNCTION, &CurlExchange::on_socket);
    set(CURLOPT_SOCKOPTDATA, this);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_limit.count()));
    set(CURLOPT_MAXAGE_CONN, kIdleSeconds);
    set(CURLOPT_QUICK_EXIT, 1L);  // who gives up does not wait until a name is resolved
    // One connection for all, as soon as it is known whether it can carry them.
    set(CURLOPT_HTTP_VERSION, static_cast<long>(settings.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    // Without TLS nobody offers HTTP/2.
    shares = shares && settings.http2 && settings.config.server.is_https();
    set(CURLOPT_PIPEWAIT, shares ? 1L : 0L);
    // The API server never redirects what is asked here; who does must not get our credentials.
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set_target(settings);
    set_tls(settings, authority);
    set_request(settings);
    if (set_error_ != CURLE_OK) return fail("libcurl: {}", ::curl_easy_strerror(set_error_));
    return {};
}

void CurlExchange::set_target(const CurlSettings& settings) {
    const ServerUrl& server = settings.config.server;
    ServerUrl named = server;
    const std::string& name = settings.config.tls_server_name;
    if (server.is_https() && !name.empty() && name != server.host) {
        // libcurl verifies the name in the URL: that one, at the address of the other.
        named.host = name;
        add(connect_to_, fmt::format("{}:{}:{}", bracketed(name), server.port, server.host_and_port()));
        set(CURLOPT_CONNECT_TO, connect_to_.get());
        add(headers_, "Host: " + server.host_and_port());
    }
    set(CURLOPT_URL, (named.text() + request_.target).c_str());
    set(CURLOPT_PATH_AS_IS, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    // proxy.h has read the environment; libcurl must not do so by its own rules.
    set(CURLOPT_NOPROXY, "");
    std::string proxy = settings.proxy;
    // As in Go, the proxy resolves the name.
    if (proxy.starts_with("socks5://")) proxy.insert(6, "h");
    set(CURLOPT_PROXY, proxy.c_str());
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

void CurlExchange::set_tls(const CurlSettings& settings, const std::string& authority) {
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(CURLOPT_PROXY_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    // A session that is resumed would carry on an older certificate.
    set(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    const long verify = settings.config.insecure_skip_tls_verify ? 0 : 1;
    for (const CURLoption option : {CURLOPT_SSL_VERIFYPEER, CURLOPT_PROXY_SSL_VERIFYPEER}) set(option, verify);
    for (const CURLoption option : {CURLOPT_SSL_VERIFYHOST, CURLOPT_PROXY_SSL_VERIFYHOST}) set(option, 2 * verify);
    const auto blob = [&](CURLoption option, const std::string& content) {
        curl_blob bytes{const_cast<char*>(content.data()), content.size(), CURL_BLOB_COPY};
        set(option, &bytes);
    };
    if (!authority.empty()) {
        // Only these: without the folder of the system's roots, which libcurl would still look into.
        for (const CURLoption option : {CURLOPT_CAINFO_BLOB, CURLOPT_PROXY_CAINFO_BLOB}) blob(option, authority);
        for (const CURLoption option : {CURLOPT_CAPATH, CURLOPT_PROXY_CAPATH})
            set(option, static_cast<const char*>(nullptr));
    }
    if (!identity_.certificate.given()) return;
    blob(CURLOPT_SSLCERT_BLOB, identity_.certificate.certificate);
    blob(CURLOPT_SSLKEY_BLOB, identity_.certificate.key);
}

void CurlExchange::set_request(const CurlSettings& settings) {
    set(CURLOPT_USERAGENT, settings.user_agent.c_str());
    if (!settings.config.disable_compression) set(CURLOPT_ACCEPT_ENCODING, "gzip");
    if (!request_.accept.empty()) add(headers_, "Accept: " + request_.accept);
    for (const auto& header : identity_.headers) add(headers_, header);
    if (request_.method == "HEAD") set(CURLOPT_NOBODY, 1L);
    if (!request_.body.empty() || !request_.content_type.empty()) {
        add(headers_, "Content-Type: " + request_.content_type);
        add(headers_, "Expect:");  // do not ask whether the body is welcome: it is small
        set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
        set(CURLOPT_POSTFIELDS, request_.body.c_str());
    }
    if (request_.method != "HEAD") set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    set(CURLOPT_HTTPHEADER, headers_.get());
}

CurlExchange* CurlExchange::of(CURL* easy) {
    void* self = nullptr;
    ::curl_easy_getinfo(easy, CURLINFO_PRIVATE, &self);
    return static_cast<CurlExchange*>(self);
}

void CurlExchange::end(const std::optional<TransportError>& error) {
    if (ResponseHandler* handler = std::exchange(handler_, nullptr)) handler->on_end(error);
}

std::optional<TransportError> CurlExchange::result(CURLcode code, const CurlSettings& settings) const {
    const std::string server = settings.config.server.text();
    if (headers_too_large_)
        return TransportError{
            TransportError::Kind::kBroken,
            fmt::format("{}: the head of the answer has more than {} KiB", server, kLargestHead >> 10U)};
    if (code == CURLE_OK && !head_told_)
        return TransportError{TransportError::Kind::kBroken, server + ": the answer has no head"};
    if (code == CURLE_OK) return std::nullopt;
    long os_error = 0;
    long proxy_status = 0;
    ::curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &os_error);
    ::curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    if (proxy_status / 100 == 2) proxy_status = 0;
    return describe({.code = code,
                     .os_error = static_cast<int>(os_error),
                     .proxy_status = static_cast<int>(proxy_status),
                     .detail = error_text_.c_str(),
                     .server = server,
                     .via_proxy = shown_proxy(settings.proxy)});
}

CurlExchange::Time::duration CurlExchange::in_handshake(Time now) {
    if (sockets_.empty() || head_told_ || !settings_->config.server.is_https() || !settings_->proxy.empty()) return {};
    curl_off_t secured = 0;
    ::curl_easy_getinfo(easy_.get(), CURLINFO_APPCONNECT_TIME_T, &secured);
    if (secured != 0) return {};
    if (!connected_at_ && std::any_of(sockets_.begin(), sockets_.end(), is_connected)) connected_at_ = now;
    return connected_at_ ? now - *connected_at_ : Time::duration::zero();
}

void CurlExchange::go_alone() {
    shares = false;
    set(CURLOPT_PIPEWAIT, 0L);
}

bool CurlExchange::is_http1() const {
    long version = 0;
    ::curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_VERSION, &version);
    return version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
}

std::size_t CurlExchange::on_header(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& exchange = *static_cast<CurlExchange*>(self);
    return exchange.take_header({bytes, size * count}) ? size * count : 0;
}

// Whether to go on.
bool CurlExchange::take_header(std::string_view line) {
    heard_at = std::chrono::steady_clock::now();
    header_bytes_ += line.size();
    if (header_bytes_ > kLargestHead) headers_too_large_ = true;
    if (cancelled() || headers_too_large_) return false;
    if (head_told_) return true;  // trailers
    if (line.starts_with("HTTP/")) head_ = {};
    read_header_line(line, head_);
    if (line != "\r\n" && line != "\n") return true;
    long status = 0;
    ::curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) return true;  // 1xx: another head follows
    head_.status = static_cast<int>(status);
    head_told_ = true;
    on_head_(*this, head_);
    handler_->on_head(head_);
    return !cancelled();
}

std::size_t CurlExchange::on_body(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& exchange = *static_cast<CurlExchange*>(self);
    exchange.heard_at = std::chrono::steady_clock::now();
    exchange.body_bytes_ += size * count;
    if (exchange.cancelled() || !exchange.head_told_) return 0;
    if (size * count > 0) exchange.handler_->on_body({bytes, size * count});
    return exchange.cancelled() ? 0 : size * count;
}

int CurlExchange::on_socket(void* self, curl_socket_t socket, curlsocktype /*purpose*/) {
    auto& exchange = *static_cast<CurlExchange*>(self);
    const CurlSettings& limits = *exchange.settings_;
    exchange.sockets_.push_back(socket);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (limits.probe_after.count() == 0) return CURL_SOCKOPT_OK;
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(limits.probe_after.count()));
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
    // Counts for probes and for what was sent and is not acknowledged (tcp(7)).
    const auto limit = std::chrono::milliseconds(limits.dead_after);
    set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limit.count()));
    return CURL_SOCKOPT_OK;
}

}  // namespace ghostip::source::kubernetes
