// The loop's dealings with one family, on a dataplane that does what the test says.
#include "agent/proxier.h"

#include <atomic>
#include <cerrno>
#include <map>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/metrics_text_testing.h"
#include "base/net_socket.h"
#include "http/client_testing.h"
#include "kernel/conntrack/memory.h"
#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using namespace plan::testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Time = Proxier::Time;

constexpr Time kStart = Time{} + 24h;

// Notes what it is asked for; fails where it is told to.
class ScriptedDataplane final : public dataplane::Dataplane {
  public:
    Result<dataplane::Outcome> reconcile(const plan::Plan& /*plan*/) override { return answer("reconcile"); }
    Result<dataplane::Outcome> apply(const plan::Delta& /*delta*/) override { return answer("apply"); }
    Result<dataplane::Outcome> repair(const plan::Plan& /*plan*/,
                                      std::span<const dataplane::ForeignWrite> writes) override {
        return answer(fmt::format("repair {}", writes.size()));
    }
    Result<dataplane::Outcome> check(const plan::Plan& /*plan*/, const Sight& /*sight*/) override {
        return answer("check");
    }
    [[nodiscard]] std::vector<dataplane::SetAside> set_aside() const override { return aside; }
    [[nodiscard]] CountReader count_reader() const override {
        if (!can_count) return nullptr;
        return [this] { return counts; };
    }

    std::vector<std::string> take() { return std::exchange(asked, {}); }

    std::vector<std::string> asked;
    std::vector<dataplane::SetAside> aside;
    int failures = 0;  // so many calls are going to fail
    int failure = ENOBUFS;
    dataplane::Outcome outcome;
    bool can_count = false;
    dataplane::DestinationCounts counts;

  private:
    Result<dataplane::Outcome> answer(std::string what) {
        asked.push_back(std::move(what));
        if (failures > 0) {
            --failures;
            return errno_error(failure, "scripted");
        }
        return outcome;
    }
};

struct Scene {
    explicit Scene(const std::function<void(ScriptedDataplane&)>& prepare = nullptr) {
        auto owned = std::make_unique<ScriptedDataplane>();
        dataplane = owned.get();
        if (prepare) prepare(*dataplane);
        auto flows = std::make_unique<kernel::conntrack::MemoryConntrack>();
        conntrack = flows.get();
        ProxierConfig config;
        config.full_check_interval = 1h;
        config.wall_clock = [this] { return std::chrono::system_clock::time_point(wall); };
        Proxier::Answers answers;
        answers.sight = [this](net::Family, Result<Proxier::Sight> sight) {
            const std::lock_guard lock(mutex);
            sights.push_back(std::move(sight));
            changed.notify_all();
        };
        answers.failed = [this](net::Family, Error error) {
            const std::lock_guard lock(mutex);
            failed.push_back(std::move(error));
            changed.notify_all();
        };
        proxier = std::make_unique<Proxier>(net::Family::kIpv4, config,
                                            std::make_unique<plan::Planner>(net::Family::kIpv4, node_settings(),
                                                                            plan::nftables_profile(), host_facts()),
                                            std::move(owned), std::make_unique<FlowCleaner>(std::move(flows)),
                                            Proxier::Listeners{metrics, health, ports}, background, std::move(answers));
    }
    ~Scene() { background.stop(); }

    [[nodiscard]] Result<void> sync(const std::vector<api::Change>& changes, Time now) {
        return proxier->sync(changes, nullptr, now);
    }
    template <typename Ready>
    [[nodiscard]] bool wait_for(Ready ready) {
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, 10s, ready);
    }
    void after(std::chrono::nanoseconds time) { passed = passed.load() + time; }
    [[nodiscard]] Metrics::OfFamily& counts() { return metrics.of(net::Family::kIpv4); }

    std::atomic<std::chrono::nanoseconds> passed{0ns};  // for health
    std::chrono::seconds wall{1000};                    // since 1970
    Metrics metrics{"nftables"};
    Health health{{5s, NodeObject::kOptional}, [this] {
                      return Moment{std::chrono::steady_clock::time_point(passed.load()), {}};
                  }};
    std::size_t listen_failures = 0;
    HealthCheckPorts ports{health, [this](const auto&, std::uint16_t, const Error&) { ++listen_failures; }};
    Background background;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Result<Proxier::Sight>> sights;  // guarded by mutex
    std::vector<Error> failed;                   // guarded by mutex
    ScriptedDataplane* dataplane = nullptr;
    kernel::conntrack::MemoryConntrack* conntrack = nullptr;
    std::unique_ptr<Proxier> proxier;
};

