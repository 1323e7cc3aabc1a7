// From EndpointSlices to the endpoints of one service port, and from those to the ones that this node may use.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "plan/service_port.h"

namespace ghostip::plan {

// An endpoint that a packet may be sent to. 20 bytes: there can be a million of them.
struct Endpoint {
    net::IpAddress address;
    std::uint16_t port = 0;
    bool local = false;  // on this node

    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// Endpoints that share traffic equally. Ordered by the text `ip:port` byte by byte, as kube-proxy orders them, so that
// equal contents are equal pools.
using Pool = std::vector<Endpoint>;

// One endpoint with everything that decides whether it is used.
struct Candidate {
    Endpoint endpoint;
    bool ready = false;
    bool serving = false;
    bool terminating = false;
    const api::Hints* hints = nullptr;  // owned by the slice; null = none
};

using Slices = std::vector<std::shared_ptr<const api::EndpointSlice>>;

// The endpoints of one port of a service from all of its slices, one for each ip:port, in pool order. `node_name` is
// this node's; when empty no endpoint is local. Refused addresses are left out. The result points into the slices.
[[nodiscard]] std::vector<Candidate> candidates(const Slices& slices, std::string_view port_name,
                                                net::Protocol protocol, std::string_view node_name);

// Addresses in the slice that are never sent to: loopback and link-local ones, which mean something else on every
// host (CVE-2021-25737). Each once, sorted. Decoders leave them out; this is for sources that do not decode.
[[nodiscard]] std::vector<net::IpAddress> refused_addresses(const api::EndpointSlice& slice);

// Where this node stands, for hints.
struct Topology {
    std::string node_name;
    std::string zone;  // label topology.kubernetes.io/zone; empty = none, which matches no hint
};

struct Choice {
    Pool cluster;          // used by cluster-policy traffic; empty when no traffic uses it
    Pool local;            // used by local-policy traffic; empty when no traffic uses it
    bool has_any = false;  // some usable endpoint exists anywhere in the cluster
};

// Kubernetes' choice: ready before serving-and-terminating, topology hints for the cluster list only.
[[nodiscard]] Choice choose(const std::vector<Candidate>& candidates, const ServicePort& port,
                            const Topology& topology);

// All endpoints that some traffic on this node can reach: the union of both lists.
[[nodiscard]] Pool reachable(const Pool& cluster, const Pool& local);

}  // namespace ghostip::plan
