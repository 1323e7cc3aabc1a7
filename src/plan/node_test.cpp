#include "plan/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr ModeProfile kLoopbackToo{.name = "test",
                                   .node_ports_on_primary_only = false,
                                   .loopback_node_ports = true,
                                   .refuses_on_every_local_address = false,
                                   .refuses_after_translation = false,
                                   .refuses_own_traffic = true,
                                   .rejects_unknown_cluster_ip_ports = false,
                                   .drops_unallocated_cluster_ips = false,
                                   .filters_sources_without_endpoints = false,
                                   .hairpin_local_endpoints_only = false};
constexpr ModeProfile kAllByDefault{.name = "test",
                                    .node_ports_on_primary_only = false,
                                    .loopback_node_ports = false,
                                    .refuses_on_every_local_address = false,
                                    .refuses_after_translation = false,
                                    .refuses_own_traffic = true,
                                    .rejects_unknown_cluster_ip_ports = false,
                                    .drops_unallocated_cluster_ips = false,
                                    .filters_sources_without_endpoints = false,
                                    .hairpin_local_endpoints_only = false};

// The addresses of the host in cases 64 to 70.
HostFacts host() { return {ips({"10.20.30.51", "100.200.201.1", "127.0.0.1", "2001:db8::1", "::1", "10.20.30.51"})}; }

std::vector<std::string> accepted(const std::vector<std::string_view>& ranges, Family family,
                                  const ModeProfile& profile = kLoopbackToo) {
    NodeSettings settings;
    settings.node_port_ranges = cidrs(ranges);
    const auto rules = node_rules(settings, profile, nullptr, host(), {}, family);
    return rules.node_ports.all ? std::vector<std::string>{"all"} : texts(rules.node_ports.addresses);
}

// Cases 64 to 70.
TEST(NodePortAddresses, Ranges) {
    using Texts = std::vector<std::string>;
    struct Case {
        const char* name;
        std::vector<std::string_view> ranges;
        Texts ipv4, ipv6;
    };
    const Case cases[] = {
        {"64: an IPv4 range leaves IPv6 open", {"10.20.30.0/24"}, {"10.20.30.51"}, {"all"}},
        {"65: 0.0.0.0/0", {"0.0.0.0/0"}, {"all"}, {"all"}},
        {"65: ::/0", {"::/0"}, {"all"}, {"all"}},
        {"66: IPv6 ranges leave IPv4 open, and ::1 shut", {"2001:db8::/64", "::1/128"}, {"all"}, {"2001:db8::1"}},
        {"67: one loopback address", {"127.0.0.1/32"}, {"127.0.0.1"}, {"all"}},
        {"67: the loopback range", {"127.0.0.0/8"}, {"127.0.0.1"}, {"all"}},
        {"68: two ranges", {"10.20.30.0/24", "100.200.201.0/24"}, {"10.20.30.51", "100.200.201.1"}, {"all"}},
        {"68: two ranges that match nothing are not all", {"10.20.31.0/24", "100.200.202.0/24"}, {}, {"all"}},
        {"69: none", {}, {"all"}, {"all"}},
        {"70: a zero range wins", {"10.20.30.0/24", "0.0.0.0/0"}, {"all"}, {"all"}},
        {"70: a zero range of one family", {"0.0.0.0/0", "2001:db8::/64"}, {"all"}, {"2001:db8::1"}},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(accepted(c.ranges, Family::kIpv4), c.ipv4) << c.name;
        EXPECT_EQ(accepted(c.ranges, Family::kIpv6), c.ipv6) << c.name;
    }
}

// Case 71, as far as it shows here: which ranges let 127.0.0.1 in.
TEST(NodePortAddresses, Loopback) {
    struct Case {
        const char* range;
        bool loopback;
    };
    for (const Case c : {Case{"0.0.0.0/0", true}, Case{"127.0.0.0/8", true}, Case{"::1/128", false},
                         Case{"64.0.0.0/2", true}, Case{"128.0.2.0/28", false}, Case{"::/0", false}}) {
        const auto got = accepted({"224.0.0.0/24", "192.168.0.0/16", "fd00:1:d::/64", c.range}, Family::kIpv4);
        const bool has =
            got == std::vector<std::string>{"all"} || std::find(got.begin(), got.end(), "127.0.0.1") != got.end();
        EXPECT_EQ(has, c.loopback) << c.range;
    }
    EXPECT_THAT(accepted({"127.0.0.0/8"}, Family::kIpv4, kAllByDefault), IsEmpty())
        << "a mode that has no loopback node ports";
    EXPECT_THAT(accepted({"::1/128"}, Family::kIpv6, kAllByDefault), IsEmpty());
}

