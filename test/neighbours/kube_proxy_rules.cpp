// Chains, matches and their order are those of Kubernetes 1.36 (pkg/proxy/iptables and pkg/proxy/nftables of
// kube-proxy); names that it makes from hashes are made from numbers here.
#include "neighbours/kube_proxy_rules.h"

#include <array>

#include <fmt/format.h>

#include "support/twin.h"

namespace ghostip::neighbours {
namespace {

using testnet::in_family;

constexpr std::array kProtocols{"tcp", "udp"};

// What both modes need of one port of a Service.
struct Port {
    const KubeService& service;
    net::Family family;
    std::string protocol;
    int number;

    [[nodiscard]] std::string name() const { return fmt::format("test/{}:p{}", service.name, protocol); }
    [[nodiscard]] std::string cluster_ip() const { return in_family(family, service.cluster_ip).text(); }
    [[nodiscard]] std::string external_ip() const { return in_family(family, service.external_ip).text(); }
    [[nodiscard]] bool serves() const { return !service.endpoints.empty(); }
};

std::vector<Port> ports_of(const std::vector<KubeService>& services, net::Family family) {
    std::vector<Port> ports;
    for (const auto& service : services)
        for (const auto* protocol : kProtocols)
            ports.push_back({service, family, protocol, static_cast<int>(ports.size())});
    return ports;
}

std::string pods(net::Family family) { return family == net::Family::kIpv4 ? "10.0.0.0/8" : "fd00:10::/64"; }

// -- iptables ---------------------------------------------------------------------------------------------------------

// KUBE-SVC-0000000000000003
std::string chain(const char* kind, const Port& port, std::size_t endpoint = 0) {
    return fmt::format("KUBE-{}-{:08}{:08}", kind, port.number, endpoint);
}

std::string dispatch(const Port& port, const std::string& table_chain, const std::string& match,
                     const std::string& comment, const std::string& target) {
    return fmt::format("-A {} -m comment --comment \"{} {}\" -m {} -p {} {} -j {}\n", table_chain, port.name(), comment,
                       port.protocol, port.protocol, match, target);
}

std::string to(const std::string& address, int port) { return fmt::format("-d {} --dport {}", address, port); }

void add_refusals(const Port& port, std::string& filter) {
    const auto& service = port.service;
    filter += dispatch(port, "KUBE-SERVICES", to(port.cluster_ip(), service.port), "has no endpoints", "REJECT");
    if (!service.external_ip.empty())
        filter += dispatch(port, "KUBE-EXTERNAL-SERVICES", to(port.external_ip(), service.port), "has no endpoints",
                           "REJECT");
    if (service.node_port != 0)
        filter += dispatch(port, "KUBE-EXTERNAL-SERVICES",
                           fmt::format("-m addrtype --dst-type LOCAL --dport {}", service.node_port),
                           "has no endpoints", "REJECT");
}

void add_service(const Port& port, std::string& chains, std::string& nat, std::string& node_ports) {
    const auto& service = port.service;
    const auto svc = chain("SVC", port);
    const auto ext = chain("EXT", port);
    chains += fmt::format(":{} - [0:0]\n:{} - [0:0]\n", svc, ext);
    nat += dispatch(port, "KUBE-SERVICES", to(port.cluster_ip(), service.port), "cluster IP", svc);
    if (!service.external_ip.empty())
        nat += dispatch(port, "KUBE-SERVICES", to(port.external_ip(), service.port), "external IP", ext);
    if (service.node_port != 0)
        node_ports += fmt::format("-A KUBE-NODEPORTS -m comment --comment {} -m {} -p {} --dport {} -j {}\n",
                                  port.name(), port.protocol, port.protocol, service.node_port, ext);
    nat += dispatch(port, svc, fmt::format("{} ! -s {}", to(port.cluster_ip(), service.port), pods(port.family)),
                    "cluster IP", "KUBE-MARK-MASQ");
    nat += fmt::format(
        "-A {} -m comment --comment \"masquerade traffic for {} external destinations\" -j KUBE-MARK-MASQ\n", ext,
        port.name());
    nat += fmt::format("-A {} -j {}\n", ext, svc);
    const auto count = service.endpoints.size();
    for (std::size_t i = 0; i < count; ++i) {
        const auto sep = chain("SEP", port, i);
        const auto endpoint = in_family(port.family, service.endpoints[i]);
        const auto target = net::host_port(endpoint, static_cast<std::uint16_t>(service.target_port));
        chains += fmt::format(":{} - [0:0]\n", sep);
        nat += fmt::format("-A {} -m comment --comment \"{} -> {}\"", svc, port.name(), target);
        if (i + 1 < count)
            nat +=
                fmt::format(" -m statistic --mode random --probability {:.10f}", 1.0 / static_cast<double>(count - i));
        nat += fmt::format(" -j {}\n", sep);
        nat +=
            fmt::format("-A {} -m comment --comment {} -s {} -j KUBE-MARK-MASQ\n", sep, port.name(), endpoint.text());
        nat += fmt::format("-A {} -m comment --comment {} -m {} -p {} -j DNAT --to-destination {}\n", sep, port.name(),
                           port.protocol, port.protocol, target);
    }
}

}  // namespace

std::string kube_proxy_iptables(const std::vector<KubeService>& services, net::Family family) {
    // Jumps are inserted at the head one after the other, so what is written last here stands first.
    std::string filter = R"(*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x00004000/0x00004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
)";
    std::string chains = R"(*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
)";
    std::string nat = R"(-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x00004000/0x00004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x00004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000
)";
    std::string node_ports;
    for (const auto& port : ports_of(services, family)) {
        if (port.serves())
            add_service(port, chains, nat, node_ports);
        else
            add_refusals(port, filter);
    }
    const std::string loopback = family == net::Family::kIpv4 ? "127.0.0.0/8" : "::1/128";
    nat += node_ports;
    nat += fmt::format(
        "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in "
        "this chain\" -m addrtype --dst-type LOCAL ! -d {} -j KUBE-NODEPORTS\n",
        loopback);
    return filter + "COMMIT\n" + chains + nat + "COMMIT\n";
}

