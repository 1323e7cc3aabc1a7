#include "source/kubernetes/trouble.h"

#include <fmt/format.h>

#include "api/problem.h"

namespace ghostip::source::kubernetes {
namespace {

using Kind = Trouble::Kind;

Kind kind_of(const TransportError& error) {
    switch (error.kind) {
        case TransportError::Kind::kRefused:
        case TransportError::Kind::kTls:
        case TransportError::Kind::kCredentials: return Kind::kUnreachable;
        case TransportError::Kind::kTimeout:
        case TransportError::Kind::kBroken:
        case TransportError::Kind::kOther: return Kind::kBroken;
    }
    return Kind::kBroken;
}

Kind kind_of(int code, std::string_view reason, bool too_large) {
    // Before the code, which is 504 and sounds like a passing trouble.
    if (too_large) return Kind::kTooLarge;
    if (code == 410 || reason == "Expired" || reason == "Gone") return Kind::kExpired;
    if (code == 406 || code == 415) return Kind::kNotAcceptable;
    if (code == 429) return Kind::kThrottled;
    return Kind::kRejected;
}

std::string_view hint(int code) {
    switch (code) {
        case 401: return " (the credentials are not accepted)";
        case 403: return " (the role needs get, list and watch)";
        default: return "";
    }
}

}  // namespace

Trouble trouble_of(const TransportError& error) {
    return {kind_of(error), 0, error.message, {}, static_cast<int>(error.kind)};
}

Trouble trouble_of(const api::Status& status) {
    Trouble trouble;
    trouble.kind = kind_of(status.code, status.reason, status.resource_version_too_large);
    trouble.code = status.code;
    trouble.text = fmt::format("the server says {}{}{}: {}{}", status.code, status.reason.empty() ? "" : " ",
                               api::printable(status.reason), api::printable(status.message), hint(status.code));
    if (status.retry_after_seconds > 0) trouble.retry_after = std::chrono::seconds(status.retry_after_seconds);
    return trouble;
}

Trouble trouble_of(const ResponseHead& head, std::string_view body) {
    const auto encoding = api::encoding_of(head.content_type);
    const auto status = encoding ? api::decode_status(*encoding, body) : Result<api::Status>(fail("not a Status"));
    Trouble trouble;
    if (status) {
        trouble = trouble_of(*status);
        // A proxy on the way may have changed it; the head is what was answered.
        if (trouble.kind == Kind::kRejected) trouble.kind = kind_of(head.status, "", false);
        trouble.code = head.status;
    } else {
        trouble.kind = kind_of(head.status, "", false);
        trouble.code = head.status;
        constexpr std::size_t kEnough = 120;
        trouble.text = fmt::format("answered with HTTP {}{}: {}", head.status, hint(head.status),
                                   body.empty() ? "no body" : api::printable(body.substr(0, kEnough)));
    }
    if (head.retry_after) trouble.retry_after = head.retry_after;
    // client-go takes any of these with a Retry-After as a request to wait.
    if (trouble.kind == Kind::kRejected && head.status >= 500 && head.retry_after) trouble.kind = Kind::kThrottled;
    return trouble;
}

bool TroubleLog::meet(Doing doing, const Trouble& trouble, Clock::time_point now) {
    Spell& spell = doing == Doing::kListing ? listing_ : watching_;
    if (spell.said.empty()) spell.since = now;
    ++spell.tries;
    return spell.said.emplace(trouble.kind, trouble.code, trouble.sort).second;
}

std::optional<std::string> TroubleLog::over(Doing doing, Clock::time_point now) {
    Spell& spell = doing == Doing::kListing ? listing_ : watching_;
    if (spell.said.empty()) return std::nullopt;
    const auto seconds = std::chrono::round<std::chrono::seconds>(now - spell.since).count();
    std::string text =
        fmt::format("after {} failed {} in {} s", spell.tries, spell.tries == 1 ? "try" : "tries", seconds);
    spell = {};
    return text;
}

}  // namespace ghostip::source::kubernetes
