#include "agent/config/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/config/defaults.h"

namespace ghostip::agent::config {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

DecodedConfiguration decoded(const std::string& body) {
    auto result = decode_configuration(kHead + body, "c.yaml");
    EXPECT_TRUE(result) << result.error().message;
    return result ? std::move(*result) : DecodedConfiguration{};
}

std::string flaw(const std::string& text) {
    const auto result = decode_configuration(text, "c.yaml");
    return result ? "none" : result.error().message;
}

TEST(ConfigurationFile, GivesEveryField) {
    const auto got = decoded(R"(featureGates: {AllowServiceExternalIPs: false}
clientConnection: {kubeconfig: /k, acceptContentTypes: a/b, contentType: application/json, qps: 7.5, burst: 9}
logging:
  format: json
  flushFrequency: 3000000000
  verbosity: 4
  vmodule: [{filePattern: agent, verbosity: 2}]
  options: {text: {splitStream: true, infoBufferSize: 1Ki}, json: {infoBufferSize: 512}}
hostnameOverride: n1
bindAddress: 10.0.0.1
healthzBindAddress: 10.0.0.2
metricsBindAddress: "[::1]:99"
bindAddressHardFail: true
enableProfiling: true
showHiddenMetricsForVersion: "1.35"
mode: nftables
iptables: {masqueradeBit: 3, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 10s, minSyncPeriod: 2s}
ipvs: {syncPeriod: 11s, minSyncPeriod: 3s, scheduler: lc, excludeCIDRs: [10.1.0.0/16], strictARP: true,
       tcpTimeout: 1s, tcpFinTimeout: 2s, udpTimeout: 3s}
nftables: {masqueradeBit: 4, masqueradeAll: true, syncPeriod: 12s, minSyncPeriod: 4s}
winkernel: {networkName: net, sourceVip: 1.2.3.4, enableDSR: true, rootHnsEndpointName: r, forwardHealthCheckVip: true}
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: br0, interfaceNamePrefix: veth}
clusterCIDR: 10.244.0.0/16,fd00::/48
nodePortAddresses: [10.0.0.0/8]
oomScoreAdj: -5
conntrack: {maxPerCore: 1, min: 2, tcpEstablishedTimeout: 1h, tcpCloseWaitTimeout: 2h, tcpBeLiberal: true,
            udpTimeout: 4s, udpStreamTimeout: 5s}
configSyncPeriod: 1m
portRange: 1-2
windowsRunAsService: true
)");
    EXPECT_THAT(got.lenient, IsEmpty());
    const auto& c = got.configuration;
    EXPECT_THAT(c.feature_gates, ElementsAre(std::pair<const std::string, bool>("AllowServiceExternalIPs", false)));
    EXPECT_EQ(c.client_connection.kubeconfig, "/k");
    EXPECT_EQ(c.client_connection.accept_content_types, "a/b");
    EXPECT_EQ(c.client_connection.content_type, "application/json");
    EXPECT_EQ(c.client_connection.qps, 7.5F);
    EXPECT_EQ(c.client_connection.burst, 9);
    EXPECT_EQ(c.logging.format, "json");
    EXPECT_EQ(c.logging.flush_frequency.duration, 3s);
    EXPECT_TRUE(c.logging.flush_frequency.as_number);
    EXPECT_EQ(c.logging.verbosity, 4U);
    EXPECT_THAT(c.logging.vmodule, ElementsAre(VmoduleItem{"agent", 2}));
    EXPECT_TRUE(c.logging.options.text.split_stream);
    EXPECT_EQ(c.logging.options.text.info_buffer_size.value, 1024);
    EXPECT_EQ(c.logging.options.json.info_buffer_size.value, 512);
    EXPECT_EQ(c.hostname_override, "n1");
    EXPECT_EQ(c.bind_address, "10.0.0.1");
    EXPECT_EQ(c.healthz_bind_address, "10.0.0.2:10256");
    EXPECT_EQ(c.metrics_bind_address, "[::1]:99");
    EXPECT_TRUE(c.bind_address_hard_fail);
    EXPECT_TRUE(c.enable_profiling);
    EXPECT_EQ(c.show_hidden_metrics_for_version, "1.35");
    EXPECT_EQ(c.mode, "nftables");
    EXPECT_EQ(c.iptables.masquerade_bit, 3);
    EXPECT_TRUE(c.iptables.masquerade_all);
    EXPECT_EQ(c.iptables.localhost_node_ports, false);
    EXPECT_EQ(c.iptables.sync_period, 10s);
    EXPECT_EQ(c.iptables.min_sync_period.named, 2s);
    EXPECT_EQ(c.ipvs.sync_period, 11s);
    EXPECT_EQ(c.ipvs.min_sync_period.named, 3s);
    EXPECT_EQ(c.ipvs.scheduler, "lc");
    EXPECT_THAT(c.ipvs.exclude_cidrs, ElementsAre("10.1.0.0/16"));
    EXPECT_TRUE(c.ipvs.strict_arp);
    EXPECT_EQ(c.ipvs.tcp_timeout, 1s);
    EXPECT_EQ(c.ipvs.tcp_fin_timeout, 2s);
    EXPECT_EQ(c.ipvs.udp_timeout, 3s);
    EXPECT_EQ(masquerade_bit(c), 4);
    EXPECT_TRUE(masquerade_all(c));
    EXPECT_EQ(sync_period(c), 12s);
    EXPECT_EQ(min_sync_period(c).named, 4s);
    EXPECT_EQ(c.winkernel.network_name, "net");
    EXPECT_EQ(c.winkernel.source_vip, "1.2.3.4");
    EXPECT_TRUE(c.winkernel.enable_dsr);
    EXPECT_EQ(c.winkernel.root_hns_endpoint_name, "r");
    EXPECT_TRUE(c.winkernel.forward_health_check_vip);
    EXPECT_EQ(c.detect_local_mode, "BridgeInterface");
    EXPECT_EQ(c.detect_local.bridge_interface, "br0");
    EXPECT_EQ(c.detect_local.interface_name_prefix, "veth");
    EXPECT_THAT(cluster_cidrs(c), ElementsAre("10.244.0.0/16", "fd00::/48"));
    EXPECT_THAT(c.node_port_addresses, ElementsAre("10.0.0.0/8"));
    EXPECT_EQ(c.oom_score_adj, -5);
    EXPECT_EQ(c.conntrack.max_per_core, 1);
    EXPECT_EQ(c.conntrack.min, 2);
    EXPECT_EQ(c.conntrack.tcp_established_timeout, 1h);
    EXPECT_EQ(c.conntrack.tcp_close_wait_timeout, 2h);
    EXPECT_TRUE(c.conntrack.tcp_be_liberal);
    EXPECT_EQ(c.conntrack.udp_timeout, 4s);
    EXPECT_EQ(c.conntrack.udp_stream_timeout, 5s);
    EXPECT_EQ(c.config_sync_period, 1min);
    EXPECT_EQ(c.port_range, "1-2");
    EXPECT_TRUE(c.windows_run_as_service);
}