TEST(NodePortAddresses, LoopbackFlag) {
    struct Case {
        const char* name;
        std::vector<std::string_view> ranges;
        bool asked;
        bool ipv4;
    };
    const Case cases[] = {
        {"all addresses", {}, true, true},
        {"all addresses, localhostNodePorts off", {}, false, false},
        {"ranges elsewhere", {"192.168.0.0/16"}, true, false},
        {"part of the loopback range", {"127.0.2.0/28"}, true, true},
        {"a range around it", {"64.0.0.0/2"}, true, true},
    };
    for (const auto& c : cases) {
        NodeSettings settings;
        settings.node_port_ranges = cidrs(c.ranges);
        settings.localhost_node_ports = c.asked;
        for (const auto family : net::kFamilies)
            for (const auto* profile : {&iptables_profile(), &nftables_profile()}) {
                const auto rules = node_rules(settings, *profile, nullptr, host_facts(), {}, family);
                EXPECT_EQ(rules.node_ports.loopback,
                          c.ipv4 && family == Family::kIpv4 && profile == &iptables_profile())
                    << c.name;
            }
    }
}

// kube-proxy opens a family whose address is unknown to every address; here it stays closed (docs/differences).
TEST(NodePortAddresses, Primary) {
    struct Case {
        const char* name;
        bool asked;
        std::vector<std::string_view> node_addresses;
        std::vector<std::string> ipv4, ipv6;
    };
    const Case cases[] = {
        {"both families", true, {"192.168.0.2", "2001:db8::1"}, {"192.168.0.2"}, {"2001:db8::1"}},
        {"the default of nftables", false, {"192.168.0.2", "2001:db8::1"}, {"192.168.0.2"}, {"2001:db8::1"}},
        {"a node with IPv4 only closes IPv6", true, {"192.168.0.2"}, {"192.168.0.2"}, {}},
        {"nothing known closes both", true, {}, {}, {}},
        {"a node with IPv6 only closes IPv4", true, {"2001:db8::1"}, {}, {"2001:db8::1"}},
        {"the second family by default", false, {"192.168.0.2"}, {"192.168.0.2"}, {}},
        {"an address that this host has not is not opened", true, {"203.0.113.9", "2001:db8::1"}, {}, {"2001:db8::1"}},
        {"a loopback address is no address", true, {"127.0.0.1", "::1"}, {}, {}},
    };
    for (const auto& c : cases) {
        NodeSettings settings;
        settings.node_ports_on_primary = c.asked;
        api::Node node;
        for (const auto& address : ips(c.node_addresses))
            node.addresses.push_back({api::NodeAddressType::kInternalIp, address});
        for (const auto family : net::kFamilies) {
            const auto rules = node_rules(settings, nftables_profile(), &node, host_facts(), {}, family);
            EXPECT_FALSE(rules.node_ports.all) << c.name;
            EXPECT_EQ(texts(rules.node_ports.addresses), family == Family::kIpv4 ? c.ipv4 : c.ipv6) << c.name;
        }
    }
}

TEST(NodePortAddresses, RangesReplaceTheDefaultOfNftables) {
    NodeSettings settings;
    settings.node_port_ranges = cidrs({"192.168.0.0/24", "192.168.1.0/24", "2001:db8::/64"});
    const auto node = node_object();
    EXPECT_THAT(
        texts(node_rules(settings, nftables_profile(), &node, host_facts(), {}, Family::kIpv4).node_ports.addresses),
        ElementsAre("192.168.0.2", "192.168.1.2"));
    EXPECT_THAT(
        texts(node_rules(settings, nftables_profile(), &node, host_facts(), {}, Family::kIpv6).node_ports.addresses),
        ElementsAre("2001:db8::1"));
}

TEST(NodeIp, WhereItComesFrom) {
    using api::NodeAddressType;
    struct Case {
        const char* name;
        const char* bind_address;
        bool node_known;
        std::vector<api::NodeAddress> node_addresses;
        std::string ipv4, ipv6;
    };
    const api::NodeAddress external{NodeAddressType::kExternalIp, ip("203.0.113.1")};
    const api::NodeAddress internal{NodeAddressType::kInternalIp, ip("192.168.0.2")};
    const api::NodeAddress internal2{NodeAddressType::kInternalIp, ip("192.168.1.2")};
    const api::NodeAddress internal6{NodeAddressType::kInternalIp, ip("2001:db8::1")};
    const Case cases[] = {
        {"a specific bind address", "10.9.9.9", true, {internal, internal6}, "10.9.9.9", "2001:db8::1"},
        {"a bind address of IPv6", "2001:db8::9", true, {internal, internal6}, "192.168.0.2", "2001:db8::9"},
        {"the wildcard says nothing", "0.0.0.0", true, {internal}, "192.168.0.2", ""},
        {"InternalIP before ExternalIP", "", true, {external, internal, internal2}, "192.168.0.2", ""},
        {"ExternalIP", "", true, {external}, "203.0.113.1", ""},
        {"a Node without addresses", "", true, {}, "", ""},
        {"no Node: the host's first", "", false, {}, "192.168.0.2", "2001:db8::1"},
    };
    HostFacts host = host_facts();
    host.addresses.insert(host.addresses.begin(), {ip("169.254.1.1"), ip("fe80::1")});
    for (const auto& c : cases) {
        NodeSettings settings;
        if (*c.bind_address != '\0') settings.bind_address = ip(c.bind_address);
        api::Node node;
        node.addresses = c.node_addresses;
        const auto text = [&](Family family) {
            const auto found = node_ip(settings, c.node_known ? &node : nullptr, host, family);
            return found ? found->text() : "";
        };
        EXPECT_EQ(text(Family::kIpv4), c.ipv4) << c.name;
        EXPECT_EQ(text(Family::kIpv6), c.ipv6) << c.name;
    }
}

