#include "agent/config/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "agent/config/decode.h"
#include "agent/config/defaults.h"
#include "agent/config/document_text.h"
#include "api/document_tree.h"

namespace ghostip::agent::config {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(WrittenConfiguration, HasEveryFieldInKubernetesForm) {
    auto config = default_configuration();
    config.mode = "iptables";
    apply_platform_defaults(config);
    EXPECT_EQ(to_yaml(config), R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: ""
  qps: 5
clusterCIDR: ""
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ClusterCIDR
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: ""
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 30s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: iptables
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: -999
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)");
}

TEST(WrittenConfiguration, IsReadBack) {
    auto config = default_configuration();
    config.mode = "nftables";
    config.feature_gates = {{"AllowServiceExternalIPs", false}, {"NativeHistograms", true}};
    config.hostname_override = "true";
    config.metrics_bind_address = "[::1]:10249";
    config.logging.vmodule = {{"a*", 1}, {"b", 2}};
    config.logging.flush_frequency = {7s, true};
    config.logging.options.json = {true, {"2Ki", 2048}};
    config.node_port_addresses = {"10.0.0.0/8", "fd00::/8"};
    config.cluster_cidr = "10.244.0.0/16,fd00:1::/48";
    config.client_connection.qps = 0.25F;
    config.conntrack.tcp_established_timeout = 0s;
    sync_period(config) = 45s;
    min_sync_period(config).named = 1500ms;
    masquerade_all(config) = true;
    apply_platform_defaults(config);
    for (const auto& text : {to_yaml(config), to_json(config)}) {
        const auto back = decode_configuration(text, "c");
        ASSERT_TRUE(back) << back.error().message << "\n" << text;
        EXPECT_THAT(back->lenient, IsEmpty());
        EXPECT_EQ(to_yaml(back->configuration), to_yaml(config));
    }
    EXPECT_THAT(to_yaml(config), HasSubstr("vmodule:\n  - filePattern: a*\n    verbosity: 1\n  - filePattern: b\n"));
    EXPECT_THAT(to_yaml(config), HasSubstr("nodePortAddresses:\n- 10.0.0.0/8\n- fd00::/8\n"));
    EXPECT_THAT(to_yaml(config), HasSubstr("metricsBindAddress: '[::1]:10249'\n"));
    EXPECT_THAT(to_yaml(config), HasSubstr("hostnameOverride: \"true\"\n"));
}

TEST(WrittenConfiguration, NamesNoPauseThatNobodyAskedFor) {
    auto config = default_configuration();
    config.mode = "nftables";
    const auto back = decode_configuration(to_yaml(config), "c");
    ASSERT_TRUE(back);
    EXPECT_EQ(min_sync_period(back->configuration).named, std::nullopt);
}

TEST(JsonConfiguration, BeginsAsKubernetesDoes) {
    const auto json = to_json(default_configuration());
    EXPECT_THAT(json, StartsWith(R"({"kind":"KubeProxyConfiguration","apiVersion":"kubeproxy.config.k8s.io/v1alpha1",)"
                                 R"("clientConnection":{"kubeconfig":"","acceptContentTypes":"","contentType":)"));
    EXPECT_THAT(json, HasSubstr(R"("logging":{"format":"text","flushFrequency":"5s","verbosity":0,"options":)"));
    EXPECT_THAT(json, HasSubstr(R"("nodePortAddresses":null)"));
}

TEST(WithoutMeaning, AreOnlyFieldsThatSomebodySet) {
    auto config = default_configuration();
    EXPECT_THAT(without_meaning(config), IsEmpty());
    config.port_range = "1-2";
    config.ipvs.scheduler = "lc";
    config.iptables.localhost_node_ports = false;
    config.nftables.masquerade_bit = 5;
    config.oom_score_adj = 5;  // has a meaning
    config.mode = "nftables";
    EXPECT_THAT(without_meaning(config), ElementsAre("iptables.localhostNodePorts", "ipvs.scheduler", "portRange"));
    config.mode = "iptables";
    config.iptables.masquerade_all = true;
    sync_period(config) = 9s;
    min_sync_period(config).named = 2s;
    EXPECT_THAT(without_meaning(config), ElementsAre("ipvs.scheduler", "nftables.masqueradeBit", "portRange"));
    config.mode = "ipvs";
    EXPECT_THAT(without_meaning(config), ElementsAre("iptables.localhostNodePorts", "iptables.syncPeriod",
                                                     "iptables.minSyncPeriod", "nftables.masqueradeBit", "portRange"))
        << "masqueradeAll is iptables' for this mode as well";
}

TEST(YamlScalars, AreQuotedWhereTheyMustBe) {
    const std::vector<std::pair<const char*, const char*>> cases{
        {"", "\"\""},     {"plain", "plain"},     {"10.0.0.0/8", "10.0.0.0/8"}, {"yes", "\"yes\""},
        {"14", "\"14\""}, {"[::]:1", "'[::]:1'"}, {"it's: x", "'it''s: x'"},    {"a #b", "'a #b'"},
        {"*x", "'*x'"},   {"null", "\"null\""},   {"a\nb", "\"a\\nb\""},        {" a", "' a'"},
    };
    for (const auto& [text, scalar] : cases) EXPECT_EQ(yaml_scalar(text), scalar) << text;
    EXPECT_EQ(yaml_scalar("\xc3\xa9\xc2\x85\xf0\x9f\x98\x80"), R"("\u00e9\u0085\U0001f600")");
    EXPECT_EQ(json_string("\xc3\xa9<\xff\xc0\x80"), "\"\xc3\xa9\\u003c\\ufffd\\ufffd\\ufffd\"");
}

RC_GTEST_PROP(YamlScalars, AreReadBack, (const std::string& any)) {
    std::string text;
    for (const char c : any)
        if (static_cast<unsigned char>(c) < 0x7f && c != '\0') text += c;
    const auto tree = api::parse_document("a: " + yaml_scalar(text) + "\n", "f");
    RC_ASSERT(tree.has_value());
    const auto* value = (*tree)->find((*tree)->root(), "a");
    RC_ASSERT(value->kind == api::codec::NodeKind::kString);
    RC_ASSERT(std::string(value->text) == text);
}

}  // namespace
}  // namespace ghostip::agent::config
