#include "plan/endpoints.h"

#include <algorithm>
#include <utility>

#include "net/special_range.h"

namespace ghostip::plan {
namespace {

enum class Mode { kAll, kSameNode, kSameZone };

bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_refused(const net::IpAddress& address) { return net::special_range(address) != net::SpecialRange::kNone; }

bool usable_as_fallback(const Candidate& candidate) { return candidate.serving && candidate.terminating; }

// Topology looks at ready endpoints only; one endpoint without hints switches a mode off for the whole service port.
Mode topology_mode(const std::vector<Candidate>& candidates, const Topology& topology) {
    bool any_ready = false;
    bool all_have_node = true;
    bool all_have_zone = true;
    bool some_for_node = false;
    bool some_for_zone = false;
    for (const auto& candidate : candidates) {
        if (!candidate.ready) continue;
        any_ready = true;
        const bool has_node = candidate.hints != nullptr && !candidate.hints->nodes.empty();
        const bool has_zone = candidate.hints != nullptr && !candidate.hints->zones.empty();
        all_have_node = all_have_node && has_node;
        all_have_zone = all_have_zone && has_zone;
        if (has_node && contains(candidate.hints->nodes, topology.node_name)) some_for_node = true;
        if (has_zone && !topology.zone.empty() && contains(candidate.hints->zones, topology.zone)) some_for_zone = true;
    }
    if (!any_ready) return Mode::kAll;
    if (all_have_node && some_for_node) return Mode::kSameNode;
    if (all_have_zone && some_for_zone) return Mode::kSameZone;
    return Mode::kAll;
}

bool allowed(const Candidate& candidate, Mode mode, const Topology& topology) {
    switch (mode) {
        case Mode::kAll: return true;
        case Mode::kSameNode: return contains(candidate.hints->nodes, topology.node_name);
        case Mode::kSameZone: return contains(candidate.hints->zones, topology.zone);
    }
    return true;
}

template <typename Predicate>
Pool select(const std::vector<Candidate>& candidates, Predicate wanted) {
    Pool pool;
    for (const auto& candidate : candidates)
        if (wanted(candidate)) pool.push_back(candidate.endpoint);
    return pool;
}

Pool cluster_list(const std::vector<Candidate>& candidates, const Topology& topology) {
    const Mode mode = topology_mode(candidates, topology);
    Pool pool = select(candidates, [&](const Candidate& c) { return c.ready && allowed(c, mode, topology); });
    if (pool.empty()) pool = select(candidates, usable_as_fallback);
    return pool;
}

Pool local_list(const std::vector<Candidate>& candidates) {
    Pool pool = select(candidates, [](const Candidate& c) { return c.endpoint.local && c.ready; });
    if (pool.empty())
        pool = select(candidates, [](const Candidate& c) { return c.endpoint.local && usable_as_fallback(c); });
    return pool;
}

}  // namespace

std::vector<Candidate> candidates(const Slices& slices, std::string_view port_name, net::Protocol protocol,
                                  std::string_view node_name) {
    // In the order of slice names, so that which copy of a doubled endpoint wins does not depend on arrival.
    std::vector<const api::EndpointSlice*> ordered;
    ordered.reserve(slices.size());
    for (const auto& slice : slices) ordered.push_back(slice.get());
    std::sort(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) { return a->name < b->name; });

    std::vector<std::pair<std::string, Candidate>> keyed;
    for (const auto* slice : ordered) {
        for (const auto& port : slice->ports) {
            if (!port.name || !port.port || *port.port == 0) continue;
            if (*port.name != port_name || port.protocol != protocol) continue;
            for (const auto& endpoint : slice->endpoints) {
                if (is_refused(endpoint.address)) continue;
                Candidate candidate;
                candidate.endpoint.address = endpoint.address;
                candidate.endpoint.port = *port.port;
                candidate.endpoint.local = !node_name.empty() && endpoint.node != api::Endpoint::kNone &&
                                           slice->node_names[endpoint.node] == node_name;
                candidate.ready = endpoint.ready;
                candidate.serving = endpoint.serving;
                candidate.terminating = endpoint.terminating;
                candidate.hints = endpoint.hints == api::Endpoint::kNone ? nullptr : &slice->hints[endpoint.hints];
                keyed.emplace_back(net::host_port(endpoint.address, *port.port), candidate);
            }
        }
    }

    // Stable, so that copies of one key stay in the order in which they were seen. A later copy replaces an earlier one
    // unless the later one is terminating.
    std::stable_sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Candidate> result;
    result.reserve(keyed.size());
    for (std::size_t i = 0; i < keyed.size(); ++i) {
        if (i > 0 && keyed[i].first == keyed[i - 1].first) {
            if (!keyed[i].second.terminating) result.back() = keyed[i].second;
        } else {
            result.push_back(keyed[i].second);
        }
    }
    return result;
}

std::vector<net::IpAddress> refused_addresses(const api::EndpointSlice& slice) {
    std::vector<net::IpAddress> refused;
    for (const auto& endpoint : slice.endpoints)
        if (is_refused(endpoint.address)) refused.push_back(endpoint.address);
    std::sort(refused.begin(), refused.end());
    refused.erase(std::unique(refused.begin(), refused.end()), refused.end());
    return refused;
}

Choice choose(const std::vector<Candidate>& candidates, const ServicePort& port, const Topology& topology) {
    Choice choice;
    if (port.uses_cluster_endpoints()) {
        choice.cluster = cluster_list(candidates, topology);
        choice.has_any = !choice.cluster.empty();
    }
    if (port.uses_local_endpoints()) {
        choice.local = local_list(candidates);
        choice.has_any = choice.has_any || std::any_of(candidates.begin(), candidates.end(), [](const Candidate& c) {
                             return c.ready || usable_as_fallback(c);
                         });
    }
    return choice;
}

Pool reachable(const Pool& cluster, const Pool& local) {
    if (local.empty()) return cluster;
    Pool all = cluster;
    for (const auto& endpoint : local)
        if (std::find(cluster.begin(), cluster.end(), endpoint) == cluster.end()) all.push_back(endpoint);
    return all;
}

}  // namespace ghostip::plan