api::Service web(std::uint16_t port = 80) {
    return plan::testing::service("web", "172.30.0.41", {service_port("p", port)});
}

dataplane::ForeignWrite foreign() { return {net::Family::kIpv4, 7, "nft", "1 element deleted", nullptr}; }

TEST(Proxier, ReconcilesFirstThenAppliesDeltas) {
    Scene scene;
    EXPECT_FALSE(scene.proxier->in_sync());
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    EXPECT_TRUE(scene.proxier->in_sync());
    ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 1s));
    ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 2s)) << "nothing changes";
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "apply"));
    EXPECT_EQ(scene.counts().service_ports.value(), 1);
    EXPECT_EQ(scene.counts().sync_success.value(), 2);
}

// Who owns a destination is known to who counts as soon as it is planned, and a mode that does not count costs nothing.
TEST(Proxier, CountsServicesWhereTheDataplaneDoes) {
    for (const bool counts : {true, false}) {
        Scene scene([&](ScriptedDataplane& dataplane) {
            if (counts) dataplane.counts.counts = {{{false, ip("172.30.0.41"), net::Protocol::kTcp, 80}, 3, 300}};
            dataplane.can_count = counts;
        });
        ASSERT_TRUE(scene.sync({put(web())}, kStart));
        const auto page = scene.metrics.metrics().body;
        EXPECT_EQ(page.find("ghostip_service_packets_total{namespace=\"ns\",service=\"web\",port_name=\"p\","
                            "protocol=\"TCP\",ip_family=\"IPv4\"} 3\n") != std::string::npos,
                  counts);
        EXPECT_EQ(page.find("ghostip_service_bytes_total") != std::string::npos, counts);
        ASSERT_TRUE(scene.sync({gone(web())}, kStart + 1s));
        EXPECT_EQ(scene.metrics.metrics().body.find("ghostip_service_packets"), std::string::npos);
    }
}

// After a failure everything is looked at again, once the pause is over; changes meanwhile wait for that.
TEST(Proxier, AFailureMeansAReconcileLater) {
    Scene scene;
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    scene.dataplane->failures = 2;
    EXPECT_FALSE(scene.sync({put(web(81))}, kStart + 1s));
    EXPECT_FALSE(scene.proxier->in_sync());
    ASSERT_TRUE(scene.sync({put(web(82))}, kStart + 1s + 10ms));
    EXPECT_EQ(scene.proxier->due(), kStart + 2s);
    scene.proxier->tick(kStart + 1s + 999ms);
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "apply")) << "nothing before the pause is over";
    scene.proxier->tick(kStart + 2s);
    EXPECT_FALSE(scene.proxier->in_sync()) << "it failed again";
    EXPECT_EQ(scene.proxier->due(), kStart + 4s) << "the pause doubles";
    scene.proxier->tick(kStart + 4s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "reconcile"));
    EXPECT_EQ(scene.counts().sync_error.value(), 2);
    ASSERT_TRUE(scene.sync({put(web(83))}, kStart + 5s));
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("apply"));
    // A failure that lasts is not asked for every second.
    scene.dataplane->failures = 1000;
    Time now = kStart + 10s;
    EXPECT_FALSE(scene.sync({put(web(84))}, now));
    for (; now < kStart + 10min; now += 100ms) scene.proxier->tick(now);
    EXPECT_LT(scene.dataplane->take().size(), 20U);
    scene.dataplane->failures = 0;
    scene.proxier->tick(now + 1min);
    EXPECT_TRUE(scene.proxier->in_sync());
}

TEST(Proxier, AFirstSyncThatFailsIsTriedAgain) {
    Scene scene;
    scene.dataplane->failures = 2;
    EXPECT_FALSE(scene.sync({put(web())}, kStart));
    scene.proxier->tick(kStart + 1s);
    EXPECT_FALSE(scene.proxier->in_sync());
    scene.proxier->tick(kStart + 3s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "reconcile", "reconcile"));
    EXPECT_EQ(scene.proxier->due(), kStart + 1h + 3s);
}

