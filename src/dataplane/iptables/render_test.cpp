// Rules as texts: what a reader sees. What packets experience is tested where packets are.
#include "dataplane/iptables/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace plan::testing;
using net::Family;
using net::Protocol;
using plan::iptables_profile;
using ::testing::HasSubstr;
using ::testing::Not;

plan::testing::NodePlanner planner_for(Family family = Family::kIpv4, plan::NodeSettings settings = node_settings()) {
    return NodePlanner(family, std::move(settings), iptables_profile());
}

// Lines of one table of what a start makes, without those of the node itself and without chains.
std::string service_rules(const MemoryIptables& twin, std::string_view table) {
    Lines lines;
    for (const auto& line : twin.saved(table)) {
        if (!line.starts_with("-A KUBE-") || line.starts_with("-A KUBE-POSTROUTING") ||
            line.starts_with("-A KUBE-MARK-MASQ") || line.starts_with("-A KUBE-FORWARD") ||
            line.starts_with("-A KUBE-FIREWALL"))
            continue;
        lines.push_back(line);
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const auto& line : lines) text += "\n" + line;
    return text;
}

std::string table_text(const MemoryIptables& twin, std::string_view table) {
    std::string text;
    for (const auto& line : twin.saved(table)) text += "\n" + line;
    return text;
}

TEST(IptablesRender, EmptyNode) {
    auto planner = planner_for();
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    EXPECT_EQ(table_text(twin, "nat"), R"(
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS)");
    EXPECT_EQ(table_text(twin, "filter"), R"(
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT)");
    EXPECT_EQ(twin.saved("mangle").back(), ":KUBE-PROXY-CANARY - [0:0]");
    EXPECT_EQ(place.sysctl->values().at(kRouteLocalnet), 1);
}

// Six services of different kinds.
std::vector<api::Change> mixed_services() {
    auto cluster_ip = service("svc1", "172.30.0.41", {service_port("p80", 80)});
    auto local = service("svc2", "172.30.0.42", {service_port("p80", 80, Protocol::kTcp, 3002)});
    local.type = api::ServiceType::kLoadBalancer;
    local.load_balancer_vips = {ip("1.2.3.4")};
    local.external_ips = {ip("192.168.99.22")};
    local.external_traffic_policy = api::TrafficPolicy::kLocal;
    local.health_check_node_port = 30000;
    auto node_port = service("svc3", "172.30.0.43", {service_port("p80", 80, Protocol::kTcp, 3003)});
    node_port.type = api::ServiceType::kNodePort;
    auto external = service("svc4", "172.30.0.44", {service_port("p80", 80, Protocol::kUdp)});
    external.external_ips = {ip("192.168.99.33")};
    auto filtered = service("svc5", "172.30.0.45", {service_port("p80", 80, Protocol::kTcp, 3005)});
    filtered.type = api::ServiceType::kLoadBalancer;
    filtered.load_balancer_vips = {ip("5.6.7.8")};
    filtered.load_balancer_source_ranges = cidrs({"203.0.113.0/25"});
    filtered.affinity_seconds = 10800;
    auto empty = service("svc6", "172.30.0.46", {service_port("p80", 80)});
    return {put(cluster_ip),
            put(local),
            put(node_port),
            put(external),
            put(filtered),
            put(empty),
            put(slice("s1", "svc1", {slice_port("p80", 80)}, {{"10.180.0.1"}})),
            put(slice("s2", "svc2", {slice_port("p80", 80)}, {{"10.180.0.2", "r", "other"}})),
            put(slice("s3", "svc3", {slice_port("p80", 80)}, {{"10.180.0.3"}})),
            put(slice("s4", "svc4", {slice_port("p80", 80, Protocol::kUdp)}, {{"10.180.0.4"}, {"10.180.0.5"}})),
            put(slice("s5", "svc5", {slice_port("p80", 80)}, {{"10.180.0.3"}}))};
}

