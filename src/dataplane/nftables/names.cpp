#include "dataplane/nftables/names.h"

#include <charconv>

#include <fmt/format.h>

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Field;
using Fields = std::vector<Field>;

// A destination as a key: address . protocol . port, or protocol . port.
Fields destination(Lane lane) {
    return is_node_port(lane) ? Fields{Field::kProtocol, Field::kPort}
                              : Fields{Field::kAddress, Field::kProtocol, Field::kPort};
}

Fields operator+(Fields a, const Fields& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Clients that can stick to an endpoint at once, for each time-out and lane. When full, new clients are balanced
// without affinity until entries expire; without a bound one client with many addresses could use up the memory.
constexpr std::uint32_t kStuckClients = 262144;

}  // namespace

kernel::nft::Table table(net::Family family) {
    return {family, std::string(kTableName), "Kubernetes Services, by ghostip"};
}

kernel::nft::Table handover_table(net::Family family) {
    return {family, std::string(kTableName) + "-handover", "Kubernetes Services, by ghostip, for a moment"};
}

std::string_view lane_prefix(Lane lane) {
    switch (lane) {
        case Lane::kAddress: return "";
        case Lane::kAddressLocal: return "local-";
        case Lane::kNodePort: return "nodeport-";
        case Lane::kNodePortLocal: return "nodeport-local-";
    }
    return "";
}

std::string set_name(const SetRef& ref) {
    const auto prefix = lane_prefix(ref.lane);
    switch (ref.role) {
        case SetRole::kClusterIps: return "cluster-ips";
        case SetRole::kNodePortIps: return "nodeport-ips";
        case SetRole::kExternalCluster:
            return is_node_port(ref.lane) ? "nodeport-policy-cluster" : "external-policy-cluster";
        case SetRole::kExternalLocal: return is_node_port(ref.lane) ? "nodeport-policy-local" : "external-policy-local";
        case SetRole::kNoEndpointsReject: return fmt::format("{}no-endpoints-reject", prefix);
        case SetRole::kNoEndpointsDrop: return fmt::format("{}no-endpoints-drop", prefix);
        case SetRole::kOwnEndpoints: return fmt::format("{}same-as-endpoint", prefix);
        case SetRole::kUpTo: return fmt::format("{}upto-{}", prefix, ref.parameter);
        case SetRole::kEndpoints: return fmt::format("{}endpoints", prefix);
        case SetRole::kAffinity: return fmt::format("{}affinity-{}", prefix, ref.parameter);
        case SetRole::kMembers: return fmt::format("{}members-{}", prefix, ref.parameter);
        case SetRole::kStuck: return fmt::format("{}stuck-{}", prefix, ref.parameter);
        case SetRole::kFilteredSources: return "filtered-sources";
        case SetRole::kAllowedSources: return fmt::format("allowed-sources-{}", ref.parameter);
        case SetRole::kHairpins: return "hairpins";
        case SetRole::kCounted: return fmt::format("{}counted", prefix);
        case SetRole::kRelayPorts: return "relay-ports";
        case SetRole::kNotRelayed: return "not-relayed";
    }
    return "?";
}

std::optional<SetRef> parse_set_name(std::string_view name) {
    constexpr std::array kRoles{
        SetRole::kClusterIps,        SetRole::kNodePortIps,     SetRole::kExternalCluster, SetRole::kExternalLocal,
        SetRole::kNoEndpointsReject, SetRole::kNoEndpointsDrop, SetRole::kOwnEndpoints,    SetRole::kUpTo,
        SetRole::kEndpoints,         SetRole::kAffinity,        SetRole::kMembers,         SetRole::kStuck,
        SetRole::kFilteredSources,   SetRole::kAllowedSources,  SetRole::kHairpins,        SetRole::kCounted,
        SetRole::kRelayPorts,        SetRole::kNotRelayed};
    std::uint32_t parameter = 0;
    if (const auto dash = name.rfind('-'); dash != std::string_view::npos) {
        const auto digits = name.substr(dash + 1);
        if (std::from_chars(digits.data(), digits.data() + digits.size(), parameter).ec != std::errc()) parameter = 0;
    }
    // What is printed the same is the same: the one place that knows the names is set_name().
    for (const auto role : kRoles)
        for (const auto lane : kLanes)
            for (const auto& ref : {SetRef{role, lane, parameter}, SetRef{role, lane, 0}})
                if (set_name(ref) == name) return ref;
    return std::nullopt;
}

bool keyed_by_destination(SetRole role) {
    return role != SetRole::kClusterIps && role != SetRole::kNodePortIps && role != SetRole::kHairpins &&
           role != SetRole::kStuck && role != SetRole::kRelayPorts && role != SetRole::kNotRelayed;
}

std::size_t destination_bytes(Lane lane, net::Family family) {
    return kernel::nft::fields_size(destination(lane), family);
}

kernel::nft::Set declare(const SetRef& ref) {
    kernel::nft::Set set;
    set.name = set_name(ref);
    const Fields endpoint{Field::kAddress, Field::kPort};
    switch (ref.role) {
        case SetRole::kClusterIps:
        case SetRole::kNodePortIps: set.key = {Field::kAddress}; break;
        case SetRole::kExternalCluster:
        case SetRole::kExternalLocal:
        case SetRole::kNoEndpointsReject:
        case SetRole::kNoEndpointsDrop:
        case SetRole::kOwnEndpoints:
        case SetRole::kUpTo:
        case SetRole::kAffinity:
        case SetRole::kFilteredSources: set.key = destination(ref.lane); break;
        case SetRole::kEndpoints:
            set.key = destination(ref.lane) + Fields{Field::kNumber};
            set.data = endpoint;
            break;
        case SetRole::kMembers: set.key = destination(ref.lane) + endpoint; break;
        case SetRole::kStuck:
            set.key = Fields{Field::kAddress} + destination(ref.lane);
            set.data = endpoint;
            set.timeout_seconds = ref.parameter;
            set.size = kStuckClients;
            break;
        case SetRole::kAllowedSources: set.key = destination(Lane::kAddress) + Fields{Field::kAddress}; break;
        case SetRole::kCounted:
            set.key = destination(ref.lane);
            set.counts = true;
            break;
        case SetRole::kRelayPorts: set.key = destination(Lane::kNodePort); break;
        case SetRole::kNotRelayed:
            set.key = {Field::kProtocol};
            set.counts = true;
            break;
        case SetRole::kHairpins: set.key = {Field::kAddress, Field::kAddress, Field::kProtocol, Field::kPort}; break;
    }
    return set;
}

std::string pick_chain(Lane lane) { return fmt::format("{}pick", lane_prefix(lane)); }
std::string pick_chain(Lane lane, std::uint32_t up_to) { return fmt::format("{}pick-{}", lane_prefix(lane), up_to); }
std::string stuck_chain(Lane lane, std::uint32_t seconds) {
    return fmt::format("{}stuck-{}", lane_prefix(lane), seconds);
}

}  // namespace ghostip::dataplane::nftables