// The kernel does not hold what was written: nothing to wait for.
TEST(Proxier, AMismatchMeansAReconcileAtOnce) {
    for (const int code : {ENOENT, EEXIST}) {
        Scene scene;
        ASSERT_TRUE(scene.sync({put(web())}, kStart));
        scene.dataplane->failures = 1;
        scene.dataplane->failure = code;
        ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 1s));
        EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "apply", "reconcile"));
        EXPECT_TRUE(scene.proxier->in_sync());
    }
}

// UDP flows are removed when the rules that go with it are in place, and not before.
TEST(Proxier, StaleFlowsGoAfterTheRulesCame) {
    Scene scene;
    auto dns = plan::testing::service("dns", "172.30.0.42", {service_port("p", 53, net::Protocol::kUdp)});
    const auto endpoints = [](const std::string& address) {
        return slice("dns", "dns", {slice_port("p", 53, net::Protocol::kUdp)}, {{address, "r", "other"}});
    };
    const auto flow = [](const std::string& answerer) {
        const kernel::conntrack::End client{ip("10.180.0.9"), 4000};
        const kernel::conntrack::End answer{ip(answerer), 53};
        return kernel::conntrack::Entry{{client, {ip("172.30.0.42"), 53}}, {answer, client}, {}, 0};
    };
    scene.conntrack->add(flow("10.180.0.1"));
    scene.conntrack->add(flow("10.180.0.7"));  // left while nobody watched
    ASSERT_TRUE(scene.sync({put(dns), put(endpoints("10.180.0.1"))}, kStart));
    scene.proxier->finish();
    ASSERT_EQ(scene.conntrack->entries().size(), 1U) << "what is right stays, also at a start";
    EXPECT_EQ(scene.conntrack->entries()[0].reply.source.address, ip("10.180.0.1"));
    scene.dataplane->failures = 1;
    EXPECT_FALSE(scene.sync({put(endpoints("10.180.0.2"))}, kStart + 1s));
    scene.proxier->finish();
    EXPECT_EQ(scene.conntrack->entries().size(), 1U) << "the old rules still stand";
    // A client that is stuck to the endpoint would make its flow anew: it must be forgotten first.
    std::size_t flows_before = 0;
    scene.dataplane->outcome.later = {[&]() -> Result<void> {
        flows_before = scene.conntrack->entries().size();
        return {};
    }};
    scene.proxier->tick(kStart + 2s);
    scene.proxier->finish();
    EXPECT_EQ(flows_before, 1U);
    EXPECT_EQ(scene.conntrack->entries().size(), 0U);
    scene.proxier->tick(kStart + 3s);
    EXPECT_EQ(scene.counts().stale_flows_removed.value(), 2);
}

TEST(Proxier, RepairsWhatOthersWrote) {
    Scene scene;
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile"));
    scene.proxier->wrote(foreign(), kStart + 1s);
    scene.proxier->wrote(foreign(), kStart + 1s + 5ms);
    const Time due = scene.proxier->due();
    EXPECT_LE(due, kStart + 1s + 100ms);
    scene.proxier->tick(due);
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("repair 2")) << "a burst is one repair";
    EXPECT_EQ(scene.counts().foreign_writes.value(), 2);
    EXPECT_EQ(scene.counts().repairs.value(), 1);
    // A repair that fails ends in a reconcile.
    scene.proxier->wrote(foreign(), kStart + 5s);
    scene.dataplane->failures = 1;
    scene.proxier->tick(kStart + 6s);
    EXPECT_FALSE(scene.proxier->in_sync());
    scene.proxier->tick(kStart + 7s);
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("repair 1", "reconcile"));
    EXPECT_TRUE(scene.proxier->in_sync());
    // Somebody who does not stop.
    Time now = kStart + 10s;
    for (int i = 0; i < 100; ++i) {
        scene.proxier->wrote(foreign(), now);
        now += 50ms;
        scene.proxier->tick(now);
    }
    EXPECT_LT(scene.dataplane->take().size(), 12U);
    EXPECT_EQ(scene.counts().drift_alarm.value(), 1);
    scene.proxier->tick(now + 1h);
    scene.proxier->tick(now + 2h);
    EXPECT_EQ(scene.counts().drift_alarm.value(), 0);
}

