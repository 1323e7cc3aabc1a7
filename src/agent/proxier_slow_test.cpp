// The loop's dealings with one family where a call of the dataplane lasts: what gathers meanwhile, and when what was
// promised of a change is done.
#include <cerrno>
#include <optional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/proxier.h"
#include "agent/slow_dataplane_testing.h"
#include "base/net_socket.h"
#include "http/client_testing.h"
#include "kernel/conntrack/memory.h"
#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using namespace plan::testing;
using ::testing::ElementsAre;
using Time = Proxier::Time;

constexpr Time kStart = Time{} + 24h;

struct Scene {
    explicit Scene(std::chrono::milliseconds min_sync_period = 0ms) {
        auto flows = std::make_unique<kernel::conntrack::MemoryConntrack>();
        conntrack = flows.get();
        ProxierConfig config;
        config.calls = dataplane::Calls::kRunPrograms;
        config.min_sync_period = min_sync_period;
        config.wall_clock = [this] { return std::chrono::system_clock::time_point(wall); };
        Proxier::Answers answers;
        answers.sight = [](net::Family, const Result<Proxier::Sight>&) {};
        answers.failed = [](net::Family, const Error&) {};
        answers.call = [this] {
            const std::lock_guard lock(mutex);
            ++answers_there;
            changed.notify_all();
        };
        proxier = std::make_unique<Proxier>(net::Family::kIpv4, config,
                                            std::make_unique<plan::Planner>(net::Family::kIpv4, node_settings(),
                                                                            plan::nftables_profile(), host_facts()),
                                            std::make_unique<testing::SlowDataplane>(gate),
                                            std::make_unique<FlowCleaner>(std::move(flows)),
                                            Proxier::Listeners{metrics, health, ports}, background, std::move(answers));
    }
    ~Scene() {
        gate.stay_open();
        background.stop();
    }

    void sync(const std::vector<api::Change>& changes, Time now) {
        EXPECT_TRUE(proxier->sync(changes, nullptr, now)) << "nothing has failed yet";
    }
    // Ends the call that is under way, as the loop notices it.
    void end_call(Time now, Result<dataplane::Outcome> result = dataplane::Outcome()) {
        gate.end_call(std::move(result));
        {
            std::unique_lock lock(mutex);
            ASSERT_TRUE(changed.wait_for(lock, 10s, [this] { return answers_there > answers_taken; }));
            ++answers_taken;
        }
        proxier->take_answer(now);
        proxier->tick(now);
    }
    // The first sync, of these objects.
    void start(const std::vector<api::Change>& objects) {
        sync(objects, kStart);
        end_call(kStart);
        ASSERT_TRUE(proxier->in_sync());
    }
    // The calls that began since this was last asked, when there are so many.
    std::vector<std::string> calls(std::size_t count) {
        EXPECT_TRUE(gate.wait_begun(told + count));
        auto all = gate.begun();
        all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::exchange(told, all.size())));
        return all;
    }
    void after(std::chrono::nanoseconds time) { passed = passed.load() + time; }
    [[nodiscard]] Metrics::OfFamily& counts() { return metrics.of(net::Family::kIpv4); }

    testing::Gate gate;
    std::atomic<std::chrono::nanoseconds> passed{0ns};  // for health
    std::chrono::milliseconds wall{1000000};            // since 1970
    Metrics metrics{"nftables"};
    Health health{{5s, NodeObject::kOptional}, [this] {
                      return Moment{std::chrono::steady_clock::time_point(passed.load()), {}};
                  }};
    HealthCheckPorts ports{health, [](const auto&, std::uint16_t, const Error&) {}};
    Background background;
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t answers_there = 0;  // guarded by mutex
    std::size_t answers_taken = 0;  // guarded by mutex
    std::size_t told = 0;
    kernel::conntrack::MemoryConntrack* conntrack = nullptr;
    std::unique_ptr<Proxier> proxier;
};

api::Service service(std::string name, std::uint16_t port) {
    const auto last = std::to_string(40 + name.size());
    return plan::testing::service(std::move(name), "172.30.0." + last, {service_port("p", port)});
}
dataplane::ForeignWrite foreign() { return {net::Family::kIpv4, 7, "iptables", "chain gone", nullptr}; }
Error scripted(int code = EAGAIN) { return errno_error(code, "scripted"); }