TEST(IptablesRender, SixMixedServices) {
    auto planner = planner_for();
    static_cast<void>(planner.apply(mixed_services()));
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    EXPECT_EQ(service_rules(twin, "nat"), R"(
-A KUBE-EXT-2DOR3SBRTJJO5KL2 -j KUBE-SVC-2DOR3SBRTJJO5KL2
-A KUBE-EXT-2DOR3SBRTJJO5KL2 -m comment --comment "masquerade traffic for ns/svc3:p80 external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-HTG2ERFYWGCXSRN3 -j KUBE-SVC-HTG2ERFYWGCXSRN3
-A KUBE-EXT-HTG2ERFYWGCXSRN3 -m comment --comment "masquerade traffic for ns/svc4:p80 external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-LVUBGSZTSH5TR56A -j KUBE-SVC-LVUBGSZTSH5TR56A
-A KUBE-EXT-LVUBGSZTSH5TR56A -m comment --comment "masquerade traffic for ns/svc5:p80 external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-VTRYQ33WSB7K22OS -m comment --comment "masquerade LOCAL traffic for ns/svc2:p80 external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-VTRYQ33WSB7K22OS -m comment --comment "route LOCAL traffic for ns/svc2:p80 external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-VTRYQ33WSB7K22OS
-A KUBE-EXT-VTRYQ33WSB7K22OS -s 10.0.0.0/8 -m comment --comment "pod traffic for ns/svc2:p80 external destinations" -j KUBE-SVC-VTRYQ33WSB7K22OS
-A KUBE-FW-LVUBGSZTSH5TR56A -m comment --comment "other traffic to ns/svc5:p80 will be dropped by KUBE-PROXY-FIREWALL"
-A KUBE-FW-LVUBGSZTSH5TR56A -s 203.0.113.0/25 -m comment --comment "ns/svc5:p80 loadbalancer IP" -j KUBE-EXT-LVUBGSZTSH5TR56A
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "ns/svc2:p80" -m tcp --dport 3002 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-VTRYQ33WSB7K22OS
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "ns/svc3:p80" -m tcp --dport 3003 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-2DOR3SBRTJJO5KL2
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "ns/svc5:p80" -m tcp --dport 3005 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-LVUBGSZTSH5TR56A
-A KUBE-NODEPORTS -p tcp -m comment --comment "ns/svc2:p80" -m tcp --dport 3002 -j KUBE-EXT-VTRYQ33WSB7K22OS
-A KUBE-NODEPORTS -p tcp -m comment --comment "ns/svc3:p80" -m tcp --dport 3003 -j KUBE-EXT-2DOR3SBRTJJO5KL2
-A KUBE-NODEPORTS -p tcp -m comment --comment "ns/svc5:p80" -m tcp --dport 3005 -j KUBE-EXT-LVUBGSZTSH5TR56A
-A KUBE-SEP-F6B5ZXVLZFZLHE4T -p udp -m comment --comment "ns/svc4:p80" -m udp -j DNAT --to-destination 10.180.0.4:80
-A KUBE-SEP-F6B5ZXVLZFZLHE4T -s 10.180.0.4/32 -m comment --comment "ns/svc4:p80" -j KUBE-MARK-MASQ
-A KUBE-SEP-F6DKNI2FCC7WESFE -p tcp -m comment --comment "ns/svc2:p80" -m tcp -j DNAT --to-destination 10.180.0.2:80
-A KUBE-SEP-F6DKNI2FCC7WESFE -s 10.180.0.2/32 -m comment --comment "ns/svc2:p80" -j KUBE-MARK-MASQ
-A KUBE-SEP-N45BHXLOEH5ZBJCK -p udp -m comment --comment "ns/svc4:p80" -m udp -j DNAT --to-destination 10.180.0.5:80
-A KUBE-SEP-N45BHXLOEH5ZBJCK -s 10.180.0.5/32 -m comment --comment "ns/svc4:p80" -j KUBE-MARK-MASQ
-A KUBE-SEP-RISVKKU73Y44RYAL -p tcp -m comment --comment "ns/svc3:p80" -m tcp -j DNAT --to-destination 10.180.0.3:80
-A KUBE-SEP-RISVKKU73Y44RYAL -s 10.180.0.3/32 -m comment --comment "ns/svc3:p80" -j KUBE-MARK-MASQ
-A KUBE-SEP-W3FZGUBQVFSTJLAZ -p tcp -m comment --comment "ns/svc1:p80" -m tcp -j DNAT --to-destination 10.180.0.1:80
-A KUBE-SEP-W3FZGUBQVFSTJLAZ -s 10.180.0.1/32 -m comment --comment "ns/svc1:p80" -j KUBE-MARK-MASQ
-A KUBE-SEP-XCRDDO3CRMRBTQND -p tcp -m comment --comment "ns/svc5:p80" -m recent --set --name KUBE-SEP-XCRDDO3CRMRBTQND --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.180.0.3:80
-A KUBE-SEP-XCRDDO3CRMRBTQND -s 10.180.0.3/32 -m comment --comment "ns/svc5:p80" -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 1.2.3.4/32 -p tcp -m comment --comment "ns/svc2:p80 loadbalancer IP" -m tcp --dport 80 -j KUBE-EXT-VTRYQ33WSB7K22OS
-A KUBE-SERVICES -d 172.30.0.41/32 -p tcp -m comment --comment "ns/svc1:p80 cluster IP" -m tcp --dport 80 -j KUBE-SVC-GJBHXDG7F54742MJ
-A KUBE-SERVICES -d 172.30.0.42/32 -p tcp -m comment --comment "ns/svc2:p80 cluster IP" -m tcp --dport 80 -j KUBE-SVC-VTRYQ33WSB7K22OS
-A KUBE-SERVICES -d 172.30.0.43/32 -p tcp -m comment --comment "ns/svc3:p80 cluster IP" -m tcp --dport 80 -j KUBE-SVC-2DOR3SBRTJJO5KL2
-A KUBE-SERVICES -d 172.30.0.44/32 -p udp -m comment --comment "ns/svc4:p80 cluster IP" -m udp --dport 80 -j KUBE-SVC-HTG2ERFYWGCXSRN3
-A KUBE-SERVICES -d 172.30.0.45/32 -p tcp -m comment --comment "ns/svc5:p80 cluster IP" -m tcp --dport 80 -j KUBE-SVC-LVUBGSZTSH5TR56A
-A KUBE-SERVICES -d 192.168.99.22/32 -p tcp -m comment --comment "ns/svc2:p80 external IP" -m tcp --dport 80 -j KUBE-EXT-VTRYQ33WSB7K22OS
-A KUBE-SERVICES -d 192.168.99.33/32 -p udp -m comment --comment "ns/svc4:p80 external IP" -m udp --dport 80 -j KUBE-EXT-HTG2ERFYWGCXSRN3
-A KUBE-SERVICES -d 5.6.7.8/32 -p tcp -m comment --comment "ns/svc5:p80 loadbalancer IP" -m tcp --dport 80 -j KUBE-FW-LVUBGSZTSH5TR56A
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-2DOR3SBRTJJO5KL2 ! -s 10.0.0.0/8 -d 172.30.0.43/32 -p tcp -m comment --comment "ns/svc3:p80 cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-2DOR3SBRTJJO5KL2 -m comment --comment "ns/svc3:p80 -> 10.180.0.3:80" -j KUBE-SEP-RISVKKU73Y44RYAL
-A KUBE-SVC-GJBHXDG7F54742MJ ! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp -m comment --comment "ns/svc1:p80 cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-GJBHXDG7F54742MJ -m comment --comment "ns/svc1:p80 -> 10.180.0.1:80" -j KUBE-SEP-W3FZGUBQVFSTJLAZ
-A KUBE-SVC-HTG2ERFYWGCXSRN3 ! -s 10.0.0.0/8 -d 172.30.0.44/32 -p udp -m comment --comment "ns/svc4:p80 cluster IP" -m udp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-HTG2ERFYWGCXSRN3 -m comment --comment "ns/svc4:p80 -> 10.180.0.4:80" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-F6B5ZXVLZFZLHE4T
-A KUBE-SVC-HTG2ERFYWGCXSRN3 -m comment --comment "ns/svc4:p80 -> 10.180.0.5:80" -j KUBE-SEP-N45BHXLOEH5ZBJCK
-A KUBE-SVC-LVUBGSZTSH5TR56A ! -s 10.0.0.0/8 -d 172.30.0.45/32 -p tcp -m comment --comment "ns/svc5:p80 cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-LVUBGSZTSH5TR56A -m comment --comment "ns/svc5:p80 -> 10.180.0.3:80" -j KUBE-SEP-XCRDDO3CRMRBTQND
-A KUBE-SVC-LVUBGSZTSH5TR56A -m comment --comment "ns/svc5:p80 -> 10.180.0.3:80" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-XCRDDO3CRMRBTQND --mask 255.255.255.255 --rsource -j KUBE-SEP-XCRDDO3CRMRBTQND
-A KUBE-SVC-VTRYQ33WSB7K22OS ! -s 10.0.0.0/8 -d 172.30.0.42/32 -p tcp -m comment --comment "ns/svc2:p80 cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-VTRYQ33WSB7K22OS -m comment --comment "ns/svc2:p80 -> 10.180.0.2:80" -j KUBE-SEP-F6DKNI2FCC7WESFE)");
    EXPECT_EQ(service_rules(twin, "filter"), R"(
-A KUBE-EXTERNAL-SERVICES -d 1.2.3.4/32 -p tcp -m comment --comment "ns/svc2:p80 has no local endpoints" -m tcp --dport 80 -j DROP
-A KUBE-EXTERNAL-SERVICES -d 192.168.99.22/32 -p tcp -m comment --comment "ns/svc2:p80 has no local endpoints" -m tcp --dport 80 -j DROP
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "ns/svc2:p80 has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 3002 -j DROP
-A KUBE-NODEPORTS -p tcp -m comment --comment "ns/svc2:p80 health check node port" -m tcp --dport 30000 -j ACCEPT
-A KUBE-PROXY-FIREWALL -d 5.6.7.8/32 -p tcp -m comment --comment "ns/svc5:p80 traffic not accepted by KUBE-FW-LVUBGSZTSH5TR56A" -m tcp --dport 80 -j DROP
-A KUBE-SERVICES -d 172.30.0.46/32 -p tcp -m comment --comment "ns/svc6:p80 has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable)");
}

