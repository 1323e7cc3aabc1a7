#include "agent/config/node_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/config/defaults.h"
#include "agent/config/warnings.h"

namespace ghostip::agent::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

net::Prefix range(std::string_view text) { return *net::Prefix::parse_lenient(text); }

KubeProxyConfiguration nftables() {
    auto config = default_configuration();
    config.mode = "nftables";
    config.hostname_override = " Node-1 ";
    apply_platform_defaults(config);
    return config;
}

TEST(NodeSettings, ComeFromTheConfiguration) {
    auto config = nftables();
    config.cluster_cidr = "10.244.0.0/16,fd00::/48";
    config.bind_address = "010.0.0.1";
    config.nftables.masquerade_bit = 3;
    config.nftables.masquerade_all = true;
    config.feature_gates = {{"AllowServiceExternalIPs", false}};
    const auto got = node_settings(config, {"192.0.2.0/24", "team-a=10.0.0.0/8"});
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->node_name, "node-1");
    EXPECT_THAT(got->cluster_cidrs, ElementsAre(range("10.244.0.0/16"), range("fd00::/48")));
    EXPECT_EQ(got->detect_local_mode, plan::DetectLocalMode::kClusterCidr);
    EXPECT_EQ(got->bind_address->text(), "10.0.0.1");
    EXPECT_EQ(got->masquerade_bit, 3);
    EXPECT_TRUE(got->masquerade_all);
    EXPECT_TRUE(got->node_ports_on_primary);
    EXPECT_FALSE(got->serve_external_ips);
    ASSERT_THAT(got->external_ranges, SizeIs(2));
    EXPECT_EQ(got->external_ranges[1].namespace_, "team-a");
}

TEST(NodeSettings, TakeTheInterfaceOfTheMode) {
    auto config = nftables();
    config.detect_local = {"br0", "veth"};
    config.detect_local_mode = "BridgeInterface";
    EXPECT_EQ(node_settings(config, {})->pod_interface, "br0");
    config.detect_local_mode = "InterfaceNamePrefix";
    EXPECT_EQ(node_settings(config, {})->pod_interface, "veth");
    config.detect_local_mode = "NodeCIDR";
    EXPECT_EQ(node_settings(config, {})->detect_local_mode, plan::DetectLocalMode::kNodeCidr);
    EXPECT_EQ(node_settings(config, {})->pod_interface, "");
}

TEST(NodeSettings, ReadTheWordLocalhost) {
    auto config = nftables();
    config.node_port_addresses = {"primary", "localhost"};
    EXPECT_TRUE(relays_localhost(config));
    EXPECT_TRUE(node_settings(config, {})->relayed_localhost);
    EXPECT_TRUE(node_settings(config, {})->node_ports_on_primary);
    config.node_port_addresses = {"192.168.0.0/16", "localhost"};
    EXPECT_THAT(node_settings(config, {})->node_port_ranges, ElementsAre(range("192.168.0.0/16")));
    config.node_port_addresses = {"localhost"};
    EXPECT_THAT(node_settings(config, {})->node_port_ranges, ElementsAre(range("127.0.0.0/8"), range("::1/128")))
        << "no other address is open";
    config.mode = "iptables";
    EXPECT_FALSE(relays_localhost(config)) << "rules can do it there";
    EXPECT_THAT(node_settings(config, {})->node_port_ranges, ElementsAre(range("127.0.0.0/8"), range("::1/128")));
    EXPECT_FALSE(node_settings(config, {})->relayed_localhost);
}

TEST(NodeSettings, NameWhatIsWrong) {
    auto config = nftables();
    EXPECT_THAT(node_settings(config, {"=10.0.0.0/8"}).error().message, HasSubstr("--allowed-external-ips: \"="));
    config.detect_local = {"a-name-of-sixteen", ""};
    config.detect_local_mode = "BridgeInterface";
    EXPECT_THAT(node_settings(config, {}).error().message, HasSubstr("detectLocal.bridgeInterface: \"a-name"));
    config.hostname_override = "  ";
    EXPECT_THAT(node_settings(config, {}).error().message, HasSubstr("an empty name"));
}

