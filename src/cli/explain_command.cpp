// `ghostip explain FROM TO[:PORT[/PROTO]]`: the plan asked about one connection.
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/journey_text.h"
#include "cli/offline.h"
#include "plan/explain.h"

namespace ghostip::cli {
namespace {

struct ExplainFlags {
    NodeFlags node;
    std::string from;
    std::string to;
    std::string output = "text";
    std::string interface;
    bool live = false;
};

// What was typed as TO: an address or a Service, a port, a protocol.
struct Target {
    std::string host;
    std::optional<std::uint16_t> port;
    std::optional<net::Protocol> protocol;
};

Result<Target> parse_target(const std::string& text) {
    Target target;
    std::string rest = text;
    // The protocol stands behind the last slash; a Service's own slash comes before any colon.
    const auto slash = rest.rfind('/');
    if (slash != std::string::npos) {
        const auto protocol = net::parse_protocol_any_case(std::string_view(rest).substr(slash + 1));
        if (protocol) {
            target.protocol = protocol;
            rest.resize(slash);
        } else if (rest.find(':') < slash) {
            return fail("TO: \"{}\": \"{}\" is not TCP, UDP or SCTP", text, rest.substr(slash + 1));
        }
    }
    if (net::IpAddress::parse(rest)) {  // IPv6 without a port
        target.host = rest;
        return target;
    }
    const auto colon = rest.rfind(':');
    target.host = rest.substr(0, colon);
    if (target.host.size() > 2 && target.host.front() == '[' && target.host.back() == ']')
        target.host = target.host.substr(1, target.host.size() - 2);
    if (colon == std::string::npos) return target;
    unsigned port = 0;
    const char* begin = rest.data() + colon + 1;
    const char* end = rest.data() + rest.size();
    if (begin == end || std::from_chars(begin, end, port).ptr != end || port == 0 || port > 65535)
        return fail("TO: \"{}\": \"{}\" is not a port from 1 to 65535", text, rest.substr(colon + 1));
    target.port = static_cast<std::uint16_t>(port);
    return target;
}

// `namespace/name` means its cluster IP, in the family of `source` if there is one.
Result<plan::Flow> resolve(const Offline& offline, const ExplainFlags& flags) {
    plan::Flow flow;
    flow.interface = flags.interface;
    ASSIGN_OR_RETURN(const Target target, parse_target(flags.to));
    std::optional<net::IpAddress> destination = net::IpAddress::parse_lenient(target.host);
    std::optional<net::IpAddress> source = net::IpAddress::parse_lenient(flags.from);
    const bool from_node = flags.from == "node";
    if (!source && !from_node) return fail("FROM: \"{}\": neither an IP address nor the word node", flags.from);
    const plan::ServicePortPlan* named = nullptr;
    if (!destination) {
        for (const auto& plan : offline.plans) {
            if (source && source->family() != plan.family) continue;
            for (const auto& [name, service_port] : plan.service_ports) {
                if (name.service.text() != target.host || service_port->destinations.empty() || named != nullptr)
                    continue;
                if (target.port && service_port->destinations.front().key.port != *target.port) continue;
                if (target.protocol && name.protocol != *target.protocol) continue;
                named = service_port.get();
            }
            if (named != nullptr) break;
        }
        if (named == nullptr)
            return fail("TO: \"{}\": neither an IP address nor a Service (namespace/name) with such a port", flags.to);
        destination = named->destinations.front().key.address;
    }
    flow.destination = *destination;
    const auto& plan = offline.of(destination->family());
    if (from_node) {
        if (!plan.node.node_ip)
            return fail("FROM: \"node\": this node's {} address is not known", net::family_name(plan.family));
        source = plan.node.node_ip;
    }
    if (source->family() != destination->family())
        return fail("{} and {} are of different families", source->text(), destination->text());
    flow.source = *source;

    // What was left out is taken from the only service port that has this destination.
    const plan::Destination* only = nullptr;
    int matches = 0;
    for (const auto& [name, service_port] : plan.service_ports)
        for (const auto& candidate : service_port->destinations) {
            if (candidate.key.node_port || candidate.key.address != *destination) continue;
            if (target.port && candidate.key.port != *target.port) continue;
            if (target.protocol && candidate.key.protocol != *target.protocol) continue;
            only = &candidate;
            ++matches;
        }
    if (!target.port && matches != 1)
        return fail("TO: \"{}\": give a port: {} service ports have this address", flags.to,
                    matches == 0 ? "no" : fmt::format("{}", matches));
    flow.port = target.port ? *target.port : only->key.port;
    flow.protocol = target.protocol ? *target.protocol : matches == 1 ? only->key.protocol : net::Protocol::kTcp;
    return flow;
}

std::string node_of(const std::vector<api::Change>& objects, const plan::Endpoint& endpoint) {
    for (const auto& change : objects) {
        if (change.key.kind != api::Kind::kEndpointSlice || !change.object) continue;
        const auto& slice = *std::get<std::shared_ptr<const api::EndpointSlice>>(*change.object);
        for (const auto& candidate : slice.endpoints)
            if (candidate.address == endpoint.address && candidate.node != api::Endpoint::kNone)
                return slice.node_names[candidate.node];
    }
    return {};
}

int explain(const ExplainFlags& flags) {
    const auto report = [](const Error& error) {
        fmt::print(stderr, "ghostip: {}\n", error.message);
        return kFailed;
    };
    if (flags.output != "text" && flags.output != "json") {
        fmt::print(stderr, "ghostip: --output: \"{}\": must be text or json\n", flags.output);
        return kUsage;
    }
    const auto offline = plan_offline(flags.node);
    if (!offline) return report(offline.error());
    const auto flow = resolve(*offline, flags);
    if (!flow) return report(flow.error());
    const auto& plan = offline->of(flow->destination.family());
    const auto journey = plan::Explainer(plan, offline->options.mode->profile()).explain(*flow);
    const auto where = [&](const plan::Endpoint& endpoint) { return node_of(offline->objects, endpoint); };
    std::optional<dataplane::Sighting> sighting;
    if (flags.live) {
        const auto& mode = *offline->options.mode;
        if (mode.sight == nullptr) return report(fail("mode {} cannot read back what the kernel holds", mode.name));
        auto seen = mode.sight(plan, journey, offline->options.dataplane);
        if (!seen) return report(seen.error().within("read what the kernel holds"));
        sighting = std::move(*seen);
    }
    const Surroundings around{plan.node, where, offline->options.dataplane.ipvs.scheduler,
                              sighting ? &*sighting : nullptr};
    fmt::print("{}", flags.output == "json" ? journey_json(journey, around) : journey_text(journey, around));
    return sighting && !sighting->differences.empty() ? kFailed : kOk;
}

}  // namespace

void add_explain_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("explain", "Explain the way of a new connection: match, select, rewrite, route");
    auto flags = std::make_shared<ExplainFlags>();
    command->add_option("FROM", flags->from, "Source address, or the word node for this node itself")->required();
    command
        ->add_option("TO", flags->to, "Destination: ADDRESS[:PORT[/PROTOCOL]] or NAMESPACE/SERVICE[:PORT[/PROTOCOL]]")
        ->required();
    add_node_flags(*command, flags->node);
    command->add_option("--interface", flags->interface,
                        "The interface that the packet comes in by, for detection by interface");
    command->add_flag("--live", flags->live,
                      "Also read what this network namespace's kernel holds for the packet, and say whether it agrees; "
                      "exit code 1 if it does not");
    command->add_option("-o,--output", flags->output, "text or json")->capture_default_str();
    command->footer(R"(Examples:
  ghostip explain --manifests web.yaml 10.244.1.7 10.96.0.10:80
  ghostip explain --manifests web.yaml --cluster-cidr 10.244.0.0/16 203.0.113.9 192.168.0.2:30080/TCP -o json
  ghostip explain --manifests web.yaml node default/web
  ghostip explain --manifests web.yaml --live node default/web)");
    command->callback([flags, &run] { run = [flags] { return explain(*flags); }; });
}

}  // namespace ghostip::cli
