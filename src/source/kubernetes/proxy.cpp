#include "source/kubernetes/proxy.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "api/problem.h"
#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::source::kubernetes {
namespace {

constexpr std::array<std::string_view, 3> kSchemes{"http", "https", "socks5"};

std::string lowered(std::string_view text) {
    std::string result(text);
    for (char& letter : result) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    return result;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

std::string either(const Environment& environment, const std::string& name) {
    const std::string value = environment(name).value_or("");
    return value.empty() ? environment(lowered(name)).value_or("") : value;
}

// Takes a `:port` off its end. A bare IPv6 address has colons and no port.
std::string_view take_port(std::string_view& entry) {
    const std::size_t colon = entry.rfind(':');
    const bool bracketed = entry.starts_with('[');
    if (bracketed && entry.ends_with(']')) {
        entry = entry.substr(1, entry.size() - 2);
        return {};
    }
    if (colon == std::string_view::npos || (!bracketed && entry.find(':') != colon)) return {};
    const std::string_view port = entry.substr(colon + 1);
    entry = entry.substr(0, colon);
    if (bracketed && entry.ends_with(']')) entry = entry.substr(1, entry.size() - 2);
    return port;
}

bool exempts(std::string_view entry, const ServerUrl& server) {
    if (entry == "*") return true;
    const std::string host = lowered(server.host);
    const auto address = net::IpAddress::parse(host);
    if (const auto range = net::Prefix::parse_lenient(entry)) return address && range->contains(*address);
    const std::string_view port = take_port(entry);
    if (!port.empty() && port != std::to_string(server.port)) return false;
    if (const auto exempt = net::IpAddress::parse(entry)) return address == exempt;
    if (entry.starts_with("*.")) entry.remove_prefix(1);
    if (entry.empty()) return false;
    if (entry.front() == '.') return host.ends_with(entry);
    return host == entry || host.ends_with("." + std::string(entry));
}

bool is_exempt(std::string_view list, const ServerUrl& server) {
    const auto address = net::IpAddress::parse(server.host);
    if (lowered(server.host) == "localhost" || (address && address->is_loopback())) return true;
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        if (const auto entry = lowered(trimmed(list.substr(0, comma))); !entry.empty() && exempts(entry, server))
            return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

}  // namespace

Result<void> check_proxy_url(std::string_view url) {
    const std::size_t mark = url.find("://");
    const std::string scheme = lowered(url.substr(0, mark));
    if (mark == std::string_view::npos || std::find(kSchemes.begin(), kSchemes.end(), scheme) == kSchemes.end())
        return fail("must begin with http://, https:// or socks5://");
    std::string_view rest = url.substr(mark + 3);
    rest = rest.substr(0, std::min(rest.find_first_of("/?#"), rest.size()));
    if (const std::size_t user = rest.rfind('@'); user != std::string_view::npos) rest.remove_prefix(user + 1);
    const auto server = parse_server_url(rest, SchemeIfNone::kHttp);
    if (!server) return server.error();
    return {};
}

std::string proxy_for(const ClientConfig& config, const Environment& environment) {
    if (!config.proxy_url.empty()) return config.proxy_url;
    const bool https = config.server.is_https();
    std::string proxy = either(environment, https ? "HTTPS_PROXY" : "HTTP_PROXY");
    if (proxy.empty() || is_exempt(either(environment, "NO_PROXY"), config.server)) return {};
    if (proxy.find("://") == std::string::npos) proxy.insert(0, "http://");
    return proxy;
}

}  // namespace ghostip::source::kubernetes
