#include "dataplane/userspace/sighting.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "dataplane/userspace/names.h"
#include "dataplane/userspace/redirects.h"
#include "plan/relayed.h"

namespace ghostip::dataplane::userspace {
namespace {

using kernel::sockets::Listener;
using plan::PoolScope;
using plan::Verdict;

std::string place(const net::IpAddress& address, std::uint16_t port, net::Protocol protocol) {
    return fmt::format("{}/{}", net::host_port(address, port), net::protocol_name(protocol));
}

class Reader {
  public:
    Reader(const Eyes& eyes, const plan::Plan& plan, const plan::Journey& journey)
        : eyes_(eyes), plan_(plan), journey_(journey) {}

    Result<Sighting> read() {
        const auto& flow = journey_.flow;
        if (journey_.relayed && flow.destination.is_loopback()) return sight_localhost(journey_, eyes_.listeners_at);
        auto leads = eyes_.leads(plan_.family, journey_.destination ? &*journey_.destination : nullptr);
        if (!leads && leads.error().code != EPERM) return leads.error();
        if (!leads) return without_looking(leads.error());
        if (!leads->rules) return without_rules();
        return by_rules(*leads);
    }

  private:
    // The same plan that the dataplane makes for the kernel, with ports that the kernel was asked for: only what stands
    // behind them is left to be looked at.
    Result<Sighting> by_rules(const Leads& leads) {
        plan::Plan here = plan_;
        if (!eyes_.addresses.empty()) here.node.addresses = eyes_.addresses;
        if (journey_.destination) here.service_ports[journey_.service_port->name] = as_dialled();
        RelayPorts ports;
        for (const auto& lead : leads.leads)
            (lead.scope == PoolScope::kCluster ? ports.cluster : ports.local) = lead.port;
        Redirects redirects(plan_.family, eyes_.relay_mark,
                            [&](const plan::ServicePortPlan& one) -> std::optional<RelayPorts> {
                                if (journey_.service_port && one.name == journey_.service_port->name) return ports;
                                return RelayPorts{};
                            });
        const auto& redirected = redirects.reset(here);
        const auto led = plan::Explainer(redirected, eyes_.rules_profile()).explain(journey_.flow);
        ASSIGN_OR_RETURN(seen_, eyes_.rules(redirected, led));
        if (journey_.relayed)
            for (const auto& lead : leads.leads)
                if (lead.scope == journey_.scope) RETURN_IF_ERROR(look_behind(lead));
        return std::move(seen_);
    }

    // With those pools alone that this destination leads to: of others the ports are not known.
    [[nodiscard]] plan::ServicePortPlanPtr as_dialled() const {
        auto only = std::make_shared<plan::ServicePortPlan>(*journey_.service_port);
        const auto& treatments = journey_.destination->treatments;
        const auto leads_to = [&](PoolScope scope) {
            return std::any_of(treatments.begin(), treatments.end(), [&](const auto& one) {
                return one.action == plan::Action::kBalance && one.pool == scope;
            });
        };
        if (!leads_to(PoolScope::kCluster)) only->cluster.clear();
        if (!leads_to(PoolScope::kLocal)) only->local.clear();
        return only;
    }

    Result<void> look_behind(const Lead& lead) {
        const auto protocol = journey_.flow.protocol;
        const auto at = place(lead.address, lead.port, protocol);
        if (!is_here(lead.address)) {
            seen_.differences.push_back(fmt::format("it is led to {}, which is no relay of this node", at));
            return {};
        }
        ASSIGN_OR_RETURN(const auto listeners, eyes_.listeners_at(lead.address, protocol, lead.port));
        if (listeners.empty()) {
            seen_.differences.push_back(fmt::format(
                "it is led to {}, where nobody listens: the relay's process has ended, or is another one's", at));
            return {};
        }
        for (const auto& listener : listeners) seen_.found.push_back(listener_text(listener, protocol));
        // A listener of TCP has the clients of all service ports, and asks the kernel what was dialled.
        seen_.found.push_back(fmt::format(
            "so it is led to the listener \"{}\", as a client of {}",
            protocol == net::Protocol::kTcp ? tcp_listener_name(plan_.family, lead.scope)
                                            : udp_listener_name(plan_.family, journey_.service_port->name, lead.scope),
            journey_.service_port->name.text()));
        return {};
    }

    // The relay is met at node ports, which it binds itself, and at listeners of which the plan does not know.
    Result<Sighting> without_rules() {
        const auto& flow = journey_.flow;
        const auto at = place(flow.destination, flow.port, flow.protocol);
        const auto differ = [&](std::string text) { seen_.differences.push_back(std::move(text)); };
        seen_.found.emplace_back("there are no rules: clients meet the relay where it listens, and nowhere else");
        if (!plan::can_be_relayed(flow.protocol)) {
            if (journey_.verdict != Verdict::kNotOurs) differ(std::string(kNoSctp));
            return std::move(seen_);
        }
        std::vector<Listener> listeners;
        if (is_here(flow.destination)) {
            ASSIGN_OR_RETURN(listeners, eyes_.listeners_at(flow.destination, flow.protocol, flow.port));
        }
        for (const auto& listener : listeners) seen_.found.push_back(listener_text(listener, flow.protocol));
        if (journey_.verdict == Verdict::kNotOurs) return std::move(seen_);
        if (!is_node_port())
            differ(fmt::format("there is no rule for {}", at));
        else if (!listeners.empty())
            seen_.found.emplace_back("the relay, if it is that, asks the plan who may");
        else if (journey_.verdict == Verdict::kRejected)
            seen_.found.push_back(fmt::format("nobody listens at {}, so that the kernel refuses", at));
        else
            differ(fmt::format("nobody listens at {}", at));
        return std::move(seen_);
    }

    // Sockets can be seen all the same. One that listens at a node port is met only where no rule leads elsewhere.
    Result<Sighting> without_looking(const Error& why) {
        const auto& flow = journey_.flow;
        if (!is_node_port() || !plan::can_be_relayed(flow.protocol)) return why;
        ASSIGN_OR_RETURN(const auto listeners, eyes_.listeners_at(flow.destination, flow.protocol, flow.port));
        const bool known =
            std::any_of(listeners.begin(), listeners.end(), [](const Listener& one) { return !one.processes.empty(); });
        if (!known)
            return Error{fmt::format("{}; and {} at {}", why.message,
                                     listeners.empty() ? "nobody listens" : "another user's process listens",
                                     place(flow.destination, flow.port, flow.protocol)),
                         why.code};
        seen_.found.push_back(
            fmt::format("rules may not be looked at ({}); where there are none, clients come to:", why.message));
        for (const auto& listener : listeners) seen_.found.push_back(listener_text(listener, flow.protocol));
        return std::move(seen_);
    }

    [[nodiscard]] bool is_here(const net::IpAddress& address) const {
        const auto& own = eyes_.addresses.empty() ? plan_.node.addresses : eyes_.addresses;
        return address.is_loopback() || std::find(own.begin(), own.end(), address) != own.end();
    }
    [[nodiscard]] bool is_node_port() const { return journey_.destination && journey_.destination->key.node_port; }

    const Eyes& eyes_;
    const plan::Plan& plan_;
    const plan::Journey& journey_;
    Sighting seen_;
};

}  // namespace

Result<Sighting> sight(const Eyes& eyes, const plan::Plan& plan, const plan::Journey& journey) {
    return Reader(eyes, plan, journey).read();
}

}  // namespace ghostip::dataplane::userspace