// What node ports accept decides the last rules of KUBE-SERVICES, and whether loopback is guarded.
TEST(IptablesRender, NodePortAddresses) {
    constexpr std::string_view kComment =
        " -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\"";
    struct Case {
        const char* name;
        Family family;
        std::vector<std::string_view> ranges;
        bool localhost;
        Lines tail;
        bool guarded;
    };
    const Lines to_local{fmt::format("-A KUBE-SERVICES{} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", kComment)};
    const auto all_but = [&](const char* loopback) {
        return Lines{fmt::format("-A KUBE-SERVICES ! -d {}{} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", loopback,
                                 kComment)};
    };
    const auto at = [&](const char* address) {
        return fmt::format("-A KUBE-SERVICES -d {}{} -j KUBE-NODEPORTS", address, kComment);
    };
    for (const auto& c : {
             Case{"all, with loopback", Family::kIpv4, {}, true, to_local, true},
             Case{"all, without", Family::kIpv4, {}, false, all_but("127.0.0.0/8"), false},
             Case{"all, IPv6 never with loopback", Family::kIpv6, {}, true, all_but("::1/128"), false},
             Case{"some", Family::kIpv4, {"192.168.0.0/23"}, true, {at("192.168.0.2/32"), at("192.168.1.2/32")}, false},
             Case{"some, with loopback",
                  Family::kIpv4,
                  {"127.0.0.0/8", "192.168.0.0/24"},
                  true,
                  {at("127.0.0.1/32"), at("192.168.0.2/32")},
                  true},
             Case{"none of this host's", Family::kIpv4, {"172.16.0.0/16"}, true, {}, false},
         }) {
        SCOPED_TRACE(c.name);
        auto settings = node_settings();
        settings.node_port_ranges = cidrs(c.ranges);
        settings.localhost_node_ports = c.localhost;
        auto planner = planner_for(c.family, settings);
        MemoryIptables twin(Variant::kLegacy, c.family);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        Lines tail;
        for (const auto& line : twin.saved("nat"))
            if (line.starts_with("-A KUBE-SERVICES")) tail.push_back(line);
        EXPECT_EQ(tail, c.tail);
        EXPECT_EQ(table_text(twin, "filter").find("-A KUBE-FIREWALL") != std::string::npos, c.guarded);
        EXPECT_EQ(place.sysctl->writes().size(), c.guarded ? 1U : 0U);
    }
}