TEST(Detector, ByMode) {
    struct Case {
        const char* name;
        DetectLocalMode mode;
        LocalDetector::Kind ipv4, ipv6;
        const char* ipv4_cidr;
    };
    using Kind = LocalDetector::Kind;
    const Case cases[] = {
        {"ClusterCIDR: the first of the family", DetectLocalMode::kClusterCidr, Kind::kCidr, Kind::kNone, "10.0.0.0/8"},
        {"NodeCIDR: the first of the family", DetectLocalMode::kNodeCidr, Kind::kCidr, Kind::kCidr, "10.1.2.0/24"},
        {"BridgeInterface", DetectLocalMode::kBridgeInterface, Kind::kInterface, Kind::kInterface, ""},
        {"InterfaceNamePrefix", DetectLocalMode::kInterfaceNamePrefix, Kind::kInterfacePrefix, Kind::kInterfacePrefix,
         ""},
    };
    api::Node node;
    node.pod_cidrs = cidrs({"fd00:1::/64", "10.1.2.0/24", "10.1.3.0/24"});
    for (const auto& c : cases) {
        NodeSettings settings;
        settings.detect_local_mode = c.mode;
        settings.cluster_cidrs = cidrs({"10.0.0.0/8", "11.0.0.0/8"});
        settings.pod_interface = "cbr0";
        const auto ipv4 = node_rules(settings, nftables_profile(), &node, {}, {}, Family::kIpv4).detector;
        const auto ipv6 = node_rules(settings, nftables_profile(), &node, {}, {}, Family::kIpv6).detector;
        EXPECT_EQ(ipv4.kind, c.ipv4) << c.name;
        EXPECT_EQ(ipv6.kind, c.ipv6) << c.name;
        EXPECT_EQ(ipv6.available(), c.ipv6 != Kind::kNone) << c.name;
        const bool by_cidr = ipv4.kind == Kind::kCidr;
        EXPECT_EQ(by_cidr ? ipv4.cidr.text() : ipv4.interface, by_cidr ? c.ipv4_cidr : "cbr0") << c.name;
    }
    NodeSettings settings;
    settings.detect_local_mode = DetectLocalMode::kNodeCidr;
    EXPECT_FALSE(node_rules(settings, nftables_profile(), nullptr, {}, {}, Family::kIpv4).detector.available())
        << "no Node";
}

TEST(NodeRules, TheRest) {
    NodeSettings settings;
    settings.masquerade_all = true;
    settings.masquerade_bit = 31;
    ClusterFacts cluster;
    cluster.service_cidrs = cidrs({"172.30.0.0/16", "fd00:30::/112", "10.96.0.0/12", "172.30.0.0/16"});
    const auto rules = node_rules(settings, nftables_profile(), nullptr, host(), cluster, Family::kIpv4);
    EXPECT_TRUE(rules.masquerade_all);
    EXPECT_EQ(rules.masquerade_mark, 0x80000000U);
    EXPECT_THAT(texts(rules.addresses), ElementsAre("10.20.30.51", "100.200.201.1", "127.0.0.1"))
        << "sorted, each once, own family";
    EXPECT_THAT(texts(rules.service_cidrs), ElementsAre("10.96.0.0/12", "172.30.0.0/16"));
    EXPECT_THAT(rules.undropped, IsEmpty());
    EXPECT_THAT(node_rules(settings, kAllByDefault, nullptr, host(), cluster, Family::kIpv4).service_cidrs, IsEmpty())
        << "a mode that does not drop what nobody owns";
    EXPECT_EQ(node_rules({}, nftables_profile(), nullptr, {}, {}, Family::kIpv4).masquerade_mark, 0x4000U);
}

}  // namespace
}  // namespace ghostip::plan
