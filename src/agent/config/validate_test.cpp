#include "agent/config/validate.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/config/defaults.h"

namespace ghostip::agent::config {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

KubeProxyConfiguration good() {
    auto config = default_configuration();
    config.mode = "nftables";
    apply_platform_defaults(config);
    return config;
}

struct ValidationCase {
    const char* error;  // empty: it is fine
    std::function<void(KubeProxyConfiguration&)> change;
};

#define CHANGE(...) [](KubeProxyConfiguration& c) { __VA_ARGS__; }

const std::vector<ValidationCase>& cases() {
    static const std::vector<ValidationCase> table{
        {"", CHANGE((void)c)},
        {"", CHANGE(c.mode = "")},
        {"", CHANGE(c.mode = "iptables")},
        {"", CHANGE(c.mode = "ebpf")},
        {"", CHANGE(c.healthz_bind_address = "")},
        {"", CHANGE(c.metrics_bind_address = "010.000.0.1:80")},
        {"", CHANGE(c.show_hidden_metrics_for_version = "1.35")},
        {"", CHANGE(c.cluster_cidr = "10.0.0.0/8,fd00::/8")},
        {"", CHANGE(c.detect_local_mode = "NodeCIDR"; c.cluster_cidr = "nonsense")},
        {"", CHANGE(c.ipvs.tcp_timeout = -1s)},
        {"", CHANGE(min_sync_period(c).named = 30s)},
        {R"(KubeProxyConfiguration.featureGates: Invalid value: {"Nope":true}: unrecognized feature gate: Nope)",
         CHANGE(c.feature_gates = {{"Nope", true}})},
        {R"(KubeProxyConfiguration.featureGates: Invalid value: {"NFTablesProxyMode":false}: cannot set feature gate )"
         R"(NFTablesProxyMode to false, feature is locked to true)",
         CHANGE(c.feature_gates = {{"NFTablesProxyMode", false}})},
        {"KubeProxyConfiguration.KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: 32: must be within the "
         "range [0, 31]",
         CHANGE(c.iptables.masquerade_bit = 32)},
        {"KubeProxyConfiguration.KubeProxyNFTablesConfiguration.MasqueradeBit: Invalid value: -1: must be within the "
         "range [0, 31]",
         CHANGE(c.nftables.masquerade_bit = -1)},
        {"", CHANGE(c.mode = "ipvs"; c.nftables.masquerade_bit = -1)},
        {R"(KubeProxyConfiguration.KubeProxyIPVSConfiguration.TCPTimeout: Invalid value: "-1s": must be greater than or )"
         "equal to 0",
         CHANGE(c.mode = "ipvs"; c.ipvs.tcp_timeout = -1s)},
        {R"(KubeProxyConfiguration.KubeProxyIPVSConfiguration.ExcludeCidrs[1]: Invalid value: ["10.0.0.0/8","x"]: must )"
         "be a valid CIDR",
         CHANGE(c.mode = "ipvs"; c.ipvs.exclude_cidrs = {"10.0.0.0/8", "x"})},
        {"KubeProxyConfiguration.KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.MaxPerCore: Invalid "
         "value: "
         "-3: must be greater than or equal to 0",
         CHANGE(c.conntrack.max_per_core = -3)},
        {"KubeProxyConfiguration.KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.UDPStreamTimeout: Invalid "
         "value: \"-5ms\": must be greater than or equal to 0",
         CHANGE(c.conntrack.udp_stream_timeout = -5ms)},
        {"KubeProxyConfiguration.KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 1001: must be within the "
         "range "
         "[-1000, 1000]",
         CHANGE(c.oom_score_adj = 1001)},
        {R"(KubeProxyConfiguration.Mode.ProxyMode: Invalid value: "iptable": must be iptables, ipvs, nftables or blank )"
         "(blank means the best-available proxy [currently iptables])",
         CHANGE(c.mode = "iptable")},
        {"KubeProxyConfiguration.ClientConnection.Burst: Invalid value: -1: must be greater than or equal to 0",
         CHANGE(c.client_connection.burst = -1)},
        {R"(KubeProxyConfiguration.ConfigSyncPeriod: Invalid value: "-1s": must be greater than 0)",
         CHANGE(c.config_sync_period = -1s)},
        {R"(KubeProxyConfiguration.SyncPeriod: Invalid value: "0s": must be greater than 0)",
         CHANGE(sync_period(c) = 0s)},
        {R"(KubeProxyConfiguration.MinSyncPeriod: Invalid value: "-1s": must be greater than or equal to 0)",
         CHANGE(min_sync_period(c).named = -1s)},
        {R"(KubeProxyConfiguration.SyncPeriod: Invalid value: "31s": must be greater than or equal to )"
         "KubeProxyConfiguration.MinSyncPeriod",
         CHANGE(min_sync_period(c).named = 31s)},
        {R"(KubeProxyConfiguration.BindAddress: Invalid value: "x": not a valid textual representation of an IP address)",
         CHANGE(c.bind_address = "x")},
        {R"(KubeProxyConfiguration.HealthzBindAddress: Invalid value: "10.0.0.1": must be IP:port)",
         CHANGE(c.healthz_bind_address = "10.0.0.1")},
        {R"(KubeProxyConfiguration.HealthzBindAddress: Invalid value: "localhost": must be a valid IP)",
         CHANGE(c.healthz_bind_address = "localhost:80")},
        {R"(KubeProxyConfiguration.MetricsBindAddress: Invalid value: "0": must be a valid port)",
         CHANGE(c.metrics_bind_address = "[::1]:0")},
        {R"(KubeProxyConfiguration.MetricsBindAddress: Invalid value: "": must be IP:port)",
         CHANGE(c.metrics_bind_address = "")},
        {R"(KubeProxyConfiguration.NodePortAddresses[0]: Invalid value: "10.0.0.1": must be a valid CIDR)",
         CHANGE(c.node_port_addresses = {"10.0.0.1"})},
        {R"(KubeProxyConfiguration.NodePortAddresses[1]: Invalid value: "primary": can't use both 'primary' and CIDRs)",
         CHANGE(c.node_port_addresses = {"10.0.0.0/8", "primary", "not looked at"})},
        {R"(KubeProxyConfiguration.ShowHiddenMetricsForVersion: Invalid value: "1.34": invalid )"
         R"(showHiddenMetricsForVersion: showHiddenMetricsForVersion: Invalid value: "1.34": must be omitted or have the )"
         "value '1.35'; only the previous minor version is allowed",
         CHANGE(c.show_hidden_metrics_for_version = "1.34")},
        {R"(KubeProxyConfiguration.DetectLocalMode: Unsupported value: "x": supported values: "ClusterCIDR", "NodeCIDR", )"
         R"("BridgeInterface", "InterfaceNamePrefix", "")",
         CHANGE(c.detect_local_mode = "x")},
        {R"(KubeProxyConfiguration.DetectLocalConfiguration.InterfaceName: Invalid value: "": must not be empty)",
         CHANGE(c.detect_local_mode = "BridgeInterface")},
        {R"(KubeProxyConfiguration.DetectLocalConfiguration.InterfacePrefix: Invalid value: "": must not be empty)",
         CHANGE(c.detect_local_mode = "InterfaceNamePrefix")},
        {R"(KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: "x": must be a valid CIDR )"
         "block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)",
         CHANGE(c.cluster_cidr = "x")},
        {R"(KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs: Invalid value: ["10.0.0.0/8","11.0.0.0/8"]: )"
         "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]",
         CHANGE(c.cluster_cidr = "10.0.0.0/8,11.0.0.0/8")},
        {R"(KubeProxyConfiguration.logging.flushFrequency: Invalid value: "-1s": Must be greater than zero)",
         CHANGE(c.logging.flush_frequency.duration = -1s)},
        {R"(KubeProxyConfiguration.logging.format: Invalid value: "xml": Unsupported log format)",
         CHANGE(c.logging.format = "xml")},
        {"KubeProxyConfiguration.logging.verbosity: Invalid value: 2147483648: Must be <= 2147483647",
         CHANGE(c.logging.verbosity = 2147483648U)},
        {"KubeProxyConfiguration.logging.vmodule: Forbidden: Only supported for text log format",
         CHANGE(c.logging.format = "json"; c.logging.vmodule = {{"a", 1}})},
        {"KubeProxyConfiguration.logging.vmodule[0]: Required value: File pattern must not be empty",
         CHANGE(c.logging.vmodule = {{"", 1}})},
        {R"(KubeProxyConfiguration.logging.vmodule[0]: Invalid value: "a=b": File pattern must not contain equal sign or )"
         "comma",
         CHANGE(c.logging.vmodule = {{"a=b", 1}})},
        {"KubeProxyConfiguration.logging.options.text.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled",
         CHANGE(c.logging.options.text.split_stream = true)},
        {"KubeProxyConfiguration.logging.options.json.infoBufferSize: Forbidden: Feature LoggingAlphaOptions is "
         "disabled",
         CHANGE(c.logging.options.json.info_buffer_size.value = 1)},
        {"", CHANGE(c.logging.options.text.split_stream = true; c.feature_gates = {{"LoggingAlphaOptions", true}})},
    };
    return table;
}

TEST(Validation, SaysWhatKubeProxySays) {
    for (const auto& c : cases()) {
        auto config = good();
        c.change(config);
        const auto errors = validate(config);
        if (std::string_view(c.error).empty())
            EXPECT_THAT(errors.all(), IsEmpty());
        else
            EXPECT_THAT(errors.all(), ElementsAre(c.error));
    }
}

TEST(Validation, JoinsAllErrors) {
    auto config = good();
    config.bind_address = "x";
    EXPECT_EQ(validate(config).text(), validate(config).all().front());
    config.client_connection.burst = -1;
    EXPECT_EQ(validate(config).text(),
              "[KubeProxyConfiguration.ClientConnection.Burst: Invalid value: -1: must be greater than or equal to 0, "
              "KubeProxyConfiguration.BindAddress: Invalid value: \"x\": not a valid textual representation of an IP "
              "address]");
}

TEST(HostPorts, AreTakenApart) {
    const std::vector<std::tuple<const char*, const char*, const char*>> good{
        {"10.0.0.1:80", "10.0.0.1", "80"}, {"[::1]:80", "::1", "80"}, {":80", "", "80"}, {"a:", "a", ""}};
    for (const auto& [text, host, port] : good) {
        const auto parts = split_host_port(text);
        ASSERT_TRUE(parts) << text;
        EXPECT_EQ(parts->host, host);
        EXPECT_EQ(parts->port, port);
    }
    for (const char* text : {"", "a", "::1:80", "[::1]", "[::1:80", "::1]:80", "[::1]80", "[]]:1"})
        EXPECT_FALSE(split_host_port(text)) << text;
}

TEST(FeatureGates, AreKnownInOrder) {
    const auto gates = known_gates();
    EXPECT_TRUE(std::is_sorted(gates.begin(), gates.end(),
                               [](const KnownGate& a, const KnownGate& b) { return a.name < b.name; }));
    EXPECT_TRUE(gate_enabled({}, "AllowServiceExternalIPs"));
    EXPECT_FALSE(gate_enabled({{"AllowServiceExternalIPs", false}}, "AllowServiceExternalIPs"));
    EXPECT_TRUE(gate_enabled({{"MultiCIDRServiceAllocator", false}}, "MultiCIDRServiceAllocator")) << "locked";
    EXPECT_FALSE(gate_enabled({}, "NativeHistograms"));
    EXPECT_TRUE(gate_enabled({{"AllAlpha", true}}, "NativeHistograms"));
    EXPECT_FALSE(gate_enabled({{"AllAlpha", true}, {"NativeHistograms", false}}, "NativeHistograms"));
    EXPECT_FALSE(gate_enabled({{"AllBeta", false}}, "WatchListClient"));
    EXPECT_FALSE(gate_enabled({}, "Nope"));
}

TEST(FeatureGates, AreReadFromText) {
    GateSettings gates{{"A", true}};
    ASSERT_TRUE(parse_gates("B=true, C = f,", gates));
    EXPECT_EQ(gates_text(gates), "A=true,B=true,C=false");
    EXPECT_EQ(parse_gates("B", gates).error().message, "malformed pair, expect string=bool");
    EXPECT_EQ(parse_gates("B=x", gates).error().message,
              "invalid value of B: x, err: strconv.ParseBool: parsing \"x\": invalid syntax");
}

}  // namespace
}  // namespace ghostip::agent::config
