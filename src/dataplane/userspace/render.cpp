#include "dataplane/userspace/render.h"

#include <fmt/format.h>

#include "dataplane/relay_options.h"
#include "dataplane/userspace/names.h"
#include "dataplane/userspace/redirects.h"

namespace ghostip::dataplane::userspace {

std::string render(const plan::Plan& plan, const std::function<std::string(const plan::Plan&)>& rules) {
    using plan::PoolScope;
    std::uint16_t next = 1;
    std::string text = "# a relay in this process carries the traffic; these rules lead to it\n";
    const auto tell = [&](std::uint16_t port, const std::string& name) {
        text += fmt::format("# port {:<5} a free one, for the listener \"{}\"\n", port, name);
    };
    RelayPorts tcp{next++, next++};
    tell(tcp.cluster, tcp_listener_name(plan.family, PoolScope::kCluster));
    tell(tcp.local, tcp_listener_name(plan.family, PoolScope::kLocal));
    Redirects redirects(plan.family, RelayOptions().mark,
                        [&](const plan::ServicePortPlan& one) -> std::optional<RelayPorts> {
                            if (one.name.protocol == net::Protocol::kTcp) return tcp;
                            RelayPorts ports;
                            for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal}) {
                                if (one.pool(scope).empty()) continue;
                                (scope == PoolScope::kCluster ? ports.cluster : ports.local) = next;
                                tell(next++, udp_listener_name(plan.family, one.name, scope));
                            }
                            return ports;
                        });
    const auto& redirected = redirects.reset(plan);
    return text + rules(redirected);
}

}  // namespace ghostip::dataplane::userspace