TEST(Proxier, LooksAtEverythingFromTimeToTime) {
    Scene scene;
    EXPECT_EQ(scene.proxier->due(), Time::min()) << "the first sync";
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    EXPECT_EQ(scene.proxier->due(), kStart + 1h);
    scene.proxier->tick(kStart + 1h);
    ASSERT_TRUE(scene.wait_for([&] { return scene.sights.size() == 1; }));
    EXPECT_EQ(scene.proxier->due(), Time::max()) << "one look at a time";
    scene.dataplane->outcome.differences = 3;
    scene.proxier->take_sight(scene.sights[0], kStart + 1h + 1s);
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "check"));
    EXPECT_EQ(scene.proxier->due(), kStart + 2h + 1s);
    // Nobody tells of foreign writes any more: more often.
    scene.proxier->blind(kStart + 1h + 2s);
    EXPECT_EQ(scene.proxier->due(), kStart + 1h + 1min + 2s);
    // A look that fails is made again.
    scene.proxier->take_sight(errno_error(ENOMEM, "scripted"), kStart + 1h + 2min);
    EXPECT_EQ(scene.proxier->due(), kStart + 1h + 3min);
    EXPECT_THAT(scene.dataplane->take(), IsEmpty());
}

TEST(Proxier, SlowWorkThatFailsMeansAReconcile) {
    Scene scene;
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    scene.dataplane->outcome.later = {[]() -> Result<void> { return {}; },
                                      []() -> Result<void> { return errno_error(EPERM, "slow"); }};
    ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 1s));
    ASSERT_TRUE(scene.wait_for([&] { return !scene.failed.empty(); }));
    scene.proxier->slow_work_failed(scene.failed[0], kStart + 2s);
    scene.dataplane->outcome.later.clear();
    scene.proxier->tick(kStart + 3s);
    EXPECT_THAT(scene.dataplane->take(), ElementsAre("reconcile", "apply", "reconcile"));
}

TEST(Proxier, CountsWhatIsSetAside) {
    Scene scene;
    scene.dataplane->aside = {{"default/web:p", "refused"}};
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    EXPECT_EQ(scene.counts().objects_set_aside.value(), 1);
    scene.dataplane->aside.clear();
    ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 1s));
    EXPECT_EQ(scene.counts().objects_set_aside.value(), 0);
}

// Health, seen from outside, over what may happen to a sync. Twice the sync period are ten seconds here.
TEST(Proxier, TellsHowItIs) {
    Scene scene;
    const auto healthy = [&] { return scene.health.healthy(); };
    scene.passed = 1h;
    EXPECT_TRUE(healthy()) << "nothing came yet: an API server that is away is not our failure";
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    scene.after(1h);
    EXPECT_TRUE(healthy()) << "all that came is in the kernel";
    scene.dataplane->failures = 1000;
    EXPECT_FALSE(scene.sync({put(web(81))}, kStart + 1s));
    scene.after(9s);
    ASSERT_TRUE(scene.sync({put(web(82))}, kStart + 1s + 1ms)) << "it waits";
    EXPECT_TRUE(healthy()) << "not for long enough";
    scene.after(1s);
    EXPECT_FALSE(healthy()) << "the oldest change counts";
    scene.dataplane->failures = 0;
    scene.proxier->tick(kStart + 1min);
    EXPECT_TRUE(healthy());
    // A change that changes nothing here leaves nothing behind.
    ASSERT_TRUE(scene.sync({put(web(82))}, kStart + 2min));
    scene.after(1h);
    EXPECT_TRUE(healthy());
    // Nor does a repair; one that fails does.
    scene.proxier->wrote(foreign(), kStart + 3min);
    scene.proxier->tick(kStart + 4min);
    scene.after(1h);
    EXPECT_TRUE(healthy());
    scene.dataplane->failures = 1000;
    scene.proxier->wrote(foreign(), kStart + 5min);
    scene.proxier->tick(kStart + 6min);
    scene.after(10s);
    EXPECT_FALSE(healthy());
}

double sample(Metrics& metrics, const std::string& name, const std::map<std::string, std::string>& labels = {}) {
    const auto read = testing::parse_metrics(metrics.metrics().body);
    EXPECT_THAT(read.complaints, IsEmpty());
    for (const auto& [metric, content] : read.metrics)
        for (const auto& found : content.samples)
            if (found.name == name && found.labels == labels) return found.value;
    return -1;
}

