#include "dataplane/ipvs/names.h"

#include <algorithm>

namespace ghostip::dataplane::ipvs {

using kernel::ipset::Type;

const std::array<SetRow, kSetCount>& set_rows() {
    static constexpr std::array<SetRow, kSetCount> kRows{{
        {Set::kLoopBack, "KUBE-LOOP-BACK", Type::kIpPortIp,
         "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"},
        {Set::kClusterIp, "KUBE-CLUSTER-IP", Type::kIpPort,
         "Kubernetes service cluster ip + port for masquerade purpose"},
        {Set::kExternalIp, "KUBE-EXTERNAL-IP", Type::kIpPort,
         "Kubernetes service external ip + port for masquerade and filter purpose"},
        {Set::kExternalIpLocal, "KUBE-EXTERNAL-IP-LOCAL", Type::kIpPort,
         "Kubernetes service external ip + port with externalTrafficPolicy=local"},
        {Set::kLoadBalancer, "KUBE-LOAD-BALANCER", Type::kIpPort, "Kubernetes service lb portal"},
        {Set::kLoadBalancerLocal, "KUBE-LOAD-BALANCER-LOCAL", Type::kIpPort,
         "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"},
        {Set::kLoadBalancerFw, "KUBE-LOAD-BALANCER-FW", Type::kIpPort,
         "Kubernetes service load balancer ip + port for load balancer with sourceRange"},
        {Set::kLoadBalancerSourceIp, "KUBE-LOAD-BALANCER-SOURCE-IP", Type::kIpPortIp,
         "Kubernetes service load balancer ip + port + source IP for packet filter purpose"},
        {Set::kLoadBalancerSourceCidr, "KUBE-LOAD-BALANCER-SOURCE-CIDR", Type::kIpPortNet,
         "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"},
        {Set::kNodePorts, "GHOSTIP-NODE-PORTS", Type::kIpPort, "node ports of this node's addresses"},
        {Set::kNodePortTcp, "KUBE-NODE-PORT-TCP", Type::kPort, "Kubernetes nodeport TCP port for masquerade purpose"},
        {Set::kNodePortLocalTcp, "KUBE-NODE-PORT-LOCAL-TCP", Type::kPort,
         "Kubernetes nodeport TCP port with externalTrafficPolicy=local"},
        {Set::kNodePortUdp, "KUBE-NODE-PORT-UDP", Type::kPort, "Kubernetes nodeport UDP port for masquerade purpose"},
        {Set::kNodePortLocalUdp, "KUBE-NODE-PORT-LOCAL-UDP", Type::kPort,
         "Kubernetes nodeport UDP port with externalTrafficPolicy=local"},
        {Set::kNodePortSctp, "KUBE-NODE-PORT-SCTP-HASH", Type::kIpPort,
         "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"},
        {Set::kNodePortLocalSctp, "KUBE-NODE-PORT-LOCAL-SCTP-HASH", Type::kIpPort,
         "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"},
        {Set::kHealthCheck, "KUBE-HEALTH-CHECK-NODE-PORT", Type::kPort, "Kubernetes health check node port"},
        {Set::kIpvsIps, "KUBE-IPVS-IPS", Type::kIp, "Addresses on the ipvs interface"},
        {Set::kDrop, "GHOSTIP-DROP", Type::kIpPort, "all endpoints are on other nodes"},
        {Set::kDropOwn, "GHOSTIP-DROP-OWN", Type::kIpPort, "all endpoints are on other nodes"},
    }};
    return kRows;
}

const SetRow& row(Set set) { return set_rows()[static_cast<std::size_t>(set)]; }

std::string set_name(Set set, net::Family family) {
    std::string name(row(set).name);
    if (family == net::Family::kIpv4) return name;
    name.insert(name.find('-') + 1, "6-");
    return name.substr(0, kernel::ipset::kLongestName);
}

bool is_own_chain(std::string_view table, std::string_view chain) {
    static constexpr std::array<std::string_view, 7> kNat{
        chains::kServices, chains::kLoadBalancer,  chains::kNodePort,    chains::kPostrouting,
        chains::kMarkMasq, chains::kExternalLocal, chains::kShortCircuit};
    static constexpr std::array<std::string_view, 6> kFilters{chains::kForward,       chains::kNodePort,
                                                              chains::kProxyFirewall, chains::kSourceRanges,
                                                              chains::kFilter,        chains::kOutFilter};
    static constexpr std::array<std::string_view, 3> kMangle{chains::kOwnTraffic, chains::kOwnRanges, chains::kOwn};
    const auto has = [&](const auto& list) { return std::find(list.begin(), list.end(), chain) != list.end(); };
    if (table == tables::kNat) return has(kNat);
    if (table == tables::kFilter) return has(kFilters);
    return table == tables::kMangle && has(kMangle);
}

}  // namespace ghostip::dataplane::ipvs
