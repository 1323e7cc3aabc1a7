#include "packets/judge.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "packets/node_under_test.h"

namespace ghostip::packets {
namespace {

using testnet::Outcome;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;

const plan::Endpoint* endpoint_met(const plan::Journey& journey, const Outcome& outcome) {
    const auto met = std::find_if(journey.pool.begin(), journey.pool.end(), [&](const auto& endpoint) {
        return endpoint.address == outcome.endpoint && endpoint.port == outcome.endpoint_port;
    });
    return met == journey.pool.end() ? nullptr : &*met;
}

std::string disagreement_when_balanced(const testnet::Topology& topology, const Probe& probe,
                                       const plan::Journey& journey, const Outcome& outcome) {
    if (outcome.seen != Seen::kAnswered) {
        const bool refused = outcome.seen == Seen::kRejected || (outcome.seen == Seen::kDropped && !outcome.arrived);
        return refused && !journey.refused.empty() ? "" : "not balanced";
    }
    const auto* met = endpoint_met(journey, outcome);
    if (met == nullptr) return "not an endpoint of the pool";
    if (std::find(journey.refused.begin(), journey.refused.end(), *met) != journey.refused.end())
        return "answered by an endpoint that is refused";
    // What is delivered to the node itself does not leave it: there is nothing to rewrite, and both is right.
    if (outcome.place == Place::kNode) return "";
    const bool masqueraded = journey.masquerades_for(*met);
    const auto expected = masqueraded ? topology.link_address(outcome.place, probe.source.family()) : probe.source;
    if (outcome.source != expected) return masqueraded ? "not masqueraded" : "source not kept";
    return "";
}

net::IpAddress cluster_ip_of(const plan::ServicePortPlan& plan) {
    for (const auto& destination : plan.destinations)
        if (destination.kind == plan::DestinationKind::kClusterIp) return destination.key.address;
    return {};
}

}  // namespace

std::string text_of(const plan::Journey& journey) {
    std::string text(plan::verdict_name(journey.verdict));
    if (journey.service_port) text += fmt::format(", {}", journey.service_port->name.text());
    if (journey.destination)
        text += fmt::format(" ({} {})", plan::destination_kind_name(journey.destination->kind),
                            journey.destination->key.text());
    text += fmt::format(", source is {}", plan::source_class_name(journey.source_class));
    if (journey.verdict != plan::Verdict::kBalanced) return text;
    std::vector<std::string> names;
    for (const auto& endpoint : journey.pool)
        names.push_back(net::host_port(endpoint.address, endpoint.port) + (endpoint.local ? " here" : "") +
                        (!journey.masquerade && journey.masquerades_for(endpoint) ? " (masqueraded: hairpin)" : ""));
    return text +
           fmt::format(", over {{{}}}, {}", fmt::join(names, ", "), journey.masquerade ? "masqueraded" : "source kept");
}

std::string disagreement(const testnet::Topology& topology, const Probe& probe, const plan::Journey& journey,
                         const Outcome& outcome) {
    switch (journey.verdict) {
        case plan::Verdict::kRejected: return outcome.seen == Seen::kRejected ? "" : "not rejected";
        case plan::Verdict::kDropped: return outcome.seen == Seen::kDropped && !outcome.arrived ? "" : "not dropped";
        case plan::Verdict::kNotOurs:
            if (!outcome.untranslated(probe)) return "not left alone";
            return outcome.source == probe.source ? "" : "source not kept";
        case plan::Verdict::kBalanced: return disagreement_when_balanced(topology, probe, journey, outcome);
    }
    return "?";
}

Memory memory_of(const std::string& mode) {
    if (mode.starts_with("ipvs")) return Memory::kByVirtualServer;
    return mode.starts_with("iptables") ? Memory::kByEndpoint : Memory::kByDestination;
}

// The first endpoint in the pool's order that knows the client takes it, so it is enough to be one of those.
std::string Stickiness::note_by_endpoint(const Probe& probe, const plan::Journey& journey, const Outcome& outcome,
                                         When when) {
    auto& known = known_at_[{probe.source, journey.service_port->name}];
    const plan::AddressPort now{outcome.endpoint, outcome.endpoint_port};
    const bool somebody_knows = std::any_of(journey.pool.begin(), journey.pool.end(), [&](const auto& endpoint) {
        return known.contains({endpoint.address, endpoint.port});
    });
    const bool stuck = known.contains(now);
    known.insert(now);
    if (!somebody_knows || stuck || when == When::kTogether) return "";
    return "did not stick to an endpoint that knows it";
}

std::string Stickiness::note(const Probe& probe, const plan::Journey& journey, const Outcome& outcome, When when) {
    if (journey.verdict != plan::Verdict::kBalanced || journey.service_port->affinity_seconds == 0) return "";
    if (endpoint_met(journey, outcome) == nullptr) return "";
    if (memory_ == Memory::kByEndpoint) return note_by_endpoint(probe, journey, outcome, when);
    const Key key{probe.source, probe.destination, probe.protocol, probe.port};
    const Stuck now{probe,
                    journey.service_port->name,
                    journey.scope,
                    journey.service_port->affinity_seconds,
                    outcome.endpoint,
                    outcome.endpoint_port,
                    cluster_ip_of(*journey.service_port)};
    const auto [at, fresh] = stuck_.try_emplace(key, now);
    if (fresh || (at->second.endpoint == now.endpoint && at->second.port == now.port)) return "";
    auto complaint = fmt::format("did not stick to {}", net::host_port(at->second.endpoint, at->second.port));
    at->second = now;
    return complaint;
}

void Stickiness::forget_unless_kept(const plan::Explainer& explainer, const plan::Plan& plan) {
    for (auto& [client, known] : known_at_) {
        const auto found = plan.service_ports.find(client.second);
        const bool sticks = found != plan.service_ports.end() && found->second->affinity_seconds != 0;
        const auto pool = sticks ? plan::reachable(found->second->cluster, found->second->local) : plan::Pool();
        std::erase_if(known, [&](const auto& one) {
            return std::none_of(pool.begin(), pool.end(), [&](const auto& endpoint) {
                return endpoint.address == one.address && endpoint.port == one.port;
            });
        });
    }
    std::erase_if(stuck_, [&](const auto& entry) {
        const Stuck& stuck = entry.second;
        const auto journey = explainer.explain(flow_of(stuck.probe));
        if (journey.verdict != plan::Verdict::kBalanced || journey.service_port->name != stuck.service_port)
            return true;
        if (journey.scope != stuck.scope || journey.service_port->affinity_seconds != stuck.seconds) return true;
        if (memory_ == Memory::kByVirtualServer && cluster_ip_of(*journey.service_port) != stuck.cluster_ip)
            return true;
        return std::none_of(journey.pool.begin(), journey.pool.end(), [&](const auto& endpoint) {
            return endpoint.address == stuck.endpoint && endpoint.port == stuck.port;
        });
    });
}

}  // namespace ghostip::packets
