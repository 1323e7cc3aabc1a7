#include "source/kubernetes/server_url.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "api/problem.h"
#include "net/address.h"

namespace ghostip::source::kubernetes {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter; }

std::string lowered(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), lower);
    return result;
}

// Printable ASCII but for what has a meaning around a host.
bool is_host_character(char character) {
    return character > ' ' && character < 0x7f &&
           std::string_view("/?#@\\[]<>\"`{}|^%").find(character) == std::string_view::npos;
}

Result<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc() || last != end || port == 0)
        return fail("\"{}\" is no port from 1 to 65535", api::printable(text));
    return port;
}

// `host`, `host:port`, `[v6]`, `[v6]:port`.
Result<void> parse_authority(std::string_view text, ServerUrl& url) {
    std::optional<std::string_view> port;
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) return fail("has a [ without a ]");
        url.host = text.substr(1, end - 1);
        const auto address = net::IpAddress::parse(url.host);
        if (!address || address->is_ipv4()) return fail("\"{}\" is no IPv6 address", api::printable(url.host));
        const std::string_view rest = text.substr(end + 1);
        if (!rest.empty() && rest.front() != ':') return fail("has \"{}\" behind the address", api::printable(rest));
        if (!rest.empty()) port = rest.substr(1);
    } else {
        const std::size_t colon = text.find(':');
        url.host = text.substr(0, colon);
        if (colon != std::string_view::npos) port = text.substr(colon + 1);
        if (!std::all_of(url.host.begin(), url.host.end(), is_host_character))
            return fail("\"{}\" is no host name", api::printable(url.host));
    }
    if (url.host.empty()) return fail("has no host");
    url.port = url.scheme == "https" ? kHttpsPort : kHttpPort;
    if (port && !port->empty()) {
        ASSIGN_OR_RETURN(url.port, parse_port(*port));
    }
    return {};
}

}  // namespace

std::string bracketed(const std::string& host) { return host.find(':') == std::string::npos ? host : "[" + host + "]"; }

std::string ServerUrl::host_and_port() const { return fmt::format("{}:{}", bracketed(host), port); }
std::string ServerUrl::text() const { return fmt::format("{}://{}{}", scheme, host_and_port(), path); }

Result<ServerUrl> parse_server_url(std::string_view text, SchemeIfNone scheme) {
    ServerUrl url;
    const std::size_t mark = text.find("://");
    std::string_view rest = text;
    if (mark != std::string_view::npos) {
        url.scheme = lowered(text.substr(0, mark));
        rest = text.substr(mark + 3);
        if (url.scheme != "http" && url.scheme != "https")
            return fail("must begin with https:// or http://, not with \"{}\"", api::printable(text.substr(0, mark)));
    } else {
        url.scheme = scheme == SchemeIfNone::kHttps ? "https" : "http";
    }
    const std::size_t slash = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string_view authority = rest.substr(0, slash);
    std::string_view path = rest.substr(slash);
    if (authority.find('@') != std::string_view::npos) return fail("must not hold a user");
    if (path.find_first_of("?#") != std::string_view::npos) return fail("must not hold a query or a fragment");
    for (const char character : path)
        if (character <= ' ' || character >= 0x7f) return fail("has a path with characters that need encoding");
    RETURN_IF_ERROR(parse_authority(authority, url));
    while (path.ends_with('/')) path.remove_suffix(1);
    if (mark == std::string_view::npos && !path.empty()) return fail("must be a URL or host:port");
    url.path = path;
    return url;
}

}  // namespace ghostip::source::kubernetes