TEST(ConfigurationFile, GetsDefaultsWhereItSaysNothingNullOrZero) {
    for (const char* body : {"", R"(bindAddress: ""
clientConnection: {qps: 0, burst: 0, contentType: ""}
configSyncPeriod: 0s
iptables: {masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s, localhostNodePorts: null}
nftables: null
conntrack: {maxPerCore: null, min: null, tcpEstablishedTimeout: null}
nodePortAddresses: null
logging: {format: "", flushFrequency: 0}
)"}) {
        const auto c = decoded(body).configuration;
        EXPECT_EQ(c.bind_address, "0.0.0.0");
        EXPECT_EQ(c.healthz_bind_address, "0.0.0.0:10256");
        EXPECT_EQ(c.metrics_bind_address, "127.0.0.1:10249");
        EXPECT_EQ(c.mode, "");
        EXPECT_EQ(c.client_connection.qps, 5);
        EXPECT_EQ(c.client_connection.burst, 10);
        EXPECT_EQ(c.client_connection.content_type, "application/vnd.kubernetes.protobuf");
        EXPECT_EQ(c.logging.format, "text");
        EXPECT_EQ(c.logging.flush_frequency.duration, 5s);
        EXPECT_FALSE(c.logging.flush_frequency.as_number);
        EXPECT_EQ(c.iptables.masquerade_bit, 14);
        EXPECT_EQ(c.iptables.localhost_node_ports, true);
        EXPECT_EQ(c.nftables.masquerade_bit, 14);
        for (const char* mode : {"", "iptables", "ipvs", "nftables"}) {
            auto with_mode = c;
            with_mode.mode = mode;
            EXPECT_EQ(sync_period(with_mode), 30s) << mode;
            EXPECT_EQ(min_sync_period(with_mode).named, std::nullopt) << mode;
        }
        EXPECT_EQ(c.oom_score_adj, -999);
        EXPECT_EQ(c.conntrack.max_per_core, 32768);
        EXPECT_EQ(c.conntrack.min, 131072);
        EXPECT_EQ(c.conntrack.tcp_established_timeout, 24h);
        EXPECT_EQ(c.conntrack.tcp_close_wait_timeout, 1h);
        EXPECT_EQ(c.config_sync_period, 15min);
        EXPECT_THAT(c.node_port_addresses, IsEmpty());
        EXPECT_EQ(c.detect_local_mode, "");
    }
}

