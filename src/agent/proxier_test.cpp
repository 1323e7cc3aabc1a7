// The loop's dealings with one family, on a dataplane that does what the test says.
#include "agent/proxier.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

    std::vector<std::string> take() { return std::exchange(asked, {}); }

    std::vector<std::string> asked;
    std::vector<dataplane::SetAside> aside;
    int failures = 0;  // so many calls are going to fail
    int failure = ENOBUFS;
    dataplane::Outcome outcome;

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
    Scene() {
        auto owned = std::make_unique<ScriptedDataplane>();
        dataplane = owned.get();
        auto flows = std::make_unique<kernel::conntrack::MemoryConntrack>();
        conntrack = flows.get();
        ProxierConfig config;
        config.full_check_interval = 1h;
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
                                            std::move(owned), std::make_unique<FlowCleaner>(std::move(flows)), metrics,
                                            background, std::move(answers));
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
    [[nodiscard]] Metrics::OfFamily& counts() { return metrics.of(net::Family::kIpv4); }

    Metrics metrics;
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

}  // namespace
}  // namespace ghostip::agent
