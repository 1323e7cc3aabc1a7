// What goes from process to process beside listeners: who stuck to what, and sessions of UDP.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "relay/handover.h"
#include "relay/handover_testing.h"
#include "relay/handover_wire.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

TEST_F(HandoverSocket, ClientsFollowTheListeners) {
    std::map<std::uint16_t, SocketAddress> ports;
    std::vector<std::string> adopted;
    std::vector<NamedAffinity> affinities;
    make_ = [] {
        auto listeners = one_tcp();
        listeners.push_back(named("dns", SOCK_DGRAM));
        for (int i = 0; i < 300; ++i) listeners.push_back(named(std::string(200, 'n') + std::to_string(i)));
        return listeners;
    };
    let_go_ = [&](const std::vector<std::string>& names) {
        adopted = names;
        auto clients = clients_of(100'000, 700);
        affinities = clients.affinities;
        for (const auto& session : clients.sessions)
            ports[session.of.flow.client.port] = own_address(session.socket.get()).value();
        clients.affinities.push_back({"", {}});  // no name for it: does not go
        return clients;
    };
    serve();
    const auto before = open_descriptors();
    {
        auto handover = ask().value();
        ASSERT_TRUE(handover);
        std::vector<std::string> names;
        for (const auto& [name, listener] : handover->listeners()) names.push_back(name);
        const auto clients = handover->done(names);
        ASSERT_TRUE(clients) << clients.error().message;
        EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
        EXPECT_EQ(adopted, names);
        EXPECT_EQ(clients->affinities.size(), 100'000U);
        EXPECT_TRUE(clients->affinities == affinities);
        ASSERT_EQ(clients->sessions.size(), 700U);
        for (const auto& session : clients->sessions) {
            EXPECT_EQ(session.of.listener, "dns");
            EXPECT_EQ(own_address(session.socket.get()).value(), ports.at(session.of.flow.client.port));
        }
        EXPECT_TRUE(handover->done(names).value().sessions.empty()) << "it is done";
    }
    server_.reset();
    EXPECT_LE(open_descriptors(), before);
}

TEST_F(HandoverSocket, NobodyIsToldOfMoreClientsThanMayBe) {
    let_go_ = [](const auto&) { return clients_of(Clients::kMostAffinities + 5, 1); };
    serve();
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    const auto clients = handover->done({"web"});
    ASSERT_TRUE(clients) << clients.error().message;
    EXPECT_EQ(clients->affinities.size(), Clients::kMostAffinities);
    EXPECT_EQ(clients->sessions.size(), 1U);
}

TEST_F(HandoverSocket, WhereThereIsNoRoomForAllSessionsSomeGoOn) {
    rlimit usual{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
    constexpr rlim_t kRoom = 300;
    let_go_ = [&](const auto&) {
        auto clients = clients_of(10, 700);
        rlimit tight = usual;
        tight.rlim_cur = static_cast<rlim_t>(Fd(::dup(0)).get()) + kRoom;
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
        return clients;
    };
    serve();
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    const auto clients = handover->done({"web"});
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual), 0);
    ASSERT_TRUE(clients) << clients.error().message;
    EXPECT_EQ(clients->sessions.size(), kRoom);
    EXPECT_EQ(clients->affinities.size(), 10U);
    EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
}

TEST_F(HandoverSocket, WithoutAdoptedListenersNothingIsLetGo) {
    let_go_ = [](const auto&) { return clients_of(1, 1); };
    serve();
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    EXPECT_TRUE(handover->done().value().affinities.empty());
    EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
}

// As far as it goes before the clients come.
Fd dial_and_take(const std::string& path, std::uint32_t features) {
    Fd peer = std::move(*wire::connect_to(path, kLongest).value());
    EXPECT_TRUE(wire::send(peer.get(), {.kind = Kind::kAsk, .features = features}));
    const auto offered = wire::receive(peer.get(), kSoon(), wire::Descriptors::kTake);
    const bool came = offered && *offered;
    EXPECT_TRUE(came && (*offered)->message.features == (features & wire::feature::kAll));
    EXPECT_TRUE(wire::receive(peer.get(), kSoon(), wire::Descriptors::kTake));
    EXPECT_TRUE(wire::send(peer.get(), {.kind = Kind::kNext}));
    EXPECT_TRUE(wire::receive(peer.get(), kSoon(), wire::Descriptors::kTake));
    return peer;
}

TEST_F(HandoverSocket, ClientsAreTakenBackFromASuccessorThatDies) {
    let_go_ = [](const auto&) { return clients_of(5000, 600); };
    serve({.step = milliseconds(2000)});
    // At once, after a part of the clients, by a word out of turn, by silence.
    struct Death {
        std::vector<Kind> says;
        bool stays;
    };
    const std::vector<Death> deaths{{{}, false},
                                    {{Kind::kNext, Kind::kNext, Kind::kNext}, false},
                                    {{Kind::kNext, Kind::kTaken}, true},
                                    {{Kind::kNext}, true}};
    for (const auto& death : deaths) {
        taken_back_ = 0;
        const int failed = failed_;
        Fd peer = dial_and_take(path_, wire::feature::kClients);
        ASSERT_TRUE(wire::send(peer.get(), {.kind = Kind::kAdopted, .names = {"web"}}));
        ASSERT_EQ(answer(peer), Kind::kNext);
        ASSERT_TRUE(wire::send(peer.get(), {.kind = Kind::kTaken}));
        for (const auto word : death.says) {
            ASSERT_EQ(answer(peer), Kind::kSessions);
            ASSERT_TRUE(wire::send(peer.get(), {.kind = word}));
        }
        if (!death.stays) peer.reset();
        EXPECT_TRUE(eventually([&] { return failed_ == failed + 1; }));
        EXPECT_EQ(taken_back_, 600U);
    }
    EXPECT_EQ(taken_, 0);
    expect_alive();
}

TEST_F(HandoverSocket, OneThatDoesNotKnowOfClientsIsServedAsEver) {
    let_go_ = [](const auto&) { return clients_of(5, 5); };
    serve();
    const Fd wrong = dial_and_take(path_, 0);
    ASSERT_TRUE(wire::send(wrong.get(), {.kind = Kind::kAdopted, .names = {"web"}}));
    EXPECT_EQ(answer(wrong), Kind::kWithdrawn) << "it has not said that it knows";
    const Fd excessive = dial_and_take(path_, wire::feature::kClients);
    ASSERT_TRUE(wire::send(excessive.get(), {.kind = Kind::kAdopted, .names = {"web", "other"}}));
    EXPECT_EQ(answer(excessive), Kind::kWithdrawn) << "there is one listener";
    const Fd peer = dial_and_take(path_, 0);
    ASSERT_TRUE(wire::send(peer.get(), {.kind = Kind::kTaken}));
    EXPECT_EQ(answer(peer), Kind::kReleased);
    EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
}

TEST_F(HandoverSocket, FeaturesOfTheFutureAreIgnored) {
    let_go_ = [](const auto&) { return clients_of(5, 5); };
    serve();
    const Fd peer = dial_and_take(path_, 0xffffffff);
    ASSERT_TRUE(wire::send(peer.get(), {.kind = Kind::kTaken}));
    EXPECT_EQ(answer(peer), Kind::kReleased);
}

// --- a predecessor that lies

}  // namespace
}  // namespace ghostip::relay::testing
