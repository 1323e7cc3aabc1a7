// The names, types, labels and buckets that dashboards and alerts rely on, against the table of the specification.
#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/metrics.h"
#include "agent/metrics_text_testing.h"

namespace ghostip::agent {
namespace {

using ::testing::ElementsAre;
using testing::Exposition;
using ::testing::IsEmpty;
using testing::parse_metrics;
using ::testing::StartsWith;
using Labels = std::set<std::string>;

// Everything has happened once.
void count_everything(Metrics& metrics) {
    auto& proxy = metrics.kube_proxy();
    const auto now = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
    for (const auto family : net::kFamilies) {
        proxy.queued(family, now);
        proxy.synced(family, KubeProxyMetrics::Sync::kFull, KubeProxyMetrics::Outcome::kSuccess, 0.2, now);
        proxy.synced(family, KubeProxyMetrics::Sync::kPartial, KubeProxyMetrics::Outcome::kFailure, 0.002, now);
        proxy.programmed(family, 0.3);
        proxy.set_without_local_endpoints(family, 1, 2);
        proxy.cleanup_failed(family);
        proxy.set_rules(family, {{"nat", 12, 5}, {"filter", 7, 0}});
        proxy.reconciled_conntrack(family, 0.01, 3);
        static_cast<void>(metrics.of(family));
    }
    proxy.count_packets([] {
        return std::vector<dataplane::PacketCount>{{"something_else", 9}, {"ct_state_invalid_dropped_pkts", 4}};
    });
    proxy.took_changes(3, 5);
    proxy.settled_changes(1, 2);
    for (const unsigned code : {200U, 503U}) {
        proxy.answered_healthz(code);
        proxy.answered_livez(code);
    }
    auto& client = metrics.client();
    client.requested("GET", "10.0.0.1:6443", "200", 0.1, 0);
    client.responded("GET", "10.0.0.1:6443", 5000);
    client.waited("GET", "10.0.0.1:6443", 0.01);
    client.retried("GET", "10.0.0.1:6443", "429");
    client.ran_exec_plugin(0, "no_error");
    client.rotated_certificate(4000);
    metrics.set_build({"1", "36", "v1.36.2", "abc", "clean", "2026-01-01T00:00:00Z", "", "g++", "linux/amd64"});
    metrics.set_feature("NFTablesProxyMode", "", true);
    for (const auto family : net::kFamilies) {
        auto counters = std::make_shared<ServiceCounters>(family, [] { return dataplane::DestinationCounts{}; });
        plan::ServicePortPlan port;
        port.name = {{"default", "web"}, "http", net::Protocol::kTcp};
        plan::Delta delta;
        delta.service_ports.push_back({nullptr, std::make_shared<const plan::ServicePortPlan>(port)});
        counters->apply(delta);
        metrics.count_services(family, std::move(counters));
    }
    metrics.watch([] { return std::vector<WatchState>{{"services", 1.5, 2, 6, 3, 5, 4, true}, {"endpointslices"}}; });
}

struct Row {
    const char* name;
    const char* type;
    Labels labels;
    std::vector<double> limits = {};  // the first and the last but one, and how many
};

// Of kube-proxy, in one mode alone.
std::vector<Row> rows_of(std::string_view mode) {
    const Labels family{"ip_family"};
    const Labels rules{"ip_family", "table"};
    if (mode == "nftables")
        return {{"kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter", family},
                {"kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "counter", family}};
    if (mode == "ipvs") return {{"kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", family}};
    return {{"kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", family},
            {"kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "counter", family},
            {"kubeproxy_sync_proxy_rules_iptables_total", "gauge", rules},
            {"kubeproxy_sync_proxy_rules_iptables_last", "gauge", rules},
            {"kubeproxy_iptables_ct_state_invalid_dropped_packets_total", "counter", {}},
            {"kubeproxy_iptables_localhost_nodeports_accepted_packets_total", "counter", {}}};
}

// In every mode.
std::vector<Row> rows() {
    const Labels family{"ip_family"};
    const Labels host{"verb", "host"};
    const Labels service_port{"namespace", "service", "port_name", "protocol", "ip_family"};
    const std::vector<double> sync{0.001, 16.384, 15};
    const std::vector<double> programming{0, 300, 1 + 2 + 59 + 12 + 7};
    const std::vector<double> duration{0.005, 60, 12};
    const std::vector<double> size{64, 16777216, 11};
    const std::vector<double> ours{0.0001, 26.2144, 10};
    return {
        {"kubeproxy_sync_proxy_rules_duration_seconds", "histogram", family, sync},
        {"kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", family, sync},
        {"kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram", family, sync},
        {"kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", family},
        {"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", family},
        {"kubeproxy_network_programming_duration_seconds", "histogram", family, programming},
        {"kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", {}},
        {"kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", {}},
        {"kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", {}},
        {"kubeproxy_sync_proxy_rules_service_changes_total", "counter", {}},
        {"kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge", {"ip_family", "traffic_policy"}},
        {"kubeproxy_proxy_healthz_total", "counter", {"code"}},
        {"kubeproxy_proxy_livez_total", "counter", {"code"}},
        {"kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram", family, sync},
        {"kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", family},
        {"kubernetes_build_info",
         "gauge",
         {"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler",
          "platform"}},
        {"kubernetes_feature_enabled", "gauge", {"name", "stage"}},
        {"registered_metrics_total", "counter", {"stability_level", "deprecated_version"}},
        {"process_cpu_seconds_total", "counter", {}},
        {"process_max_fds", "gauge", {}},
        {"process_open_fds", "gauge", {}},
        {"process_resident_memory_bytes", "gauge", {}},
        {"process_start_time_seconds", "gauge", {}},
        {"process_virtual_memory_bytes", "gauge", {}},
        {"process_virtual_memory_max_bytes", "gauge", {}},
        {"go_goroutines", "gauge", {}},
        {"go_threads", "gauge", {}},
        {"rest_client_requests_total", "counter", {"code", "method", "host"}},
        {"rest_client_request_duration_seconds", "histogram", host, duration},
        {"rest_client_rate_limiter_duration_seconds", "histogram", host, duration},
        {"rest_client_request_size_bytes", "histogram", host, size},
        {"rest_client_response_size_bytes", "histogram", host, size},
        {"rest_client_request_retries_total", "counter", {"code", "verb", "host"}},
        {"rest_client_exec_plugin_ttl_seconds", "gauge", {}},
        {"rest_client_exec_plugin_certificate_rotation_age", "histogram", {}, {600, 124416000, 11}},
        {"rest_client_exec_plugin_call_total", "counter", {"code", "call_status"}},
        {"ghostip_sync_total", "counter", {"ip_family", "result"}},
        {"ghostip_sync_duration_seconds", "histogram", family, ours},
        {"ghostip_transaction_duration_seconds", "histogram", family, ours},
        {"ghostip_foreign_writes_total", "counter", family},
        {"ghostip_repairs_total", "counter", family},
        {"ghostip_drift_alarm", "gauge", family},
        {"ghostip_objects_set_aside", "gauge", family},
        {"ghostip_stale_flows_removed_total", "counter", family},
        {"ghostip_service_ports", "gauge", family},
        {"ghostip_plan_destinations", "gauge", family},
        {"ghostip_plan_endpoints", "gauge", family},
        {"ghostip_health_check_ports", "gauge", family},
        {"ghostip_transactions_total", "counter", {}},
        {"ghostip_service_packets_total", "counter", service_port},
        {"ghostip_service_bytes_total", "counter", service_port},
        {"ghostip_watch_age_seconds", "gauge", {"resource"}},
        {"ghostip_watch_relists_total", "counter", {"resource"}},
        {"ghostip_watch_stalls_total", "counter", {"resource"}},
        {"ghostip_watch_restarts_total", "counter", {"resource"}},
        {"ghostip_decode_failures_total", "counter", {"resource"}},
        {"ghostip_held_removals_total", "counter", {"resource"}},
        {"ghostip_removal_held", "gauge", {"resource"}},
    };
}

double value(const Exposition& read, const std::string& metric, const std::map<std::string, std::string>& labels = {}) {
    const auto found = read.metrics.find(metric);
    if (found != read.metrics.end())
        for (const auto& sample : found->second.samples)
            if (sample.labels == labels) return sample.value;
    return std::numeric_limits<double>::quiet_NaN();
}

class MetricsNamesOf : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Modes, MetricsNamesOf, ::testing::Values("nftables", "iptables", "ipvs"),
                         [](const auto& one) { return one.param; });

TEST_P(MetricsNamesOf, AreThoseOfTheTable) {
    Metrics metrics(GetParam());
    count_everything(metrics);
    const Exposition read = parse_metrics(metrics.metrics().body);
    EXPECT_THAT(read.complaints, IsEmpty());
    std::set<std::string> unknown;
    for (const auto& [name, metric] : read.metrics) unknown.insert(name);
    auto wanted = rows();
    for (auto& row : rows_of(GetParam())) wanted.push_back(std::move(row));
    for (const auto& row : wanted) {
        SCOPED_TRACE(row.name);
        ASSERT_TRUE(read.metrics.contains(row.name));
        unknown.erase(row.name);
        const auto& metric = read.metrics.at(row.name);
        EXPECT_EQ(metric.type, row.type);
        if (std::string_view(row.name).substr(0, 10) == "kubeproxy_") {
            EXPECT_THAT(metric.help, StartsWith("[ALPHA] "));
        }
        std::map<std::map<std::string, std::string>, std::vector<double>> buckets;
        for (const auto& sample : metric.samples) {
            Labels names;
            for (const auto& [name, text] : sample.labels)
                if (name != "le") names.insert(name);
            EXPECT_EQ(names, row.labels);
            auto others = sample.labels;
            if (others.erase("le") != 0) buckets[others].push_back(std::stod(sample.labels.at("le")));
        }
        EXPECT_EQ(buckets.empty(), row.limits.empty());
        for (const auto& [labels, limits] : buckets) {
            ASSERT_EQ(limits.size(), static_cast<std::size_t>(row.limits[2]) + 1);
            EXPECT_EQ(limits.front(), row.limits[0]);
            EXPECT_NEAR(limits[limits.size() - 2], row.limits[1], row.limits[1] * 1e-9);
        }
    }
    EXPECT_THAT(unknown, IsEmpty()) << "not in the table, so docs/metrics.md may lack it";
}

TEST(MetricsNames, Values) {
    Metrics metrics("nftables");
    count_everything(metrics);
    const Exposition read = parse_metrics(metrics.metrics().body);
    const std::map<std::string, std::string> four{{"ip_family", "IPv4"}};
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", four), 1'700'000'000);
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 3);
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_endpoint_changes_total"), 5);
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_service_changes_pending"), 2);
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", four), 1);
    EXPECT_EQ(value(read, "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                    {{"ip_family", "IPv6"}, {"traffic_policy", "external"}}),
              2);
    EXPECT_EQ(value(read, "kubeproxy_conntrack_reconciler_deleted_entries_total", four), 3);
    EXPECT_EQ(value(read, "kubeproxy_proxy_healthz_total", {{"code", "503"}}), 1);
    EXPECT_EQ(value(read, "kubernetes_feature_enabled", {{"name", "NFTablesProxyMode"}, {"stage", ""}}), 1);
    EXPECT_EQ(value(read, "rest_client_exec_plugin_ttl_seconds"), std::numeric_limits<double>::infinity());
    EXPECT_EQ(value(read, "ghostip_watch_age_seconds", {{"resource", "services"}}), 1.5);
    EXPECT_EQ(value(read, "ghostip_held_removals_total", {{"resource", "services"}}), 4);
    EXPECT_EQ(value(read, "ghostip_removal_held", {{"resource", "services"}}), 1);
    metrics.client().set_exec_plugin_expiry(std::chrono::system_clock::now() + std::chrono::hours(1));
    EXPECT_NEAR(value(parse_metrics(metrics.metrics().body), "rest_client_exec_plugin_ttl_seconds"), 3600, 60);
}

TEST(MetricsNames, ValuesOfIptablesMode) {
    Metrics metrics("iptables");
    EXPECT_EQ(value(parse_metrics(metrics.metrics().body), "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"),
              0)
        << "nobody counts";
    count_everything(metrics);
    const Exposition read = parse_metrics(metrics.metrics().body);
    const std::map<std::string, std::string> four{{"ip_family", "IPv4"}};
    const std::map<std::string, std::string> nat{{"ip_family", "IPv4"}, {"table", "nat"}};
    const std::map<std::string, std::string> filter{{"ip_family", "IPv6"}, {"table", "filter"}};
    const std::string prefix = "kubeproxy_sync_proxy_rules_iptables_";
    EXPECT_EQ(value(read, prefix + "restore_failures_total", four), 1);
    EXPECT_EQ(value(read, prefix + "partial_restore_failures_total", four), 1);
    EXPECT_EQ(value(read, prefix + "total", nat), 12);
    EXPECT_EQ(value(read, prefix + "last", nat), 5);
    EXPECT_EQ(value(read, prefix + "total", filter), 7);
    EXPECT_EQ(value(read, prefix + "last", filter), 0);
    metrics.kube_proxy().synced(net::Family::kIpv4, KubeProxyMetrics::Sync::kFull, KubeProxyMetrics::Outcome::kFailure,
                                1, {});
    const Exposition again = parse_metrics(metrics.metrics().body);
    EXPECT_EQ(value(again, prefix + "restore_failures_total", four), 2);
    EXPECT_EQ(value(again, prefix + "partial_restore_failures_total", four), 1) << "that was a full one";
    EXPECT_EQ(value(again, "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"), 4);
    EXPECT_EQ(value(again, "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"), 0) << "not counted here";
}

// An alert on the age of the last sync must not fire for a family that is switched off, nor before the first sync.
TEST(MetricsNames, NothingIsSaidOfWhatHasNotHappened) {
    Metrics metrics("nftables");
    static_cast<void>(metrics.of(net::Family::kIpv4));
    metrics.kube_proxy().synced(net::Family::kIpv4, KubeProxyMetrics::Sync::kFull, KubeProxyMetrics::Outcome::kFailure,
                                1, {});
    const auto text = metrics.metrics().body;
    EXPECT_THAT(parse_metrics(text).complaints, IsEmpty());
    EXPECT_EQ(text.find("last_timestamp_seconds"), std::string::npos);
    EXPECT_EQ(text.find("IPv6"), std::string::npos);
}

TEST(MetricsNames, ProgrammingBuckets) {
    const auto limits = network_programming_limits();
    EXPECT_TRUE(std::is_sorted(limits.begin(), limits.end()));
    EXPECT_THAT(std::vector<double>(limits.begin(), limits.begin() + 6), ElementsAre(0, 0.25, 0.5, 1, 2, 3));
    EXPECT_THAT(std::vector<double>(limits.begin() + 60, limits.begin() + 65), ElementsAre(58, 59, 60, 65, 70));
    EXPECT_THAT(std::vector<double>(limits.end() - 9, limits.end()),
                ElementsAre(110, 115, 120, 150, 180, 210, 240, 270, 300));
}

// The reader that the others trust.
TEST(MetricsText, TheCheckerFindsWhatIsWrong) {
    const std::string good = "# HELP a A.\n# TYPE a counter\na{b=\"c\"} 1\n";
    EXPECT_THAT(parse_metrics(good).complaints, IsEmpty());
    const std::string histogram = "# HELP h H.\n# TYPE h histogram\n";
    for (const std::string& bad :
         {good + "a{b=\"c\"} 2\n", good + "x 1\n", std::string("# HELP a A.\n# TYPE a counter\na -1\n"),
          std::string("# TYPE a counter\n# HELP a A.\na 1\n"), std::string("# HELP a A.\n# TYPE a thing\na 1\n"),
          std::string("# HELP a A.\n# TYPE a gauge\na one\n"), std::string("# HELP a A.\n# TYPE a gauge\na{b=\"c} 1\n"),
          std::string("# HELP a A.\n# TYPE a gauge\na{b=\"\\x\"} 1\n"), std::string("# HELP a A.\n# TYPE a gauge\n"),
          std::string("# HELP a A.\n# TYPE a gauge\na 1"), good + good,
          histogram + "h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
          histogram + "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
          histogram + "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 1\n",
          histogram + "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n"})
        EXPECT_FALSE(parse_metrics(bad).complaints.empty()) << bad;
}

}  // namespace
}  // namespace ghostip::agent
