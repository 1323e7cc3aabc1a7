#include "source/kubernetes/curl_error.h"

#include "base/result.h"

namespace ghostip::source::kubernetes {
namespace {

using Kind = TransportError::Kind;

bool mentions(std::string_view text, std::string_view word) { return text.find(word) != std::string_view::npos; }

Kind kind_of(const CurlFailure& failure) {
    // With TLS 1.3 a server refuses a certificate, or misses one, only after the handshake: then it is an alert that is
    // read. OpenSSL names its own complaints "SSL routines"; a plain reset is none of them.
    const bool alert = mentions(failure.detail, "SSL routines") && mentions(failure.detail, "alert");
    const bool reset = mentions(failure.detail, "SSL_ERROR_SYSCALL") || mentions(failure.detail, "Connection reset") ||
                       mentions(failure.detail, "unexpected eof");
    switch (failure.code) {
        case CURLE_COULDNT_CONNECT: return failure.os_error == ETIMEDOUT ? Kind::kTimeout : Kind::kRefused;
        case CURLE_OPERATION_TIMEDOUT: return Kind::kTimeout;
        case CURLE_SSL_CONNECT_ERROR: return reset ? Kind::kBroken : Kind::kTls;
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_CLIENTCERT: return Kind::kTls;
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR: return failure.proxy_status != 0 ? Kind::kOther : alert ? Kind::kTls : Kind::kBroken;
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_UNSUPPORTED_PROTOCOL:  // HTTP/0.9: bytes that are no HTTP
        case CURLE_BAD_CONTENT_ENCODING:
        case CURLE_WRITE_ERROR: return Kind::kBroken;
        default: return Kind::kOther;
    }
}

std::string reason_of(const CurlFailure& failure) {
    if (failure.proxy_status != 0 && failure.proxy_status / 100 != 2)
        return fmt::format("the proxy {} refuses with status {}", failure.via_proxy, failure.proxy_status);
    if (failure.code == CURLE_COULDNT_CONNECT && failure.os_error != 0)
        return "cannot connect: " + errno_text(failure.os_error);
    if (failure.code == CURLE_GOT_NOTHING) return "the connection ended without an answer";
    // What libcurl notices first of a connection that was reset while it was set up.
    if (mentions(failure.detail, "getpeername")) return "the connection was closed as soon as it was there";
    // libcurl's words, without a line's end.
    std::string reason(failure.detail.empty() ? std::string_view(::curl_easy_strerror(failure.code)) : failure.detail);
    for (char& letter : reason)
        if (static_cast<unsigned char>(letter) < 0x20) letter = ' ';
    while (reason.ends_with(' ')) reason.pop_back();
    return reason;
}

}  // namespace

TransportError describe(const CurlFailure& failure) {
    std::string message(failure.server);
    if (!failure.via_proxy.empty()) message += fmt::format(" through the proxy {}", failure.via_proxy);
    return {kind_of(failure), message + ": " + reason_of(failure)};
}

}  // namespace ghostip::source::kubernetes
