#include "plan/service_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using net::Protocol;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

api::Service web() { return service("web", "172.30.0.41", {service_port("http", 80)}); }

// Cases 53 and 57, and `services.md` section 2.
TEST(ServicePorts, SkippedServices) {
    struct Case {
        const char* name;
        Family family;
        void (*change)(api::Service&);
        std::size_t ports;
    };
    const Case cases[] = {
        {"as it is", Family::kIpv4, [](api::Service&) {}, 1},
        {"headless", Family::kIpv4, [](api::Service& s) { s.headless = true; }, 0},
        {"headless with UDP and SCTP", Family::kIpv4,
         [](api::Service& s) {
             s.headless = true;
             s.ports = {service_port("a", 1, Protocol::kUdp), service_port("b", 2, Protocol::kSctp)};
         },
         0},
        {"headless without ports", Family::kIpv4,
         [](api::Service& s) {
             s.headless = true;
             s.ports.clear();
         },
         0},
        {"no cluster IP yet", Family::kIpv4, [](api::Service& s) { s.cluster_ip.reset(); }, 0},
        {"ExternalName with a cluster IP", Family::kIpv4,
         [](api::Service& s) { s.type = api::ServiceType::kExternalName; }, 0},
        {"IPv4 cluster IP for IPv6", Family::kIpv6, [](api::Service&) {}, 0},
        {"IPv6 cluster IP for IPv4", Family::kIpv4,
         [](api::Service& s) {
             s.cluster_ip = ip("fd00::1");
             s.cluster_ips = {ip("fd00::1")};
             s.ip_families = {Family::kIpv6};
         },
         0},
        {"no ports", Family::kIpv4, [](api::Service& s) { s.ports.clear(); }, 0},
    };
    for (const auto& c : cases) {
        api::Service object = web();
        c.change(object);
        EXPECT_EQ(service_ports(object, c.family).size(), c.ports) << c.name;
    }
}

// Case 63.
TEST(ServicePorts, ClusterIpByFamily) {
    struct Case {
        const char* name;
        const char* cluster_ip;
        std::vector<std::string_view> cluster_ips;
        std::vector<Family> families;
        const char* ipv4;
        const char* ipv6;
    };
    const Case cases[] = {
        {"old style, IPv4", "10.0.0.1", {}, {}, "10.0.0.1", ""},
        {"old style, IPv6", "fd00::1", {}, {}, "", "fd00::1"},
        {"single stack IPv4", "10.0.0.1", {"10.0.0.1"}, {Family::kIpv4}, "10.0.0.1", ""},
        {"single stack IPv6", "fd00::1", {"fd00::1"}, {Family::kIpv6}, "", "fd00::1"},
        {"dual stack, IPv4 first",
         "10.0.0.1",
         {"10.0.0.1", "fd00::1"},
         {Family::kIpv4, Family::kIpv6},
         "10.0.0.1",
         "fd00::1"},
        {"dual stack, IPv6 first",
         "fd00::1",
         {"fd00::1", "10.0.0.1"},
         {Family::kIpv6, Family::kIpv4},
         "10.0.0.1",
         "fd00::1"},
        {"second family without an address yet",
         "10.0.0.1",
         {"10.0.0.1"},
         {Family::kIpv4, Family::kIpv6},
         "10.0.0.1",
         ""},
    };
    const auto got = [](const api::Service& object, Family family) {
        const auto ports = service_ports(object, family);
        return ports.empty() ? std::string() : ports.front().cluster_ip.text();
    };
    for (const auto& c : cases) {
        api::Service object = web();
        object.cluster_ip = ip(c.cluster_ip);
        object.cluster_ips = ips(c.cluster_ips);
        object.ip_families = c.families;
        EXPECT_EQ(got(object, Family::kIpv4), c.ipv4) << c.name;
        EXPECT_EQ(got(object, Family::kIpv6), c.ipv6) << c.name;
    }
}

// Case 54.
TEST(ServicePorts, OneForEachPort) {
    const auto two_udp =
        service_ports(service("dns", "172.30.0.10",
                              {service_port("a", 1234, Protocol::kUdp), service_port("b", 1235, Protocol::kUdp)}),
                      Family::kIpv4);
    ASSERT_EQ(two_udp.size(), 2U);
    EXPECT_EQ(two_udp[0].name.text(), "ns/dns:a");
    EXPECT_EQ(two_udp[1].name.text(), "ns/dns:b");
    EXPECT_EQ(two_udp[1].port, 1235);
    EXPECT_EQ(two_udp[1].name.protocol, Protocol::kUdp);

    api::Service object =
        service("np", "172.30.0.10",
                {service_port("", 345, Protocol::kUdp, 30001), service_port("b", 344, Protocol::kTcp, 30002)});
    object.type = api::ServiceType::kNodePort;
    const auto both = service_ports(object, Family::kIpv4);
    ASSERT_EQ(both.size(), 2U);
    EXPECT_EQ(both[0].name.text(), "ns/np") << "no port name, no colon";
    EXPECT_EQ(both[0].node_port, 30001);
    EXPECT_EQ(both[1].node_port, 30002);
}

TEST(ServicePorts, NodePortCountsWhateverTheType) {
    auto object = web();
    object.ports.front().node_port = 30000;
    EXPECT_EQ(service_ports(object, Family::kIpv4).front().node_port, 30000);
}