TEST(ConfigurationFile, Ipv6BindAddressMovesTheOthers) {
    const auto c = decoded("bindAddress: \"::\"\n").configuration;
    EXPECT_EQ(c.healthz_bind_address, "[::]:10256");
    EXPECT_EQ(c.metrics_bind_address, "[::1]:10249");
}

TEST(ConfigurationFile, GetsTheDefaultsOfLinux) {
    struct Case {
        const char* mode;
        std::vector<std::string> given;
        std::vector<std::string> expected;
    };
    const std::vector<Case> cases{{"nftables", {}, {"primary"}},
                                  {"nftables", {"10.0.0.0/8"}, {"10.0.0.0/8"}},
                                  {"iptables", {}, {}},
                                  {"", {}, {}}};
    for (const auto& c : cases) {
        auto config = default_configuration();
        config.mode = c.mode;
        config.node_port_addresses = c.given;
        apply_platform_defaults(config);
        EXPECT_EQ(config.node_port_addresses, c.expected) << c.mode;
        EXPECT_EQ(config.detect_local_mode, "ClusterCIDR");
    }
}

TEST(ConfigurationFile, MayBeJson) {
    const auto got = decode_configuration(
        R"({"kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "mode": "nftables"})",
        "c");
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->configuration.mode, "nftables");
}

TEST(ConfigurationFile, WithUnknownAndDuplicateFieldsIsReadLeniently) {
    const auto got = decoded(R"(mode: iptables
portrange: 1-2
conntrack: {max: 5}
mode: nftables
)");
    EXPECT_EQ(got.configuration.mode, "nftables");
    EXPECT_THAT(got.lenient, ElementsAre("c.yaml:4: portrange: \"1-2\": is not a field that there is; ignored",
                                         "c.yaml:5: conntrack.max: 5: is not a field that there is; ignored",
                                         "c.yaml:6: mode: \"nftables\": stands there twice, this one counts"));
}

TEST(ConfigurationFile, ThatIsWrongIsRefusedWithEveryPlace) {
    EXPECT_THAT(flaw(""), HasSubstr("is empty"));
    EXPECT_THAT(flaw("kind: KubeProxyConfiguration\n"), HasSubstr("apiVersion: is missing"));
    EXPECT_THAT(flaw("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n"),
                HasSubstr("c.yaml:2: kind: \"KubeletConfiguration\": must be \"KubeProxyConfiguration\""));
    EXPECT_THAT(flaw("apiVersion: kubeproxy.config.k8s.io/v1beta9\nkind: KubeProxyConfiguration\n"),
                HasSubstr("c.yaml:1: apiVersion"));
    const std::vector<std::pair<const char*, const char*>> cases{
        {"mode: 5\n", "c.yaml:3: mode: 5: must be text"},
        {"bindAddressHardFail: \"true\"\n", "c.yaml:3: bindAddressHardFail: \"true\": must be true or false"},
        {"oomScoreAdj: 5000000000\n", "c.yaml:3: oomScoreAdj: 5000000000: must be a number from"},
        {"conntrack: {udpTimeout: 5}\n", "c.yaml:3: conntrack.udpTimeout: 5: must be text"},
        {"conntrack: {udpTimeout: 5d}\n", "conntrack.udpTimeout: \"5d\": must be a duration"},
        {"conntrack: []\n", "c.yaml:3: conntrack: a list: must be a mapping"},
        {"nodePortAddresses: primary\n", "nodePortAddresses: \"primary\": must be a list"},
        {"featureGates: {A: 1}\n", "featureGates.A: 1: must be true or false"},
        {"logging: {vmodule: [{filePattern: 1}]}\n", "logging.vmodule[0].filePattern: 1: must be text"},
        {"logging: {verbosity: -1}\n", "logging.verbosity: -1"},
        {"logging: {options: {text: {infoBufferSize: x}}}\n", "infoBufferSize: \"x\": must be a size"},
        {"clientConnection: {qps: fast}\n", "clientConnection.qps: \"fast\": must be a number"},
    };
    for (const auto& [body, message] : cases) EXPECT_THAT(flaw(std::string(kHead) + body), HasSubstr(message));
    EXPECT_THAT(flaw(std::string(kHead) + "mode: 5\nportRange: 6\n"),
                ::testing::AllOf(HasSubstr("c.yaml:3: mode"), HasSubstr("c.yaml:4: portRange")));
}

TEST(ConfigurationFile, ThatIsNotThereIsNamed) {
    const auto got = read_configuration("/nonexistent/c.yaml");
    ASSERT_FALSE(got);
    EXPECT_THAT(got.error().message, HasSubstr("/nonexistent/c.yaml: No such file"));
}

}  // namespace
}  // namespace ghostip::agent::config
