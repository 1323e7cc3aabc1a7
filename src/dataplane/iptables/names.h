// What the chains are called: the names of Kubernetes' own proxy, so that its rules are taken over as they stand, and
// other programs that know these names find them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/endpoints.h"
#include "plan/service_port.h"

namespace ghostip::dataplane::iptables {

// As iptables calls them.
namespace tables {
inline constexpr const char* kNat = "nat";
inline constexpr const char* kFilter = "filter";
inline constexpr const char* kMangle = "mangle";
inline constexpr std::array<const char*, 3> kAll{kNat, kFilter, kMangle};
}  // namespace tables

namespace chains {
// In nat, and in filter by the same name: dispatch by address.
inline constexpr const char* kServices = "KUBE-SERVICES";
inline constexpr const char* kNodePorts = "KUBE-NODEPORTS";
inline constexpr const char* kPostrouting = "KUBE-POSTROUTING";
inline constexpr const char* kMarkMasq = "KUBE-MARK-MASQ";
inline constexpr const char* kExternalServices = "KUBE-EXTERNAL-SERVICES";
inline constexpr const char* kForward = "KUBE-FORWARD";
inline constexpr const char* kProxyFirewall = "KUBE-PROXY-FIREWALL";
// Shared with the kubelet; stays when everything else goes.
inline constexpr const char* kFirewall = "KUBE-FIREWALL";
// Nobody jumps to it; when it is gone, somebody has emptied everything.
inline constexpr const char* kCanary = "KUBE-PROXY-CANARY";
// Empty, and nothing leads there: it says that the other chains are this program's and not kube-proxy's.
inline constexpr const char* kOwn = "GHOSTIP-RULES";
}  // namespace chains

// Counters that rules count in (nfacct).
inline constexpr const char* kInvalidDropped = "ct_state_invalid_dropped_pkts";
inline constexpr const char* kLoopbackNodePorts = "localhost_nps_accepted_pkts";

enum class ChainKind : std::uint8_t { kFirewall, kExternal, kCluster, kLocal, kEndpoint };
inline constexpr std::array<std::string_view, 5> kChainPrefixes{"KUBE-FW-", "KUBE-EXT-", "KUBE-SVC-", "KUBE-SVL-",
                                                                "KUBE-SEP-"};

// The first 16 characters of SHA-256 in base32 (RFC 4648).
[[nodiscard]] std::string short_hash(std::string_view text);
// The part of their names that the chains of one service port share.
[[nodiscard]] std::string hash_of(const plan::ServicePortName& name);
// `hash` is hash_of() its service port.
[[nodiscard]] std::string chain_name(ChainKind kind, std::string_view hash);
// Of all endpoints of a pool, in its order.
[[nodiscard]] std::vector<std::string> endpoint_chains(const plan::ServicePortName& name, const plan::Pool& pool);

// Is it a chain of some service port, by its name? They are in nat only.
[[nodiscard]] bool is_service_chain(std::string_view chain);
// Does the chain exist for this mode alone (not KUBE-FIREWALL)?
[[nodiscard]] bool is_own_chain(std::string_view table, std::string_view chain);

}  // namespace ghostip::dataplane::iptables