// Case 58: of addresses and ranges of both families, only the own ones.
TEST(ServicePorts, OnlyTheOwnFamily) {
    api::Service object = service("lb", "172.30.0.41", {service_port("", 80)});
    object.cluster_ips.push_back(ip("fd00::41"));
    object.ip_families.push_back(Family::kIpv6);
    object.external_ips = ips({"1.2.3.4", "2001:db8::4", "1.2.3.4"});
    object.load_balancer_vips = ips({"2001:db8::5", "5.6.7.8"});
    object.load_balancer_source_ranges = cidrs({"10.1.2.0/28", "2001:db8:2::/64"});
    const auto ipv4 = service_ports(object, Family::kIpv4).front();
    EXPECT_THAT(texts(ipv4.external_ips), ElementsAre("1.2.3.4")) << "each once";
    EXPECT_THAT(texts(ipv4.load_balancer_vips), ElementsAre("5.6.7.8"));
    EXPECT_THAT(texts(ipv4.source_ranges), ElementsAre("10.1.2.0/28"));
    const auto ipv6 = service_ports(object, Family::kIpv6).front();
    EXPECT_THAT(texts(ipv6.external_ips), ElementsAre("2001:db8::4"));
    EXPECT_THAT(texts(ipv6.load_balancer_vips), ElementsAre("2001:db8::5"));
    EXPECT_THAT(texts(ipv6.source_ranges), ElementsAre("2001:db8:2::/64"));
}

// `services.md` section 3: what opens a family.
TEST(ServicePorts, SourceRanges) {
    struct Case {
        const char* name;
        std::vector<std::string_view> ranges;
        std::size_t ipv4;
        std::size_t ipv6;
    };
    const Case cases[] = {
        {"none", {}, 0, 0},
        {"one of each", {"10.0.0.0/8", "fd00::/8"}, 1, 1},
        {"the other family alone leaves this one open", {"fd00::/8"}, 0, 1},
        {"0.0.0.0/0 opens IPv4 only", {"10.0.0.0/8", "0.0.0.0/0", "fd00::/8"}, 0, 1},
        {"::/0 opens IPv6 only", {"10.0.0.0/8", "11.0.0.0/8", "fd00::/8", "::/0"}, 2, 0},
    };
    for (const auto& c : cases) {
        api::Service object = service("lb", "172.30.0.41", {service_port("", 80)});
        object.cluster_ips.push_back(ip("fd00::41"));
        object.ip_families.push_back(Family::kIpv6);
        object.load_balancer_source_ranges = cidrs(c.ranges);
        EXPECT_EQ(service_ports(object, Family::kIpv4).front().source_ranges.size(), c.ipv4) << c.name;
        EXPECT_EQ(service_ports(object, Family::kIpv6).front().source_ranges.size(), c.ipv6) << c.name;
    }
}

// externalPolicyLocal and healthCheckNodePort by type; case 56.
TEST(ServicePorts, ExternalPolicy) {
    using api::ServiceType;
    struct Case {
        const char* name;
        ServiceType type;
        bool external_ip;
        api::TrafficPolicy policy;
        bool local;
        std::uint16_t health_port;
    };
    const Case cases[] = {
        {"LoadBalancer, Local", ServiceType::kLoadBalancer, false, api::TrafficPolicy::kLocal, true, 345},
        {"LoadBalancer, Cluster", ServiceType::kLoadBalancer, false, api::TrafficPolicy::kCluster, false, 0},
        {"NodePort, Local", ServiceType::kNodePort, false, api::TrafficPolicy::kLocal, true, 0},
        {"ClusterIP, Local", ServiceType::kClusterIp, false, api::TrafficPolicy::kLocal, false, 0},
        {"ClusterIP with an external IP, Local", ServiceType::kClusterIp, true, api::TrafficPolicy::kLocal, true, 0},
    };
    for (const auto& c : cases) {
        api::Service object = service("s", "172.30.0.41", {service_port("a", 80), service_port("b", 81)});
        object.type = c.type;
        object.external_traffic_policy = c.policy;
        object.health_check_node_port = 345;
        if (c.external_ip) object.external_ips = {ip("1.2.3.4")};
        for (const auto& port : service_ports(object, Family::kIpv4)) {
            EXPECT_EQ(port.external_policy_local, c.local) << c.name;
            EXPECT_EQ(port.health_check_node_port, c.health_port) << c.name;
        }
    }
}

TEST(ServicePorts, WhichListsAreUsed) {
    struct Case {
        const char* name;
        bool internal_local, external_local, exposed;
        bool cluster, local;
    };
    const Case cases[] = {
        {"Cluster, not exposed", false, false, false, true, false},
        {"Cluster, external Local but not exposed", false, true, false, true, false},
        {"Cluster, external Local, exposed", false, true, true, true, true},
        {"internal Local, not exposed", true, false, false, false, true},
        {"internal Local, exposed", true, false, true, true, true},
        {"both Local, exposed", true, true, true, true, true},
    };
    for (const auto& c : cases) {
        ServicePort port;
        port.internal_policy_local = c.internal_local;
        port.external_policy_local = c.external_local;
        port.node_port = c.exposed ? 30000 : 0;
        EXPECT_EQ(port.uses_cluster_endpoints(), c.cluster) << c.name;
        EXPECT_EQ(port.uses_local_endpoints(), c.local) << c.name;
    }
}

}  // namespace
}  // namespace ghostip::plan
