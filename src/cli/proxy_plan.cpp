#include "cli/proxy_plan.h"

#include <algorithm>
#include <string>

#include <fmt/ranges.h>

#include "agent/config/node_settings.h"
#include "agent/modes.h"
#include "cli/relay_settings.h"

namespace ghostip::cli {

namespace config = agent::config;

Result<ProxyPlan> plan_proxy(const ProxySettings& settings) {
    const auto& name = settings.configuration.mode;
    ProxyPlan plan;
    plan.mode = agent::find_mode(name);
    if (plan.mode == nullptr) {
        std::string known;
        for (const auto& mode : agent::modes()) known += fmt::format("{}{}", known.empty() ? "" : "|", mode.name);
        return fail(
            "mode {} does not exist yet in ghostip; name one that does, with --proxy-mode {} or the same as `mode` in "
            "the configuration file",
            name, known);
    }
    const auto variants = plan.mode->variants;
    if (!variants.empty()) plan.options.variant = settings.own.variant;
    if (!plan.options.variant.empty() &&
        std::find(variants.begin(), variants.end(), plan.options.variant) == variants.end())
        return fail("--iptables-variant: \"{}\": mode {} has {}", plan.options.variant, plan.mode->name,
                    fmt::join(variants, ", "));
    ASSIGN_OR_RETURN(plan.node, config::node_settings(settings.configuration, settings.own.allowed_external_ips));
    if (plan.mode->profile().schedules) {
        ASSIGN_OR_RETURN(plan.options.ipvs, config::ipvs_options(settings.configuration.ipvs));
    }
    ASSIGN_OR_RETURN(plan.options.relay, relay_options(settings.own.relay));
    plan.options.relay.mark = dataplane::relay_mark_beside(plan.node.masquerade_bit);
    plan.options.relay.localhost_node_ports = config::relays_localhost(settings.configuration);
    if (settings.own.once && plan.mode->profile().relays)
        return fail("--once: {} mode carries the traffic itself, and nobody would when the process has ended",
                    plan.mode->name);
    if (settings.own.once && plan.options.relay.localhost_node_ports)
        return fail(
            "--once: node ports at localhost are served by a process, and none is there when this one has ended");
    if (!plan.mode->profile().relays && !settings.own.relay.listen.empty())
        return fail("--listen: {} mode carries no traffic; userspace mode does", plan.mode->name);
    return plan;
}

}  // namespace ghostip::cli
