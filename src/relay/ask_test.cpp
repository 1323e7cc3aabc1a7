// The owner's answers about who is served. What a client dialled before translation is in test/kernel/.
#include <sys/socket.h>

#include <mutex>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

class Questions {
  public:
    void note(const Arrival& arrival) {
        const std::lock_guard lock(mutex_);
        all_.push_back(arrival);
    }
    [[nodiscard]] std::vector<Arrival> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<Arrival> all_;
};

TEST(Ask, OneListenerServesManyServices) {
    const NamedServer a('a');
    const NamedServer b('b');
    std::atomic<ServiceId> answer{};
    Questions questions;
    ListenerSpec spec;
    spec.ask = [&](const Arrival& arrival) {
        questions.note(arrival);
        return Answer::serve(answer.load());
    };
    const auto rig = testing::rig({.endpoints = {a.address()}}, {}, spec);
    const auto other = rig.relay->add_service({.endpoints = {b.address()}});
    EXPECT_EQ(rig.ask_name(), "a") << "the listener's own";
    answer = other;
    EXPECT_EQ(rig.ask_name(), "b");
    answer = ServiceId{12345};
    EXPECT_EQ(rig.ask_name(), "a") << "the other is not known any more";
    const auto all = questions.all();
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0].listener, rig.listener);
    EXPECT_EQ(all[0].local, rig.address);
    EXPECT_EQ(all[0].destination, rig.address) << "nothing was translated";
    EXPECT_EQ(all[0].client.address, loopback().address);
    EXPECT_EQ(rig.relay->metrics(other).value().connections_opened, 1U);
}

TEST(Ask, RefusedIsReset) {
    const NamedServer a('a');
    ListenerSpec spec;
    spec.ask = [](const Arrival&) { return Answer::refuse(); };
    const auto rig = testing::rig({.endpoints = {a.address()}}, {}, spec);
    EXPECT_EQ(ending(connect_to(rig.address)), Ending::kReset);
    EXPECT_EQ(rig.metrics().refused[static_cast<std::size_t>(Refusal::kPolicy)], 1U);
    EXPECT_TRUE(rig.relay->wait_until_idle(kLongest));
}

TEST(Ask, DroppedHearsNothingForAWhile) {
    const NamedServer a('a');
    ListenerSpec spec;
    spec.ask = [](const Arrival&) { return Answer::drop(); };
    Options options;
    options.threads = 1;
    options.timeouts.hold = milliseconds(500);
    options.limits.held_connections = 2;
    const auto rig = testing::rig({.endpoints = {a.address()}}, options, spec);
    const Fd first = connect_to(rig.address);
    const Fd second = connect_to(rig.address);
    EXPECT_EQ(ending(second, milliseconds(200)), Ending::kNone);
    EXPECT_EQ(rig.relay->metrics().held_connections, 2U);
    const Fd third = connect_to(rig.address);
    EXPECT_EQ(ending(first, milliseconds(100)), Ending::kReset) << "the oldest, since there are too many";
    EXPECT_EQ(ending(second), Ending::kReset) << "its time is over";
    EXPECT_EQ(ending(third), Ending::kReset);
    EXPECT_TRUE(eventually([&] { return rig.relay->metrics().held_connections == 0; }));
    EXPECT_EQ(rig.metrics().refused[static_cast<std::size_t>(Refusal::kDropped)], 3U);
}

TEST(Ask, AskedOncePerUdpClientThatIsServed) {
    const NamedUdpServer a('a');
    Questions questions;
    std::atomic<bool> refuse = false;
    ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.ask = [&](const Arrival& arrival) {
        questions.note(arrival);
        return refuse ? Answer::refuse() : Answer::serve({});
    };
    const auto rig = testing::rig({.endpoints = {a.address()}}, {}, spec);
    const Fd client = connect_to(rig.address, SOCK_DGRAM);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(send_all(client, "x"));
        EXPECT_EQ(receive(client, 2), "ax");
    }
    const auto all = questions.all();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].protocol, net::Protocol::kUdp);
    EXPECT_EQ(all[0].client, own_address(client.get()));
    EXPECT_EQ(all[0].local, rig.address);
    refuse = true;
    const Fd another = connect_to(rig.address, SOCK_DGRAM);
    ASSERT_TRUE(send_all(another, "x"));
    EXPECT_TRUE(
        eventually([&] { return rig.metrics().datagrams_lost[static_cast<std::size_t>(DatagramLoss::kPolicy)] == 1; }));
}

}  // namespace
}  // namespace ghostip::relay::testing
