// The names of everything in table `ghostip`, and which kinds of sets there are. Names say what operators will look
// for.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/nft/model.h"

namespace ghostip::dataplane::nftables {

inline constexpr std::string_view kTableName = "ghostip";
// The chain that refuses addresses of the service range that nobody owns.
inline constexpr const char* kUnknownClusterIps = "unknown-cluster-ips";
// The chain that refuses node ports at localhost that no relay serves.
inline constexpr const char* kLocalhostNodePorts = "localhost-nodeports";

[[nodiscard]] kernel::nft::Table table(net::Family family);
// Stands beside it for the moment in which it is replaced as a whole: a packet that is in the old chains just then
// finds nothing there any more, and is translated by these.
[[nodiscard]] kernel::nft::Table handover_table(net::Family family);

// A pool of endpoints is found by what the client dialled. Two things vary: whether that is an address or a node port,
// and whether it is the pool for everybody or, where those differ (external policy Local), the one for outside sources.
enum class Lane : std::uint8_t { kAddress, kAddressLocal, kNodePort, kNodePortLocal };
inline constexpr std::array<Lane, 4> kLanes{Lane::kAddress, Lane::kAddressLocal, Lane::kNodePort, Lane::kNodePortLocal};

[[nodiscard]] constexpr bool is_node_port(Lane lane) { return lane == Lane::kNodePort || lane == Lane::kNodePortLocal; }
// "", "local-", "nodeport-", "nodeport-local-"
[[nodiscard]] std::string_view lane_prefix(Lane lane);

enum class SetRole : std::uint8_t {
    kClusterIps,         // every cluster IP
    kNodePortIps,        // addresses that accept node ports, unless all do
    kExternalCluster,    // external destinations of policy Cluster
    kExternalLocal,      // external destinations of policy Local
    kNoEndpointsReject,  // nobody is there
    kNoEndpointsDrop,    // nobody is here
    kOwnEndpoints,       // external destinations that are the address and port of an endpoint of theirs
    kUpTo,               // pools of (parameter / 2, parameter] endpoints
    kEndpoints,          // map: destination and slot -> endpoint
    kAffinity,           // sticky destinations of one time-out (parameter, seconds)
    kMembers,            // destination and endpoint: who may be stuck to
    kStuck,              // map: client and destination -> endpoint; written by rules
    kFilteredSources,    // destinations that only some sources may dial
    kAllowedSources,     // destination and masked source, one prefix length each (parameter)
    kHairpins,           // endpoints of this node, as source and destination
    kCounted,            // every destination, each with a counter
    kRelayPorts,         // ports of this node that nobody may dial directly
    kNotRelayed,         // protocols that localhost node ports refuse, each with a counter
};

// One set: its role, its lane (kAddress where lanes have no meaning) and its parameter (0 where there is none).
struct SetRef {
    SetRole role = SetRole::kClusterIps;
    Lane lane = Lane::kAddress;
    std::uint32_t parameter = 0;

    friend auto operator<=>(const SetRef&, const SetRef&) = default;
};

[[nodiscard]] std::string set_name(const SetRef& ref);
// The way back; absent for a name that is not of this layout.
[[nodiscard]] std::optional<SetRef> parse_set_name(std::string_view name);
// Does a key of this set begin with a destination (address . protocol . port, or protocol . port)?
[[nodiscard]] bool keyed_by_destination(SetRole role);
// Bytes of a destination in the keys of a lane.
[[nodiscard]] std::size_t destination_bytes(Lane lane, net::Family family);
// How the set is declared.
[[nodiscard]] kernel::nft::Set declare(const SetRef& ref);

[[nodiscard]] std::string pick_chain(Lane lane);                          // "pick", "nodeport-pick"
[[nodiscard]] std::string pick_chain(Lane lane, std::uint32_t up_to);     // "pick-8"
[[nodiscard]] std::string stuck_chain(Lane lane, std::uint32_t seconds);  // "stuck-10800"

}  // namespace ghostip::dataplane::nftables
