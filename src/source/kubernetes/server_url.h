// The address of an API server (or of a proxy), taken apart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ghostip::source::kubernetes {

struct ServerUrl {
    std::string scheme;  // `https`, lower case
    std::string host;    // a name or an address; IPv6 without brackets
    std::uint16_t port = 0;
    std::string path;  // in front of every request's: empty, or `/prefix` without a slash at its end

    [[nodiscard]] bool is_https() const { return scheme == "https"; }
    // `10.0.0.1:6443`, `[fd00::1]:6443`.
    [[nodiscard]] std::string host_and_port() const;
    // `https://10.0.0.1:6443/prefix`.
    [[nodiscard]] std::string text() const;
};

enum class SchemeIfNone : std::uint8_t { kHttp, kHttps };

// http or https. Without a scheme it is host[:port], and takes the one that is given. Refused: a path then, and at any
// time a user, a query or a fragment, which client-go would take along into every request.
[[nodiscard]] Result<ServerUrl> parse_server_url(std::string_view text, SchemeIfNone scheme);

// `[fd00::1]`: what stands in front of a `:port`.
[[nodiscard]] std::string bracketed(const std::string& host);

}  // namespace ghostip::source::kubernetes
