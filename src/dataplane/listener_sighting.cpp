#include "dataplane/listener_sighting.h"

#include <fmt/format.h>

namespace ghostip::dataplane {

std::string listener_text(const kernel::sockets::Listener& listener, net::Protocol protocol) {
    std::string who;
    for (const auto& process : listener.processes)
        who += fmt::format("{}process {} ({})", who.empty() ? "" : ", ", process.id, process.name);
    return fmt::format("{}/{}: {} listens", net::host_port(listener.address, listener.port),
                       net::protocol_name(protocol), who.empty() ? "a process that may not be looked at" : who);
}

Result<Sighting> sight_localhost(const plan::Journey& journey, const ListenersAt& listeners_at) {
    const auto& flow = journey.flow;
    Sighting seen;
    ASSIGN_OR_RETURN(const auto listeners, listeners_at(flow.destination, flow.protocol, flow.port));
    for (const auto& listener : listeners) seen.found.push_back(listener_text(listener, flow.protocol));
    if (listeners.empty())
        seen.differences.push_back(fmt::format("nobody listens at {}/{}", net::host_port(flow.destination, flow.port),
                                               net::protocol_name(flow.protocol)));
    return seen;
}

}  // namespace ghostip::dataplane