TEST(SlowProxier, TheLoopGoesOn) {
    Scene scene;
    EXPECT_EQ(scene.proxier->due(), Time::min());
    scene.sync({put(service("web", 80))}, kStart);
    EXPECT_EQ(scene.proxier->due(), Time::max()) << "the end of the call wakes the loop";
    EXPECT_FALSE(scene.proxier->in_sync());
    EXPECT_FALSE(scene.proxier->tried());
    scene.proxier->take_answer(kStart + 1s);
    scene.proxier->tick(kStart + 1s);
    EXPECT_FALSE(scene.proxier->in_sync());
    scene.end_call(kStart + 2s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_TRUE(scene.proxier->started());
    EXPECT_EQ(scene.proxier->due(), kStart + 1min + 2s) << "the next look at everything";
    EXPECT_THAT(scene.calls(1), ElementsAre("reconcile ns/web:p=80"));
}

// What comes while a call is under way is one call when it is over.
TEST(SlowProxier, ChangesGather) {
    Scene scene;
    scene.sync({put(service("web", 80))}, kStart);
    scene.sync({put(service("web", 81)), put(service("other", 90))}, kStart + 1s);
    scene.sync({put(service("web", 82))}, kStart + 2s);
    scene.sync({gone(service("other", 90))}, kStart + 3s);
    EXPECT_THAT(scene.calls(1), ElementsAre("reconcile ns/web:p=80")) << "what there was when it began";
    scene.end_call(kStart + 4s);
    EXPECT_TRUE(scene.proxier->started()) << "all that existed at the start is in the kernel";
    EXPECT_FALSE(scene.proxier->in_sync()) << "what came meanwhile is not";
    EXPECT_THAT(scene.calls(1), ElementsAre("apply ns/web:p:80>82")) << "what came and went is not in it";
    scene.end_call(kStart + 5s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_EQ(scene.counts().sync_success.value(), 2);
}

TEST(SlowProxier, WhatIsUndoneBeforeItsTurnAsksForNoCall) {
    Scene scene;
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    scene.sync({put(service("web", 82))}, kStart + 2s);
    scene.sync({put(service("web", 81))}, kStart + 3s);
    scene.end_call(kStart + 4s);
    EXPECT_TRUE(scene.proxier->in_sync());
    scene.after(1h);
    EXPECT_TRUE(scene.health.healthy()) << "nothing waits";
    // The same while the pause between two calls lasts.
    scene.proxier->hold(kStart + 1min);
    scene.sync({put(service("web", 83))}, kStart + 5s);
    EXPECT_FALSE(scene.proxier->in_sync());
    EXPECT_EQ(scene.proxier->due(), kStart + 1min);
    scene.sync({put(service("web", 81))}, kStart + 6s);
    EXPECT_TRUE(scene.proxier->in_sync());
    scene.after(1h);
    EXPECT_TRUE(scene.health.healthy());
    EXPECT_THAT(scene.calls(2), ElementsAre("reconcile ns/web:p=80", "apply ns/web:p:80>81"));
}

// After a failure everything is looked at again, with all that came meanwhile, and not before the pause is over.
TEST(SlowProxier, AReconcileSwallowsWhatWaits) {
    Scene scene;
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    scene.sync({put(service("web", 82))}, kStart + 2s);
    scene.end_call(kStart + 3s, scripted());
    EXPECT_FALSE(scene.proxier->in_sync());
    ASSERT_TRUE(scene.proxier->failure());
    EXPECT_EQ(scene.proxier->due(), kStart + 4s);
    scene.sync({put(service("other", 90))}, kStart + 3s + 10ms);
    scene.proxier->tick(kStart + 3s + 999ms);
    EXPECT_THAT(scene.calls(2), ElementsAre("reconcile ns/web:p=80", "apply ns/web:p:80>81"));
    scene.proxier->tick(kStart + 4s);
    EXPECT_THAT(scene.calls(1), ElementsAre("reconcile ns/other:p=90 ns/web:p=82"));
    scene.sync({put(service("web", 83))}, kStart + 5s);
    scene.end_call(kStart + 6s);
    EXPECT_FALSE(scene.proxier->failure());
    EXPECT_THAT(scene.calls(1), ElementsAre("apply ns/web:p:82>83"));
    scene.end_call(kStart + 7s);
    EXPECT_TRUE(scene.proxier->in_sync());
    // A reconcile that fails takes what came during it along.
    scene.sync({put(service("web", 84))}, kStart + 10s);
    scene.end_call(kStart + 11s, scripted());
    scene.proxier->tick(kStart + 12s);
    scene.sync({put(service("web", 85))}, kStart + 13s);
    scene.end_call(kStart + 14s, scripted());
    EXPECT_EQ(scene.proxier->due(), kStart + 16s) << "the pause doubles";
    scene.proxier->tick(kStart + 16s);
    scene.end_call(kStart + 17s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_THAT(scene.calls(3), ElementsAre("apply ns/web:p:83>84", "reconcile ns/other:p=90 ns/web:p=84",
                                            "reconcile ns/other:p=90 ns/web:p=85"));
    EXPECT_EQ(scene.counts().sync_error.value(), 3);
}

TEST(SlowProxier, AMismatchMeansAReconcileAtOnce) {
    Scene scene;
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    scene.sync({put(service("web", 82))}, kStart + 2s);
    scene.end_call(kStart + 3s, scripted(ENOENT));
    EXPECT_THAT(scene.calls(3), ElementsAre("reconcile ns/web:p=80", "apply ns/web:p:80>81", "reconcile ns/web:p=82"));
    EXPECT_FALSE(scene.proxier->failure());
    scene.end_call(kStart + 4s);
    EXPECT_TRUE(scene.proxier->in_sync());
    EXPECT_EQ(scene.counts().sync_error.value(), 0);
}

// Of what programs write nobody may tell; where somebody does, looking is rare.
TEST(SlowProxier, HowOftenItLooksDependsOnWhoTells) {
    Scene scene;
    scene.start({put(service("web", 80))});
    EXPECT_EQ(scene.proxier->due(), kStart + 1min);
    scene.proxier->sighted(kStart + 1s);
    EXPECT_EQ(scene.proxier->due(), kStart + 1s + 1h);
    scene.proxier->blind(kStart + 2s);
    EXPECT_EQ(scene.proxier->due(), kStart + 2s + 1min);
}

// A stream of changes does not keep anybody from repairing; a repair knows what was applied, and what was not.
TEST(SlowProxier, RepairsComeBeforeChanges) {
    Scene scene;
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    scene.sync({put(service("web", 82))}, kStart + 2s);
    scene.proxier->wrote(foreign(), kStart + 2s);
    scene.proxier->tick(kStart + 3s);
    scene.end_call(kStart + 4s);
    EXPECT_THAT(scene.calls(3), ElementsAre("reconcile ns/web:p=80", "apply ns/web:p:80>81", "repair ns/web:p=81"));
    scene.sync({put(service("web", 83))}, kStart + 5s);
    EXPECT_FALSE(scene.proxier->in_sync());
    scene.end_call(kStart + 6s);
    EXPECT_THAT(scene.calls(1), ElementsAre("apply ns/web:p:81>83"));
    // What the hourly look saw waits for its turn, too.
    scene.proxier->take_sight(Proxier::Sight(), kStart + 6s);
    scene.end_call(kStart + 7s);
    EXPECT_THAT(scene.calls(1), ElementsAre("check ns/web:p=83"));
    scene.end_call(kStart + 8s);
    EXPECT_TRUE(scene.proxier->in_sync());
    // A repair that fails ends in a reconcile, which needs no check besides.
    scene.proxier->wrote(foreign(), kStart + 9s);
    scene.proxier->tick(kStart + 10s);
    scene.proxier->take_sight(Proxier::Sight(), kStart + 10s);
    scene.end_call(kStart + 11s, scripted());
    scene.proxier->tick(kStart + 12s);
    EXPECT_THAT(scene.calls(2), ElementsAre("repair ns/web:p=83", "reconcile ns/web:p=83"));
    scene.end_call(kStart + 13s);
    EXPECT_TRUE(scene.proxier->in_sync());
}

// Twice the sync period are ten seconds here.
TEST(SlowProxier, HealthIsThatOfTheOldestChangeThatIsNotInTheKernel) {
    Scene scene;
    const auto healthy = [&] { return scene.health.healthy(); };
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    scene.after(9s);
    scene.sync({put(service("web", 82))}, kStart + 10s);
    scene.after(1s);
    EXPECT_FALSE(healthy()) << "a call that does not end";
    scene.sync({put(service("web", 82))}, kStart + 11s);
    EXPECT_FALSE(healthy()) << "what changes nothing says nothing about it";
    scene.end_call(kStart + 11s);
    EXPECT_TRUE(healthy()) << "the second change has waited for a second";
    scene.after(9s);
    EXPECT_FALSE(healthy()) << "it waits since it came, not since its call began";
    scene.end_call(kStart + 20s);
    scene.after(1h);
    EXPECT_TRUE(healthy());
    // A repair says nothing of changes that wait behind it.
    scene.sync({put(service("web", 83))}, kStart + 2h);
    scene.proxier->wrote(foreign(), kStart + 2h);
    scene.end_call(kStart + 2h + 1s);
    scene.sync({put(service("web", 84))}, kStart + 2h + 1s);
    scene.after(9s);
    scene.end_call(kStart + 2h + 10s);
    EXPECT_TRUE(healthy());
    scene.after(1s);
    EXPECT_FALSE(healthy());
}

// Words about UDP flows wait for the call that brings their rules.
TEST(SlowProxier, StaleFlowsGoWithTheirOwnCall) {
    Scene scene;
    const auto dns = plan::testing::service("dns", "172.30.0.42", {service_port("p", 53, net::Protocol::kUdp)});
    const auto endpoints = [](const std::string& address) {
        return slice("dns", "dns", {slice_port("p", 53, net::Protocol::kUdp)}, {{address, "r", "other"}});
    };
    const auto flow = [](const std::string& answerer) {
        const kernel::conntrack::End client{ip("10.180.0.9"), static_cast<std::uint16_t>(4000 + answerer.back())};
        const kernel::conntrack::End answer{ip(answerer), 53};
        return kernel::conntrack::Entry{{client, {ip("172.30.0.42"), 53}}, {answer, client}, {}, 0};
    };
    const auto answerers = [&] {
        scene.proxier->finish();
        std::vector<std::string> texts;
        for (const auto& entry : scene.conntrack->entries()) texts.push_back(entry.reply.source.address.text());
        return texts;
    };
    scene.start({put(dns), put(endpoints("10.180.0.1"))});
    scene.proxier->finish();  // what was there at the start is looked for
    scene.conntrack->add(flow("10.180.0.1"));
    scene.sync({put(endpoints("10.180.0.2"))}, kStart + 1s);
    scene.conntrack->add(flow("10.180.0.2"));
    scene.sync({put(endpoints("10.180.0.3"))}, kStart + 2s);
    EXPECT_THAT(answerers(), ElementsAre("10.180.0.1", "10.180.0.2"));
    scene.end_call(kStart + 3s);
    EXPECT_THAT(answerers(), ElementsAre("10.180.0.2")) << "right by the rules that are in the kernel";
    scene.end_call(kStart + 4s, scripted());
    EXPECT_THAT(answerers(), ElementsAre("10.180.0.2")) << "these rules still stand";
    scene.sync({put(endpoints("10.180.0.4"))}, kStart + 4s + 1ms);
    scene.proxier->tick(kStart + 5s);
    scene.end_call(kStart + 6s);
    EXPECT_THAT(answerers(), ElementsAre());
}

TEST(SlowProxier, LatencyAndCountsAreThoseOfTheCall) {
    Scene scene;
    const auto endpoints = [](const std::string& address, std::chrono::seconds noted) {
        auto object = slice("s", "web", {slice_port("p", 80)}, {{address, "r", "other"}});
        object.last_change_trigger_time = std::chrono::system_clock::time_point(noted);
        return put(object);
    };
    const auto metrics = [&] { return scene.metrics.metrics().body; };
    using ::testing::HasSubstr;
    const std::string count = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} ";
    const std::string sum = "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} ";
    const std::string pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending ";
    scene.start({put(service("web", 80))});
    scene.sync({endpoints("10.0.0.1", 1001s)}, kStart + 1s);
    scene.sync({endpoints("10.0.0.2", 1002s)}, kStart + 2s);
    EXPECT_THAT(metrics(), HasSubstr(pending + "2\n"));
    scene.wall = 1010s;
    scene.end_call(kStart + 3s);
    EXPECT_THAT(metrics(), HasSubstr(count + "1\n"));
    EXPECT_THAT(metrics(), HasSubstr(sum + "9\n"));
    EXPECT_THAT(metrics(), HasSubstr(pending + "1\n"));
    scene.sync({endpoints("10.0.0.3", 1003s)}, kStart + 4s);
    scene.end_call(kStart + 5s, scripted());
    EXPECT_THAT(metrics(), HasSubstr(count + "1\n")) << "the time of a sync that fails is lost";
    EXPECT_THAT(metrics(), HasSubstr(pending + "2\n"));
    scene.proxier->tick(kStart + 6s);
    scene.end_call(kStart + 7s);
    EXPECT_THAT(metrics(), HasSubstr(count + "2\n")) << "not that of what came meanwhile";
    EXPECT_THAT(metrics(), HasSubstr(sum + "16\n"));
    EXPECT_THAT(metrics(), HasSubstr(pending + "0\n"));
}

// Ports open when the kernel has the rules of their own Service.
TEST(SlowProxier, HealthCheckPortsFollowTheirCall) {
    Scene scene;
    auto object = service("web", 80);
    object.type = api::ServiceType::kLoadBalancer;
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    object.health_check_node_port = std::move(listen_tcp("127.0.0.1", 0)).value().port;
    using http::testing::ask;
    const auto status = [&] { return ask(object.health_check_node_port, "GET /").status; };
    scene.start({put(service("other", 90))});
    plan::Delta loopback;
    loopback.node_rules.emplace();
    loopback.node_rules->after.node_ports.addresses = ips({"127.0.0.1"});
    scene.ports.take(net::Family::kIpv4, loopback);
    scene.sync({put(service("other", 91))}, kStart + 1s);
    scene.sync({put(object)}, kStart + 2s);
    scene.end_call(kStart + 3s);
    EXPECT_EQ(status(), 0) << "the call that is over did not bring it";
    scene.end_call(kStart + 4s, scripted());
    EXPECT_EQ(status(), 0);
    scene.proxier->tick(kStart + 5s);
    scene.end_call(kStart + 6s);
    EXPECT_EQ(status(), 503);
    scene.sync({gone(object)}, kStart + 7s);
    EXPECT_EQ(status(), 503) << "until the rules are gone";
    scene.end_call(kStart + 8s);
    EXPECT_EQ(status(), 0);
}

TEST(SlowProxier, PausesBetweenSyncsAreCountedFromTheirEnd) {
    Scene scene(10s);
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    EXPECT_EQ(scene.proxier->due(), kStart + 10s);
    scene.proxier->tick(kStart + 9s);
    EXPECT_THAT(scene.calls(1), ElementsAre("reconcile ns/web:p=80"));
    scene.proxier->tick(kStart + 10s);
    scene.end_call(kStart + 25s);
    scene.sync({put(service("web", 82))}, kStart + 26s);
    EXPECT_EQ(scene.proxier->due(), kStart + 35s);
    // A repair needs not wait for it.
    scene.proxier->wrote(foreign(), kStart + 27s);
    scene.proxier->tick(kStart + 28s);
    EXPECT_THAT(scene.calls(2), ElementsAre("apply ns/web:p:80>81", "repair ns/web:p=81"));
    scene.end_call(kStart + 29s);
    // Nor does a failure make it shorter.
    scene.proxier->tick(kStart + 35s);
    scene.end_call(kStart + 36s, scripted());
    EXPECT_EQ(scene.proxier->due(), kStart + 46s);
}

TEST(SlowProxier, EndsWithACallUnderWay) {
    Scene scene;
    scene.start({put(service("web", 80))});
    scene.sync({put(service("web", 81))}, kStart + 1s);
    ASSERT_TRUE(scene.gate.wait_begun(2));
    scene.sync({put(service("web", 82))}, kStart + 2s);
    std::thread ending([&] { scene.proxier.reset(); });
    scene.gate.end_call();
    ending.join();
    EXPECT_THAT(scene.calls(2), ElementsAre("reconcile ns/web:p=80", "apply ns/web:p:80>81"))
        << "what waits is not begun any more; the next start looks at everything";
}

}  // namespace
}  // namespace ghostip::agent