TEST(Mismatches, OfNodePortAddresses) {
    auto config = nftables();
    NodeFacts node;
    EXPECT_THAT(mismatches(config, node).incomplete, ElementsAre(HasSubstr("nodePortAddresses is not set")));
    node.node_port_addresses = {range("10.0.0.0/8")};
    EXPECT_THAT(mismatches(config, node).incomplete, IsEmpty());
    node.primary = net::Family::kIpv6;
    EXPECT_THAT(mismatches(config, node).incomplete, ElementsAre(HasSubstr("on all local IPv6 addresses")));
    node.primary = net::Family::kIpv4;
    config.cluster_cidr = "10.0.0.0/8,fd00::/8";
    EXPECT_THAT(mismatches(config, node).incomplete, ElementsAre(HasSubstr("on all local IPv6 addresses")));
    node.node_port_addresses.push_back(range("fd00::/8"));
    EXPECT_THAT(mismatches(config, node).incomplete, IsEmpty());
}

TEST(Mismatches, OfTheFamilyMayBeFatal) {
    auto config = nftables();
    NodeFacts node;
    node.node_port_addresses = {range("10.0.0.0/8")};
    config.cluster_cidr = "fd00::/8";
    EXPECT_THAT(mismatches(config, node).wrong, ElementsAre(HasSubstr("clusterCIDR")));
    EXPECT_FALSE(mismatches(config, node).fatal) << "the other family is there";
    node.dual_stack = false;
    EXPECT_TRUE(mismatches(config, node).fatal);
    config.detect_local_mode = "NodeCIDR";
    EXPECT_FALSE(mismatches(config, node).fatal);
    node.pod_cidrs = {range("fd00::/64")};
    EXPECT_TRUE(mismatches(config, node).fatal);
    config.cluster_cidr = "";
    node.pod_cidrs = {range("10.1.0.0/24"), range("fd00::/64")};
    config.metrics_bind_address = "[::1]:1";
    config.healthz_bind_address = "[::]:1";
    EXPECT_THAT(mismatches(config, node).wrong, ElementsAre(HasSubstr("metricsBindAddress is IPv6")));
}

TEST(IpvsOptions, ComeFromTheConfiguration) {
    const auto usual = ipvs_options({});
    ASSERT_TRUE(usual);
    EXPECT_EQ(usual->scheduler, "rr");
    EXPECT_FALSE(usual->strict_arp);
    EXPECT_EQ(usual->tcp_timeout.count(), 0);
    IpvsConfiguration config;
    config.scheduler = "lc";
    config.strict_arp = true;
    config.exclude_cidrs = {"10.1.0.0/16", "fd00::/64"};
    config.tcp_timeout = std::chrono::minutes(2);
    config.tcp_fin_timeout = std::chrono::milliseconds(1);
    config.udp_timeout = std::chrono::milliseconds(2500);
    const auto got = ipvs_options(config);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->scheduler, "lc");
    EXPECT_TRUE(got->strict_arp);
    EXPECT_THAT(got->exclude_cidrs, ElementsAre(range("10.1.0.0/16"), range("fd00::/64")));
    EXPECT_EQ(got->tcp_timeout.count(), 120);
    EXPECT_EQ(got->tcp_fin_timeout.count(), 1);
    EXPECT_EQ(got->udp_timeout.count(), 3);
    config.exclude_cidrs = {"10.1.0.0/16", "x"};
    EXPECT_EQ(ipvs_options(config).error().message,
              "ipvs.excludeCIDRs: \"x\": not an address range such as 10.0.0.0/8 or fd00::/64");
}

}  // namespace
}  // namespace ghostip::agent::config