// What the host can do beyond what is needed shows in the rules.
TEST(IptablesRender, Abilities) {
    auto planner = planner_for();
    static_cast<void>(planner.apply(mixed_services()));
    const auto text_on = [&](kernel::iptables::Version version, const Settings& settings) {
        MemoryIptables twin(Variant::kLegacy, Family::kIpv4, version);
        OnTwin place(twin, settings);
        EXPECT_TRUE(place.reconcile(planner.plan()).has_value());
        return table_text(twin, "nat") + table_text(twin, "filter");
    };
    const std::string modern = text_on({1, 8, 9}, {});
    EXPECT_THAT(modern, HasSubstr("-j MASQUERADE --random-fully"));
    EXPECT_THAT(modern, HasSubstr("--ctstate INVALID -m nfacct"));
    EXPECT_THAT(modern, HasSubstr("localhost_nps_accepted_pkts"));
    const std::string old = text_on({1, 6, 1}, {});
    EXPECT_THAT(old, HasSubstr("-j MASQUERADE\n"));
    EXPECT_THAT(old, Not(HasSubstr("--random-fully")));
    Settings no_counters;
    no_counters.counters = false;
    const std::string uncounted = text_on({1, 8, 9}, no_counters);
    EXPECT_THAT(uncounted, Not(HasSubstr("nfacct")));
    EXPECT_THAT(uncounted, HasSubstr("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"));
    EXPECT_THAT(uncounted, Not(HasSubstr("-A KUBE-NODEPORTS -d 127.0.0.0/8")));
    Settings liberal;
    liberal.liberal = 1;
    EXPECT_THAT(text_on({1, 8, 9}, liberal), Not(HasSubstr("INVALID")));
}