TEST(Proxier, CountsAsKubeProxyDoes) {
    Scene scene;
    const std::map<std::string, std::string> four{{"ip_family", "IPv4"}};
    const auto count = [&](const std::string& name, const std::map<std::string, std::string>& labels = {}) {
        return sample(scene.metrics, "kubeproxy_" + name, labels);
    };
    EXPECT_EQ(count("sync_proxy_rules_last_timestamp_seconds", four), -1);
    ASSERT_TRUE(scene.sync({put(web()), put(slice("s", "web", {slice_port("p", 80)}, {{"10.0.0.1", "r", "other"}})),
                            put(slice("six", "web", {slice_port("p", 80)}, {{"fd00::1"}}))},
                           kStart));
    ASSERT_TRUE(scene.sync({put(web(81))}, kStart + 1s));
    EXPECT_EQ(count("sync_full_proxy_rules_duration_seconds_count", four), 1);
    EXPECT_EQ(count("sync_partial_proxy_rules_duration_seconds_count", four), 1);
    EXPECT_EQ(count("sync_proxy_rules_duration_seconds_count", four), 2);
    EXPECT_EQ(count("sync_proxy_rules_last_timestamp_seconds", four), 1000);
    EXPECT_EQ(count("sync_proxy_rules_service_changes_total"), 2);
    EXPECT_EQ(count("sync_proxy_rules_endpoint_changes_total"), 1) << "slices of the other family are not ours";
    EXPECT_EQ(count("sync_proxy_rules_service_changes_pending"), 0);
    scene.dataplane->failures = 1;
    scene.wall = 2000s;
    EXPECT_FALSE(scene.sync({put(web(82)), gone(slice("s", "web", {}, {}))}, kStart + 2s));
    EXPECT_EQ(count("sync_proxy_rules_nftables_sync_failures_total", four), 1);
    EXPECT_EQ(count("sync_proxy_rules_service_changes_pending"), 1);
    EXPECT_EQ(count("sync_proxy_rules_endpoint_changes_pending"), 1);
    EXPECT_EQ(count("sync_proxy_rules_last_queued_timestamp_seconds", four), 2000);
    EXPECT_EQ(count("sync_proxy_rules_last_timestamp_seconds", four), 1000) << "of the last success";
    scene.proxier->tick(kStart + 1min);
    EXPECT_EQ(count("sync_proxy_rules_service_changes_pending"), 0);
    EXPECT_EQ(count("sync_proxy_rules_endpoint_changes_pending"), 0);
    EXPECT_EQ(count("sync_full_proxy_rules_duration_seconds_count", four), 2);
    // What changes nothing asks for no sync: the time of the last request must not run away from that of the last one.
    scene.wall = 9000s;
    ASSERT_TRUE(scene.sync({put(web(82))}, kStart + 2min));
    EXPECT_EQ(count("sync_proxy_rules_last_queued_timestamp_seconds", four), 2000);

    auto local = web(83);
    local.internal_traffic_policy = api::TrafficPolicy::kLocal;
    ASSERT_TRUE(scene.sync({put(local), put(slice("s", "web", {slice_port("p", 80)}, {{"10.0.0.1", "r", "other"}}))},
                           kStart + 3min));
    EXPECT_EQ(
        count("sync_proxy_rules_no_local_endpoints_total", {{"ip_family", "IPv4"}, {"traffic_policy", "internal"}}), 1);
    scene.proxier->slow_work_failed(Error{"scripted"}, kStart + 4min);
    EXPECT_EQ(count("sync_proxy_rules_nftables_cleanup_failures_total", four), 1);
    EXPECT_EQ(scene.counts().endpoints.value(), 0) << "a local policy has no use for those of others";
    EXPECT_EQ(scene.counts().destinations.value(), 1);
}

TEST(Proxier, TimesTransactions) {
    Scene scene;
    scene.dataplane->outcome.transactions = 2;
    scene.dataplane->outcome.transaction_times = {1ms, 3ms};
    ASSERT_TRUE(scene.sync({put(web())}, kStart));
    EXPECT_EQ(scene.counts().transaction_duration.cumulative(99), 2U);
    EXPECT_NEAR(scene.counts().transaction_duration.sum(), 0.004, 1e-9);
}