// -- nftables ---------------------------------------------------------------------------------------------------------

namespace {

// AAAAAAAA-test/web/tcp/ptcp
std::string base_name(const Port& port) {
    return fmt::format("AAAA{:04}-test/{}/{}/p{}", port.number, port.service.name, port.protocol, port.protocol);
}

struct NftTexts {
    std::string chains;    // of Services
    std::string elements;  // of sets and maps
};

std::string element(const std::string& set, const std::string& text) {
    return fmt::format("add element FAMILY kube-proxy {} {{ {} }}\n", set, text);
}

void add_service(const Port& port, NftTexts& texts) {
    const auto& service = port.service;
    const auto key = [&](const std::string& address) {
        return fmt::format("{} . {} . {}", address, port.protocol, service.port);
    };
    const auto base = base_name(port);
    const std::string here = port.serves() ? "service-ips" : "no-endpoint-services";
    const std::string node_ports = port.serves() ? "service-nodeports" : "no-endpoint-nodeports";
    const auto target = [&](const char* chain) {
        return port.serves() ? fmt::format("goto {}-{}", chain, base) : "goto reject-chain";
    };
    texts.elements += element("cluster-ips", port.cluster_ip());
    texts.elements += element(here, key(port.cluster_ip()) + " : " + target("service"));
    if (!service.external_ip.empty())
        texts.elements += element(here, key(port.external_ip()) + " : " + target("external"));
    if (service.node_port != 0)
        texts.elements +=
            element(node_ports, fmt::format("{} . {} : {}", port.protocol, service.node_port, target("external")));
    if (!port.serves()) return;
    std::string choices;
    for (std::size_t i = 0; i < service.endpoints.size(); ++i)
        choices += fmt::format("{}{} : {} . {}", i == 0 ? "" : ", ", i,
                               in_family(port.family, service.endpoints[i]).text(), service.target_port);
    texts.chains += fmt::format(
        "add chain FAMILY kube-proxy service-{0}\nadd chain FAMILY kube-proxy external-{0}\n"
        "add rule FAMILY kube-proxy service-{0} meta l4proto {1} dnat FAMILY addr . port to numgen random mod {2} map "
        "{{ {3} }}\n"
        "add rule FAMILY kube-proxy external-{0} meta mark set meta mark or 0x00004000 comment \"masquerade\"\n"
        "add rule FAMILY kube-proxy external-{0} goto service-{0}\n",
        base, port.protocol, service.endpoints.size(), choices);
}

constexpr std::string_view kNftFixed = R"(add table FAMILY kube-proxy { comment "rules for kube-proxy" ; }
add chain FAMILY kube-proxy filter-prerouting-pre-dnat { type filter hook prerouting priority -110 ; }
add chain FAMILY kube-proxy filter-output-pre-dnat { type filter hook output priority -110 ; }
add chain FAMILY kube-proxy filter-input { type filter hook input priority 0 ; }
add chain FAMILY kube-proxy filter-forward { type filter hook forward priority 0 ; }
add chain FAMILY kube-proxy filter-output { type filter hook output priority 0 ; }
add chain FAMILY kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain FAMILY kube-proxy nat-output { type nat hook output priority -100 ; }
add chain FAMILY kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add set FAMILY kube-proxy cluster-ips { type ADDRESS ; comment "Active ClusterIPs" ; }
add set FAMILY kube-proxy nodeport-ips { type ADDRESS ; comment "IPs that accept NodePort traffic" ; }
add map FAMILY kube-proxy service-ips { type ADDRESS . inet_proto . inet_service : verdict ; }
add map FAMILY kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add map FAMILY kube-proxy no-endpoint-services { type ADDRESS . inet_proto . inet_service : verdict ; }
add map FAMILY kube-proxy no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }
add map FAMILY kube-proxy firewall-ips { type ADDRESS . inet_proto . inet_service : verdict ; }
add chain FAMILY kube-proxy services
add chain FAMILY kube-proxy service-endpoints-check
add chain FAMILY kube-proxy nodeport-endpoints-check
add chain FAMILY kube-proxy firewall-check
add chain FAMILY kube-proxy cluster-ips-check
add chain FAMILY kube-proxy reject-chain
add chain FAMILY kube-proxy masquerading
add rule FAMILY kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule FAMILY kube-proxy filter-input ct state new jump service-endpoints-check
add rule FAMILY kube-proxy filter-forward ct state new jump service-endpoints-check
add rule FAMILY kube-proxy filter-forward ct state new jump cluster-ips-check
add rule FAMILY kube-proxy filter-output ct state new jump service-endpoints-check
add rule FAMILY kube-proxy filter-output ct state new jump cluster-ips-check
add rule FAMILY kube-proxy filter-prerouting-pre-dnat ct state new jump firewall-check
add rule FAMILY kube-proxy filter-output-pre-dnat ct state new jump firewall-check
add rule FAMILY kube-proxy nat-output jump services
add rule FAMILY kube-proxy nat-prerouting jump services
add rule FAMILY kube-proxy nat-postrouting jump masquerading
add rule FAMILY kube-proxy services FAMILY daddr @cluster-ips FAMILY saddr != PODS meta mark set meta mark or 0x00004000 comment "masquerade clusterIP traffic from outside cluster"
add rule FAMILY kube-proxy services FAMILY daddr . meta l4proto . th dport vmap @service-ips
add rule FAMILY kube-proxy services FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add rule FAMILY kube-proxy service-endpoints-check FAMILY daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule FAMILY kube-proxy nodeport-endpoints-check FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
add rule FAMILY kube-proxy firewall-check FAMILY daddr . meta l4proto . th dport vmap @firewall-ips
add rule FAMILY kube-proxy cluster-ips-check FAMILY daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
add rule FAMILY kube-proxy reject-chain reject
add rule FAMILY kube-proxy masquerading meta mark and 0x00004000 != 0 meta mark set meta mark xor 0x00004000 masquerade fully-random
)";

std::string replaced(std::string text, std::string_view word, std::string_view by) {
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size()))
        text.replace(at, word.size(), by);
    return text;
}

}  // namespace

std::string kube_proxy_nftables(const std::vector<KubeService>& services, net::Family family) {
    NftTexts texts;
    for (const auto& port : ports_of(services, family)) add_service(port, texts);
    texts.elements += element("nodeport-ips", in_family(family, "192.168.0.2").text());
    auto text = std::string(kNftFixed) + texts.chains + texts.elements;
    text = replaced(std::move(text), "FAMILY", family == net::Family::kIpv4 ? "ip" : "ip6");
    text = replaced(std::move(text), "ADDRESS", family == net::Family::kIpv4 ? "ipv4_addr" : "ipv6_addr");
    return replaced(std::move(text), "PODS", pods(family));
}

}  // namespace ghostip::neighbours