TEST(IptablesRender, DetectorsAndMasqueradeAll) {
    struct Case {
        const char* name;
        plan::DetectLocalMode mode;
        bool masquerade_all;
        const char* cluster_ip;  // what stands in front of the masquerading of a cluster IP; null: no such rule
        const char* pods;        // what tells pods that dial an external IP; null: they are not told
    };
    using plan::DetectLocalMode;
    for (const auto& c : {
             Case{"a range", DetectLocalMode::kClusterCidr, false, "! -s 10.0.0.0/8 -d 172.30.0.42/32",
                  "-s 10.0.0.0/8"},
             Case{"no range is known", DetectLocalMode::kNodeCidr, false, nullptr, nullptr},
             Case{"a bridge", DetectLocalMode::kBridgeInterface, false, "-d 172.30.0.42/32 ! -i cni", "-i cni"},
             Case{"interfaces", DetectLocalMode::kInterfaceNamePrefix, false, "-d 172.30.0.42/32 ! -i cni+", "-i cni+"},
             Case{"everything", DetectLocalMode::kClusterCidr, true, "-d 172.30.0.42/32", "-s 10.0.0.0/8"},
         }) {
        SCOPED_TRACE(c.name);
        auto settings = node_settings();
        settings.detect_local_mode = c.mode;
        settings.pod_interface = "cni";
        settings.masquerade_all = c.masquerade_all;
        auto planner = planner_for(Family::kIpv4, settings);
        static_cast<void>(planner.apply(mixed_services()));
        MemoryIptables twin(Variant::kNft, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const std::string nat = table_text(twin, "nat");
        if (c.cluster_ip != nullptr) {
            EXPECT_THAT(nat, HasSubstr(fmt::format("-A KUBE-SVC-VTRYQ33WSB7K22OS {} -p tcp -m comment --comment "
                                                   "\"ns/svc2:p80 cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ",
                                                   c.cluster_ip)));
        } else {
            EXPECT_THAT(nat, Not(HasSubstr("cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ")));
        }
        if (c.pods != nullptr) {
            EXPECT_THAT(nat, HasSubstr(fmt::format("-A KUBE-EXT-VTRYQ33WSB7K22OS {} -m comment --comment \"pod traffic "
                                                   "for ns/svc2:p80 external destinations\"",
                                                   c.pods)));
        } else {
            EXPECT_THAT(nat, Not(HasSubstr("pod traffic for")));
        }
    }
}

// For people: taken by iptables-restore, and the same as what is written.
TEST(IptablesRender, WholeTextMakesTheSame) {
    for (const auto family : {Family::kIpv4, Family::kIpv6}) {
        auto planner = planner_for(family);
        if (family == Family::kIpv4) static_cast<void>(planner.apply(mixed_services()));
        const std::string text = render(planner.plan());
        MemoryIptables twin(Variant::kNft, family);
        const auto refused = twin.restore(text);
        ASSERT_TRUE(refused.has_value());
        EXPECT_FALSE(refused->has_value()) << (*refused)->reason;
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kNft));
        if (family == Family::kIpv4) {
            EXPECT_THAT(text, HasSubstr("--probability 0.5000000000 "));
        }
    }
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