// Case by case: what is observed of the times that the cluster notes on slices. The process started at 1000 s.
TEST(Proxier, ProgrammingLatency) {
    Scene scene;
    const auto endpoints = [](const std::string& name, const std::string& address,
                              std::optional<std::chrono::seconds> noted) {
        auto object = slice(name, "web", {slice_port("p", 80)}, {{address, "r", "other"}});
        if (noted) object.last_change_trigger_time = std::chrono::system_clock::time_point(*noted);
        return put(object);
    };
    const auto observed = [&] {
        return std::max(0.0, sample(scene.metrics, "kubeproxy_network_programming_duration_seconds_count",
                                    {{"ip_family", "IPv4"}}));
    };
    Time now = kStart;
    struct Step {
        const char* what;
        std::vector<api::Change> changes;
        int failures;
        double observed;  // in all
    };
    const std::vector<Step> steps{
        {"older than the process", {put(web()), endpoints("a", "10.0.0.1", 999s)}, 0, 0},
        {"at its start", {endpoints("a", "10.0.0.2", 1000s)}, 0, 0},
        {"later", {endpoints("a", "10.0.0.3", 1001s)}, 0, 1},
        {"not noted", {endpoints("a", "10.0.0.4", std::nullopt)}, 0, 1},
        {"nothing changes", {endpoints("a", "10.0.0.4", 1002s)}, 0, 1},
        {"two slices", {endpoints("a", "10.0.0.5", 1003s), endpoints("b", "10.0.0.6", 1003s)}, 0, 3},
        {"a sync that fails", {endpoints("a", "10.0.0.7", 1004s)}, 1, 3},
        {"loses its time", {}, 0, 3},
        {"a slice that goes", {gone(slice("b", "web", {}, {}))}, 0, 3},
    };
    scene.wall = 1010s;
    for (const auto& step : steps) {
        now += 10s;
        scene.dataplane->failures = step.failures;
        EXPECT_EQ(scene.sync(step.changes, now).has_value(), step.failures == 0) << step.what;
        EXPECT_EQ(observed(), step.observed) << step.what;
    }
    EXPECT_EQ(sample(scene.metrics, "kubeproxy_network_programming_duration_seconds_sum", {{"ip_family", "IPv4"}}),
              9 + 7 + 7);
    // While a failed sync waits for its next try, times gather; a slice that goes takes them along.
    scene.dataplane->failures = 1;
    now += 10s;
    EXPECT_FALSE(scene.sync({put(web(81))}, now));
    ASSERT_TRUE(scene.sync({endpoints("a", "10.0.0.8", 1005s), endpoints("c", "10.0.0.9", 1005s)}, now + 1ms));
    ASSERT_TRUE(scene.sync({gone(slice("c", "web", {}, {}))}, now + 2ms));
    scene.proxier->tick(now + 1min);
    EXPECT_EQ(observed(), 3);
}

// Ports open when the kernel has the rules, and follow what it has.
TEST(Proxier, ServesHealthCheckPorts) {
    Scene scene;
    auto object = web();
    object.type = api::ServiceType::kLoadBalancer;
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    object.health_check_node_port = std::move(listen_tcp("127.0.0.1", 0)).value().port;
    scene.dataplane->failures = 1;
    EXPECT_FALSE(scene.sync({put(object)}, kStart));
    EXPECT_EQ(scene.listen_failures, 0U) << "not tried before the kernel has the rules";
    scene.proxier->tick(kStart + 10s);
    EXPECT_EQ(scene.listen_failures, 1U) << "the address of the test's node is nobody's here";
    plan::Delta loopback;
    loopback.node_rules.emplace();
    loopback.node_rules->after.node_ports.addresses = ips({"127.0.0.1"});
    scene.ports.take(net::Family::kIpv4, loopback);
    ASSERT_TRUE(
        scene.sync({put(plan::testing::service("other", "172.30.0.42", {service_port("p", 80)}))}, kStart + 20s));
    EXPECT_EQ(scene.counts().health_check_ports.value(), 1);
    using http::testing::ask;
    EXPECT_EQ(ask(object.health_check_node_port, "GET /").status, 503);
    ASSERT_TRUE(
        scene.sync({put(slice("s", "web", {slice_port("p", 80)}, {{"10.0.0.1", "r", "test-node"}}))}, kStart + 30s));
    EXPECT_EQ(ask(object.health_check_node_port, "GET /").status, 200);
    ASSERT_TRUE(scene.sync({gone(object)}, kStart + 40s));
    EXPECT_EQ(ask(object.health_check_node_port, "GET /").status, 0);
}

}  // namespace
}  // namespace ghostip::agent
