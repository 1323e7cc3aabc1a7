#include "cli/relay_settings.h"

#include <charconv>
#include <string_view>

#include "agent/config/validate.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;

constexpr std::string_view kForm = "NAMESPACE/NAME[:PORT]=ADDRESS:PORT, as default/web:http=127.0.0.1:8080";

Result<dataplane::ListenRequest> listen_request(const std::string& text) {
    const auto wrong = [&](std::string_view what) {
        return fail("--listen: \"{}\": {}; it must be {}", text, what, kForm);
    };
    const auto equals = text.find('=');
    if (equals == std::string::npos) return wrong("there is no \"=\"");
    dataplane::ListenRequest request;
    auto service = text.substr(0, equals);
    if (const auto colon = service.find(':'); colon != std::string::npos) {
        request.port = service.substr(colon + 1);
        if (request.port.empty()) return wrong("the Service's port is empty");
        service.resize(colon);
    }
    const auto slash = service.find('/');
    request.service.namespace_ = slash == std::string::npos ? "default" : service.substr(0, slash);
    request.service.name = slash == std::string::npos ? service : service.substr(slash + 1);
    if (request.service.namespace_.empty() || request.service.name.empty()) return wrong("no Service is named");
    const auto at = config::split_host_port(text.substr(equals + 1));
    const auto address = at ? net::IpAddress::parse(at->host) : std::nullopt;
    if (!address) return wrong("no IP address and port stand behind the \"=\"");
    const char* const end = at->port.data() + at->port.size();
    const auto read = std::from_chars(at->port.data(), end, request.at.port);
    if (read.ec != std::errc() || read.ptr != end || request.at.port == 0) return wrong("the port is not 1 to 65535");
    request.at.address = *address;
    return request;
}

}  // namespace

Result<dataplane::RelayOptions> relay_options(const RelaySettings& settings) {
    using std::chrono::duration_cast;
    using std::chrono::milliseconds;
    dataplane::RelayOptions options;
    options.threads = settings.threads;
    options.redirect = settings.redirect;
    if (settings.pick == "random")
        options.pick = relay::Pick::kRandom;
    else if (settings.pick != "round-robin")
        return fail("--relay-pick: \"{}\": must be round-robin or random", settings.pick);
    for (const auto& text : settings.listen) {
        ASSIGN_OR_RETURN(auto request, listen_request(text));
        options.listen.push_back(std::move(request));
    }
    const auto drain = duration_cast<milliseconds>(settings.drain_timeout);
    if (drain.count() < 0) return fail("--drain-timeout: must not be negative");
    if (drain.count() > 0) options.drain = drain;
    options.timeouts.udp_idle = duration_cast<milliseconds>(settings.udp_timeout);
    if (options.timeouts.udp_idle.count() <= 0) return fail("--relay-udp-timeout: must be more than 0");
    options.limits.connections = settings.max_connections;
    options.limits.connections_per_service = settings.max_connections_per_service;
    options.limits.buffer_bytes = std::size_t{settings.buffer_kib} << 10U;
    options.limits.backlog = static_cast<int>(settings.backlog);
    options.limits.udp_sessions = settings.max_udp_sessions;
    options.limits.udp_sessions_per_client = settings.max_udp_sessions_per_client;
    return options;
}

}  // namespace ghostip::cli
