#include "agent/metrics.h"

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(MetricsRegistry, Text) {
    MetricsRegistry registry;
    auto& plain = registry.counter("b_total", "Plain.");
    auto& labelled = registry.gauge("a", "With labels.", {"one", "two"});
    auto& unused = registry.counter("c_total", "Nobody has counted yet.", {"x"});
    registry.observed(MetricsRegistry::Kind::kCounter, "d_total", "Asked for.", [] { return 2.5; });
    plain.with().add();
    plain.with().add(2);
    labelled.with({"x", "y"}).set(-1.5);
    labelled.with({"w", "y"}).add(3);
    static_cast<void>(unused);
    EXPECT_EQ(registry.text(),
              "# HELP a With labels.\n"
              "# TYPE a gauge\n"
              "a{one=\"w\",two=\"y\"} 3\n"
              "a{one=\"x\",two=\"y\"} -1.5\n"
              "# HELP b_total Plain.\n"
              "# TYPE b_total counter\n"
              "b_total 3\n"
              "# HELP d_total Asked for.\n"
              "# TYPE d_total counter\n"
              "d_total 2.5\n");
}

TEST(MetricsRegistry, Escapes) {
    struct Case {
        const char* name;
        std::string value;
        std::string text;
    };
    const std::vector<Case> cases{
        {"plain", "a b", "a b"},       {"backslash", "a\\b", "a\\\\b"},   {"quote", "a\"b", "a\\\"b"},
        {"new line", "a\nb", "a\\nb"}, {"other", "a{}=,\tä", "a{}=,\tä"}, {"empty", "", ""},
    };
    for (const auto& c : cases) {
        MetricsRegistry registry;
        registry.counter("m", "Back\\slash,\nline and \"quotes\".", {"l"}).with({c.value}).add();
        EXPECT_EQ(registry.text(),
                  "# HELP m Back\\\\slash,\\nline and \"quotes\".\n# TYPE m counter\nm{l=\"" + c.text + "\"} 1\n")
            << c.name;
    }
}

TEST(MetricsRegistry, Numbers) {
    struct Case {
        const char* name;
        double value;
        const char* text;
    };
    for (const auto& c : {Case{"whole", 3, "3"}, Case{"big", 123456789, "123456789"}, Case{"small", 0.0001, "0.0001"},
                          Case{"infinite", std::numeric_limits<double>::infinity(), "+Inf"},
                          Case{"minus infinite", -std::numeric_limits<double>::infinity(), "-Inf"},
                          Case{"none", std::nan(""), "NaN"}}) {
        MetricsRegistry registry;
        registry.gauge("m", "M.").with().set(c.value);
        EXPECT_THAT(registry.text(), HasSubstr(std::string("\nm ") + c.text + "\n")) << c.name;
    }
}

TEST(MetricsRegistry, Histograms) {
    MetricsRegistry registry;
    auto& family = registry.histogram("h", "H.", {0.1, 1, 10}, {"l"});
    auto& child = family.with({"x"});
    for (const double value : {0.05, 0.1, 0.5, 1.0, 5.0, 100.0}) child.observe(value);
    EXPECT_EQ(registry.text(),
              "# HELP h H.\n"
              "# TYPE h histogram\n"
              "h_bucket{l=\"x\",le=\"0.1\"} 2\n"
              "h_bucket{l=\"x\",le=\"1\"} 4\n"
              "h_bucket{l=\"x\",le=\"10\"} 5\n"
              "h_bucket{l=\"x\",le=\"+Inf\"} 6\n"
              "h_sum{l=\"x\"} 106.65\n"
              "h_count{l=\"x\"} 6\n");
    EXPECT_THAT(exponential_limits(0.5, 2, 4), ::testing::ElementsAre(0.5, 1, 2, 4));
}

TEST(MetricsRegistry, CountsFromManyThreads) {
    MetricsRegistry registry;
    auto& counters = registry.counter("m_total", "M.", {"l"});
    auto& histogram = registry.histogram("h", "H.", {1}).with();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 1000; ++i) {
                counters.with({std::to_string(i % 7)}).add();
                histogram.observe(t);
                if (i % 100 == 0) static_cast<void>(registry.text());
            }
        });
    }
    for (auto& thread : threads) thread.join();
    double sum = 0;
    for (int i = 0; i < 7; ++i) sum += counters.with({std::to_string(i)}).value();
    EXPECT_EQ(sum, 4000);
    EXPECT_THAT(registry.text(), HasSubstr("h_bucket{le=\"1\"} 2000\nh_bucket{le=\"+Inf\"} 4000\nh_sum 6000\n"));
}

TEST(Metrics, HasWhatTheAgentCounts) {
    Metrics metrics("nftables");
    metrics.of(net::Family::kIpv4).sync_success.add();
    metrics.of(net::Family::kIpv4).sync_duration.observe(0.002);
    metrics.of(net::Family::kIpv6).sync_error.add();
    metrics.of(net::Family::kIpv6).drift_alarm.set(1);
    metrics.transactions().add(7);
    const auto response = metrics.metrics();
    EXPECT_EQ(response.status, 200U);
    EXPECT_EQ(response.headers[0].second, "text/plain; version=0.0.4; charset=utf-8");
    for (const char* line : {
             "ghostip_sync_total{ip_family=\"IPv4\",result=\"success\"} 1\n",
             "ghostip_sync_total{ip_family=\"IPv4\",result=\"error\"} 0\n",
             "ghostip_sync_total{ip_family=\"IPv6\",result=\"error\"} 1\n",
             "ghostip_sync_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.0016\"} 0\n",
             "ghostip_sync_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.0064\"} 1\n",
             "ghostip_sync_duration_seconds_count{ip_family=\"IPv4\"} 1\n",
             "\nghostip_transactions_total 7\n",
             "ghostip_foreign_writes_total{ip_family=\"IPv6\"} 0\n",
             "ghostip_repairs_total{ip_family=\"IPv4\"} 0\n",
             "ghostip_drift_alarm{ip_family=\"IPv4\"} 0\n",
             "ghostip_drift_alarm{ip_family=\"IPv6\"} 1\n",
             "ghostip_objects_set_aside{ip_family=\"IPv4\"} 0\n",
             "ghostip_stale_flows_removed_total{ip_family=\"IPv4\"} 0\n",
             "ghostip_service_ports{ip_family=\"IPv6\"} 0\n",
             "# TYPE process_resident_memory_bytes gauge\n",
             "# TYPE process_cpu_seconds_total counter\n",
         })
        EXPECT_THAT(response.body, HasSubstr(line));
}

}  // namespace
}  // namespace ghostip::agent
