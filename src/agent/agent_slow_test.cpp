// The whole loop on a mode whose calls last: both families at once, and nobody waits for them who need not.
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/agent.h"
#include "agent/slow_dataplane_testing.h"
#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using namespace plan::testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A mode is a row of function pointers, so what they reach is here: for one test at a time.
std::map<net::Family, std::unique_ptr<testing::Gate>> gates;  // NOLINT(cert-err58-cpp)
std::vector<std::string> watched;  // NOLINT(cert-err58-cpp); by the loop's thread: what the drift watch was told

class NotingWatch final : public dataplane::DriftWatch {
  public:
    Result<std::vector<dataplane::ForeignWrite>> wait(int /*stop_fd*/) override {
        return errno_error(ENOTSUP, "a watch that sees nothing");
    }
    Result<void> pause() override {
        note("pause");
        return {};
    }
    Result<bool> resume(std::uint32_t /*own_transactions*/) override {
        note("resume");
        return true;
    }

  private:
    // With the number of calls that had begun.
    static void note(const char* what) {
        std::size_t calls = 0;
        for (const auto& [family, gate] : gates) calls += gate->begun().size();
        watched.push_back(fmt::format("{} after {} calls", what, calls));
    }
};

dataplane::Mode slow_mode() {
    return {.name = "slow",
            .profile = plan::iptables_profile,
            .calls = dataplane::Calls::kRunPrograms,
            .capabilities = {},
            .variants = {},
            .missing = [](net::Family, const dataplane::Options&) { return std::vector<std::string>(); },
            .open = [](net::Family family, const dataplane::Options&) -> Result<std::unique_ptr<dataplane::Dataplane>> {
                auto& gate = gates[family];
                gate = std::make_unique<testing::Gate>();
                return std::unique_ptr<dataplane::Dataplane>(std::make_unique<testing::SlowDataplane>(*gate));
            },
            .watch = [](std::span<dataplane::Dataplane* const>) -> Result<std::unique_ptr<dataplane::DriftWatch>> {
                return std::unique_ptr<dataplane::DriftWatch>(std::make_unique<NotingWatch>());
            },
            .render = nullptr,
            .sight = nullptr,
            .cleanup = nullptr};
}

// Has one Service of both families, and does what the test says.
class TestSource final : public api::ObjectSource {
  public:
    Result<void> start(api::ChangeQueue& queue) override {
        queue_ = &queue;
        push(80);
        queue.mark_synced();
        return {};
    }
    void stop() override {}
    void push(std::uint16_t port) {
        auto object = service("web", "172.30.0.1", {service_port("p", port)});
        object.cluster_ips = ips({"172.30.0.1", "fd00:30::1"});
        object.ip_families = {net::Family::kIpv4, net::Family::kIpv6};
        queue_->push({put(object)});
    }

  private:
    api::ChangeQueue* queue_ = nullptr;
};

class SlowAgent : public ::testing::Test {
  protected:
    void SetUp() override {
        gates.clear();
        watched.clear();
        AgentConfig config;
        config.node = node_settings();
        config.mode = &mode_;
        config.on_first_sync = [this](std::string_view) { ++first_syncs_; };
        auto agent = Agent::create(std::move(config), source_, health_, metrics_);
        ASSERT_TRUE(agent) << agent.error().message;
        agent_ = std::move(*agent);
    }
    void TearDown() override {
        for (const auto& [family, gate] : gates) gate->stay_open();
        if (agent_) agent_->stop();
        if (loop_.joinable()) loop_.join();
        agent_.reset();
    }
    void run() {
        loop_ = std::thread([this] {
            EXPECT_TRUE(agent_->run());
            ended_ = true;
        });
    }
    [[nodiscard]] unsigned ready() const { return health_.readyz().status; }
    template <typename Done>
    [[nodiscard]] static bool wait_for(Done done) {
        for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end;) {
            if (done()) return true;
            std::this_thread::sleep_for(1ms);
        }
        return false;
    }

    const dataplane::Mode mode_ = slow_mode();
    TestSource source_;
    Health health_;
    Metrics metrics_{"iptables"};
    std::atomic<int> first_syncs_ = 0;
    std::atomic<bool> ended_ = false;
    std::unique_ptr<Agent> agent_;
    std::thread loop_;
};

TEST_F(SlowAgent, FamiliesAreProgrammedAtTheSameTime) {
    run();
    for (const auto& [family, gate] : gates) ASSERT_TRUE(gate->wait_begun(1)) << net::family_name(family);
    EXPECT_EQ(ready(), 503U);
    auto& four = *gates.at(net::Family::kIpv4);
    source_.push(81);
    four.end_call();
    ASSERT_TRUE(four.wait_begun(2)) << "the loop goes on, and no family waits for the other";
    EXPECT_THAT(four.begun(), ElementsAre("reconcile ns/web:p=80", StartsWith("apply ns/web:p:80>81")));
    if (gates.contains(net::Family::kIpv6)) {
        EXPECT_EQ(ready(), 503U);
        EXPECT_EQ(first_syncs_, 0);
        gates.at(net::Family::kIpv6)->end_call();
    }
    EXPECT_TRUE(wait_for([&] { return first_syncs_ == 1; })) << "each has had its first sync, whatever came since";
    EXPECT_EQ(ready(), 200U);
    for (const auto& [family, gate] : gates) gate->stay_open();
    EXPECT_TRUE(health_.healthy());
    // With two families the watch goes on once the second one is done; IPv4 is in its second call then.
    agent_->stop();
    loop_.join();
    const bool both = gates.size() == 2;
    ASSERT_EQ(watched.size(), 2U);
    EXPECT_EQ(watched[0], "pause after 0 calls");
    EXPECT_EQ(watched[1], both ? "resume after 3 calls" : "resume after 1 calls");
    EXPECT_EQ(first_syncs_, 1);
}

TEST_F(SlowAgent, StopsWhileACallIsUnderWay) {
    run();
    for (const auto& [family, gate] : gates) ASSERT_TRUE(gate->wait_begun(1));
    agent_->stop();
    EXPECT_TRUE(wait_for([this] { return ended_.load(); })) << "the loop waits for no call";
    EXPECT_EQ(ready(), 503U);
}

TEST_F(SlowAgent, OnceWaitsForTheCalls) {
    std::atomic<bool> done = false;
    loop_ = std::thread([&] {
        EXPECT_TRUE(agent_->run_once());
        done = true;
    });
    for (const auto& [family, gate] : gates) {
        ASSERT_TRUE(gate->wait_begun(1));
        EXPECT_FALSE(done);
        gate->end_call();
    }
    EXPECT_TRUE(wait_for([&] { return done.load(); }));
    for (const auto& [family, gate] : gates) EXPECT_THAT(gate->begun(), ElementsAre("reconcile ns/web:p=80"));
    EXPECT_THAT(watched, IsEmpty());
}

TEST_F(SlowAgent, OnceFailsIfACallDoes) {
    for (const auto& [family, gate] : gates) gate->end_call(errno_error(EAGAIN, "scripted"));
    const auto done = agent_->run_once();
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, StartsWith("IPv4: scripted"));
}

}  // namespace
}  // namespace ghostip::agent
