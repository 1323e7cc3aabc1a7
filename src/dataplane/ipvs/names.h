// What sets, chains and the device are called: the names of Kubernetes' own proxy, so that its state is taken over as
// it stands. What it has not got is called GHOSTIP-.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/ipset/ipset.h"
#include "net/address.h"

namespace ghostip::dataplane::ipvs {

// Of both families, and down: addresses of Services, which makes packets to them local.
inline constexpr const char* kDevice = "kube-ipvs0";

// By this the virtual servers that are ours are known, also after a restart: they stand in one of kNamingSets. Those of
// kube-proxy's node ports do not; see Observed::is_ours(). What says that a virtual server is ours stands before what
// says that its port is a node port, and is written first.
enum class Set : std::uint8_t {
    kLoopBack,  // local endpoints that reach themselves
    kClusterIp,
    kExternalIp,
    kExternalIpLocal,
    kLoadBalancer,
    kLoadBalancerLocal,
    kLoadBalancerFw,        // with source ranges
    kLoadBalancerSourceIp,  // kube-proxy's; what it would hold stands in the next one
    kLoadBalancerSourceCidr,
    kNodePorts,  // of each address that one has a virtual server at
    kNodePortTcp,
    kNodePortLocalTcp,
    kNodePortUdp,
    kNodePortLocalUdp,
    kNodePortSctp,
    kNodePortLocalSctp,
    kHealthCheck,
    kIpvsIps,
    kDrop,     // destinations that drop what comes from elsewhere: all endpoints are on other nodes
    kDropOwn,  // that drop what this node sends
};
inline constexpr std::size_t kSetCount = 20;

// Whose elements name a virtual server each.
inline constexpr std::array<Set, 6> kNamingSets{Set::kClusterIp,       Set::kLoadBalancer, Set::kExternalIp,
                                                Set::kExternalIpLocal, Set::kNodePorts,    Set::kNodePortSctp};

struct SetRow {
    Set set;
    std::string_view name;  // of IPv4
    kernel::ipset::Type type;
    std::string_view comment;  // of rules that ask it
};
[[nodiscard]] const std::array<SetRow, kSetCount>& set_rows();
[[nodiscard]] const SetRow& row(Set set);

// What a set is filled in that takes the place of one of ours; there only for a moment.
[[nodiscard]] inline const char* spare_set_name(net::Family family) {
    return family == net::Family::kIpv4 ? "GHOSTIP-WIDER" : "GHOSTIP-6-WIDER";
}

// "KUBE-6-CLUSTER-IP": at most 31 characters, which cuts two of kube-proxy's.
[[nodiscard]] std::string set_name(Set set, net::Family family);

namespace tables {
inline constexpr const char* kNat = "nat";
inline constexpr const char* kFilter = "filter";
inline constexpr const char* kMangle = "mangle";
inline constexpr std::array<const char*, 3> kAll{kNat, kFilter, kMangle};
}  // namespace tables

namespace chains {
inline constexpr const char* kServices = "KUBE-SERVICES";
inline constexpr const char* kLoadBalancer = "KUBE-LOAD-BALANCER";
inline constexpr const char* kNodePort = "KUBE-NODE-PORT";
inline constexpr const char* kPostrouting = "KUBE-POSTROUTING";
inline constexpr const char* kMarkMasq = "KUBE-MARK-MASQ";
inline constexpr const char* kForward = "KUBE-FORWARD";
inline constexpr const char* kProxyFirewall = "KUBE-PROXY-FIREWALL";
inline constexpr const char* kSourceRanges = "KUBE-SOURCE-RANGES-FIREWALL";
inline constexpr const char* kFilter = "KUBE-IPVS-FILTER";
// Of kube-proxy alone: rules a service, which kOwnTraffic makes needless. It is kept empty.
inline constexpr const char* kOutFilter = "KUBE-IPVS-OUT-FILTER";
inline constexpr const char* kExternalLocal = "GHOSTIP-EXTERNAL-LOCAL";
inline constexpr const char* kShortCircuit = "GHOSTIP-SHORT-CIRCUIT";
inline constexpr const char* kOwnTraffic = "GHOSTIP-OWN-TRAFFIC";
inline constexpr const char* kOwnRanges = "GHOSTIP-OWN-RANGES";
// Empty, and nothing leads there: it says that the other chains are this program's and not kube-proxy's.
inline constexpr const char* kOwn = "GHOSTIP-RULES";
}  // namespace chains

// Does the chain go with this mode?
[[nodiscard]] bool is_own_chain(std::string_view table, std::string_view chain);

}  // namespace ghostip::dataplane::ipvs
