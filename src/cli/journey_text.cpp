#include "cli/journey_text.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "cli/json_text.h"

namespace ghostip::cli {
namespace {

using plan::Journey;
using plan::Reason;
using plan::Verdict;

std::string why(const Journey& journey, const plan::NodeRules& node) {
    const auto& flow = journey.flow;
    switch (journey.reason) {
        case Reason::kEndpoints: return "";
        case Reason::kNoEndpoints: return "the Service has no usable endpoint anywhere";
        case Reason::kNoLocalEndpoints:
            return "the traffic policy is Local, and all usable endpoints are on other nodes";
        case Reason::kSourceNotAllowed:
            return fmt::format("{} is in none of loadBalancerSourceRanges", flow.source.text());
        case Reason::kUnknownPort:
            return fmt::format("{} is an address of a Service, but no Service has port {}/{} on it",
                               flow.destination.text(), flow.port, net::protocol_name(flow.protocol));
        case Reason::kNoWeight: return "every usable endpoint has weight 0";
        case Reason::kNotRelayed:
            return fmt::format("the relay that serves node ports at localhost does not carry {}",
                               net::protocol_name(flow.protocol));
        case Reason::kUnallocatedClusterIp:
            return fmt::format("{} is in a service range, but no Service has it", flow.destination.text());
        case Reason::kRefusedAddress:
            return fmt::format(
                "Service {} asks for {}, but --allowed-external-ips does not give it to that namespace; ghostip leaves "
                "the packet as it is",
                journey.service_port->name.service.text(), flow.destination.text());
        case Reason::kOwnTraffic:
            return "the Service has no usable endpoint, but in this mode what the node itself sends to an address that "
                   "is not its own is not refused; the packet leaves as it is";
        case Reason::kUnknownDestination: break;
    }
    for (const auto& address : node.addresses)
        if (address == flow.destination) return "an address of this node; ghostip leaves the packet as it is";
    return "no Service has this destination; ghostip leaves the packet as it is";
}

std::string outcome(Verdict verdict) {
    switch (verdict) {
        case Verdict::kBalanced: return "balanced";
        case Verdict::kRejected: return "REJECTED with ICMP port unreachable";
        case Verdict::kDropped: return "DROPPED without an answer";
        case Verdict::kNotOurs: return "not ours";
    }
    return "?";
}

std::string_view scope_text(plan::PoolScope scope) {
    return scope == plan::PoolScope::kCluster ? "of the whole cluster" : "of this node only";
}

std::string masqueraded_source(const plan::NodeRules& node) {
    return node.node_ip ? fmt::format("this node's address towards the endpoint (its own is {})", node.node_ip->text())
                        : "this node's address towards the endpoint";
}

std::string place(const plan::Endpoint& endpoint, const NodeOf& node_of) {
    if (endpoint.local) return "on this node";
    const std::string name = node_of(endpoint);
    return name.empty() ? "on another node" : "on node " + name;
}

// The kernel's schedulers (ip_vs_<name>.c) that take their turns, and whether weights count in that.
struct Turns {
    std::string_view scheduler;
    bool weighted;
};
constexpr std::array kTurns{Turns{"rr", false}, Turns{"wrr", true}};

const std::string& scheduler_of(const Journey& journey, const Surroundings& around) {
    const auto& own = journey.service_port->scheduler;
    return own.empty() ? around.scheduler : own;
}

// How likely it is chosen in the long run; nothing: that depends on what else goes on.
std::optional<double> share_of(const Journey& journey, const plan::Endpoint& endpoint, const Surroundings& around) {
    const auto count = static_cast<double>(journey.pool.size());
    if (!journey.scheduled || journey.pool.size() == 1) return 1.0 / count;
    const auto& scheduler = scheduler_of(journey, around);
    const auto* turns =
        std::find_if(kTurns.begin(), kTurns.end(), [&](const auto& one) { return one.scheduler == scheduler; });
    if (turns == kTurns.end()) return std::nullopt;
    if (!turns->weighted) return 1.0 / count;
    const auto& weights = journey.service_port->weights;
    double sum = 0;
    for (const auto& other : journey.pool) sum += plan::weight_of(weights, other.address);
    return plan::weight_of(weights, endpoint.address) / sum;
}

std::string select_text(const Journey& journey, const Surroundings& around) {
    std::string text;
    if (journey.pool.size() == 1)
        text = fmt::format("2 select   the only endpoint {}\n", scope_text(journey.scope));
    else if (!journey.scheduled)
        text = fmt::format("2 select   one of {} endpoints {}, each with probability {:.4f}\n", journey.pool.size(),
                           scope_text(journey.scope), 1.0 / static_cast<double>(journey.pool.size()));
    else
        text = fmt::format("2 select   one of {} endpoints {}, chosen by scheduler {} ({})\n", journey.pool.size(),
                           scope_text(journey.scope), scheduler_of(journey, around),
                           journey.service_port->scheduler.empty() ? "the node's" : "the Service's own");
    const auto line = [&](const plan::Endpoint& endpoint, const std::string& chance) {
        const auto weight = plan::weight_of(journey.service_port->weights, endpoint.address);
        text += fmt::format("             {:<24} {}  {}{}\n", net::host_port(endpoint.address, endpoint.port), chance,
                            place(endpoint, around.node_of),
                            weight == plan::kUsualWeight ? std::string() : fmt::format(", weight {}", weight));
    };
    for (const auto& endpoint : journey.pool) {
        const auto share = share_of(journey, endpoint, around);
        line(endpoint, share ? fmt::format("{:.4f}", *share) : "      ");
    }
    for (const auto& endpoint : journey.drained) line(endpoint, "never ");
    return text;
}

// Two connections: the client's ends here.
std::string relayed_text(const Journey& journey, const plan::NodeRules& node) {
    const auto& flow = journey.flow;
    std::string text = fmt::format("3 rewrite  carried by ghostip: {} ends at this node, and a second one goes out\n",
                                   flow.protocol == net::Protocol::kTcp ? "the connection" : "the session");
    text += fmt::format("           source: {} -> {}\n", flow.source.text(), masqueraded_source(node));
    if (journey.service_port->proxy_protocol != 0)
        text += fmt::format("           the endpoint is told {} first (PROXY protocol v{})\n", flow.source.text(),
                            journey.service_port->proxy_protocol);
    return text + "4 route    by this node's routes to the endpoint; what comes back is carried to the client\n";
}

std::string steps_text(const Journey& journey, const Surroundings& around) {
    const auto& flow = journey.flow;
    const auto& node = around.node;
    std::string text =
        fmt::format("{} -> {}/{}   (source: {})\n\n", flow.source.text(), net::host_port(flow.destination, flow.port),
                    net::protocol_name(flow.protocol), plan::source_class_name(journey.source_class));
    if (journey.destination)
        text +=
            fmt::format("1 match    {} of Service {} ({})\n", plan::destination_kind_name(journey.destination->kind),
                        journey.service_port->name.text(), journey.destination->key.text());
    else
        text += "1 match    nothing\n";
    if (journey.verdict != Verdict::kBalanced) {
        text += fmt::format("2 select   no endpoint: {}\n3 rewrite  nothing\n4 route    {}\n", why(journey, node),
                            outcome(journey.verdict));
        return text;
    }
    text += select_text(journey, around);
    if (journey.service_port->affinity_seconds != 0)
        text += fmt::format(
            "             a client that was here{} in the last {} s goes where it went before (ClientIP)\n",
            journey.sticks_to_destination ? ", by this address," : "", journey.service_port->affinity_seconds);
    if (journey.relayed) {
        text += relayed_text(journey, node);
        return text;
    }
    text += fmt::format("3 rewrite  destination: {} -> the endpoint's\n", net::host_port(flow.destination, flow.port));
    text += journey.masquerade
                ? fmt::format("           source: {} -> {}\n", flow.source.text(), masqueraded_source(node))
                : fmt::format("           source: {}, kept\n", flow.source.text());
    for (const auto& endpoint : journey.hairpins)
        if (!journey.masquerade)
            text += fmt::format("           source: {} -> {}, if {} is chosen (it would talk to itself)\n",
                                flow.source.text(), masqueraded_source(node),
                                net::host_port(endpoint.address, endpoint.port));
    for (const auto& endpoint : journey.refused)
        text += fmt::format("           REFUSED if {} is chosen: that is a destination which is refused itself\n",
                            net::host_port(endpoint.address, endpoint.port));
    text +=
        "4 route    by this node's routes to the endpoint; answers come back the same way and are translated back\n";
    return text;
}

std::string live_text(const Journey& journey, const dataplane::Sighting& seen) {
    std::string text = "\nin the kernel\n";
    for (const auto& line : seen.found) text += fmt::format("           {}\n", line);
    if (seen.found.empty()) text += "           nothing for this packet\n";
    for (const auto& difference : seen.differences) text += fmt::format("DIFFERS    {}\n", difference);
    if (!seen.differences.empty()) return text;
    if (journey.relayed)
        text += "           whom the relay dials is the plan's word: what it remembers cannot be read here\n";
    return text + "agrees     with the plan\n";
}

void live_json(const dataplane::Sighting& seen, JsonText& json) {
    const auto list = [&](const char* name, const std::vector<std::string>& texts) {
        json.key(name);
        json.begin_array();
        for (const auto& text : texts) json.item(text);
        json.end_array();
    };
    json.key("live");
    json.begin_object();
    json.boolean("agrees", seen.differences.empty());
    list("found", seen.found);
    list("differences", seen.differences);
    json.end_object();
}

}  // namespace

std::string journey_text(const Journey& journey, const Surroundings& around) {
    return steps_text(journey, around) + (around.seen == nullptr ? "" : live_text(journey, *around.seen));
}

std::string journey_json(const Journey& journey, const Surroundings& around) {
    const auto& flow = journey.flow;
    const auto& node = around.node;
    JsonText json;
    json.begin_object();
    json.field("from", flow.source.text());
    json.field("to", net::host_port(flow.destination, flow.port));
    json.field("protocol", net::protocol_name(flow.protocol));
    json.field("sourceClass", plan::source_class_name(journey.source_class));
    json.field("verdict", plan::verdict_name(journey.verdict));
    if (journey.verdict != Verdict::kBalanced) json.field("reason", why(journey, node));
    json.key("match");
    json.begin_object();
    if (journey.destination) {
        const auto& name = journey.service_port->name;
        json.field("kind", plan::destination_kind_name(journey.destination->kind));
        json.field("namespace", name.service.namespace_);
        json.field("service", name.service.name);
        json.field("port", name.port);
        json.field("destination", journey.destination->key.text());
    }
    json.end_object();
    json.key("select");
    json.begin_object();
    if (journey.verdict == Verdict::kBalanced) {
        json.field("pool", journey.scope == plan::PoolScope::kCluster ? "cluster" : "local");
        json.number("affinitySeconds", journey.service_port->affinity_seconds);
        if (journey.scheduled) json.field("scheduler", scheduler_of(journey, around));
    }
    json.key("endpoints");
    json.begin_array();
    for (const auto& endpoint : journey.pool) {
        json.begin_object();
        json.field("endpoint", net::host_port(endpoint.address, endpoint.port));
        if (const auto share = share_of(journey, endpoint, around)) json.number("probability", *share);
        if (journey.scheduled) json.number("weight", plan::weight_of(journey.service_port->weights, endpoint.address));
        json.boolean("local", endpoint.local);
        json.field("node", around.node_of(endpoint));
        json.boolean("masquerade", journey.masquerades_for(endpoint));
        json.end_object();
    }
    json.end_array();
    json.end_object();
    json.key("rewrite");
    json.begin_object();
    if (journey.verdict == Verdict::kBalanced) {
        json.field("destination", "endpoint");
        json.boolean("relayed", journey.relayed);
        json.field("source", journey.masquerade ? "masqueraded" : "kept");
        json.field("sourceAfter", journey.masquerade ? (node.node_ip ? node.node_ip->text() : "") : flow.source.text());
    }
    json.end_object();
    json.key("route");
    json.begin_object();
    json.field("outcome",
               journey.verdict == Verdict::kBalanced ? "forwarded to the endpoint" : outcome(journey.verdict));
    json.end_object();
    if (around.seen != nullptr) live_json(*around.seen, json);
    json.end_object();
    return json.text() + "\n";
}

}  // namespace ghostip::cli
