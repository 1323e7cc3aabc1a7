// What the two ends of a hand-over make of each other, and of peers that stall or are somebody else.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "relay/handover.h"
#include "relay/handover_path.h"
#include "relay/handover_testing.h"
#include "relay/handover_wire.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

TEST_F(HandoverSocket, NobodyThereIsNoError) {
    EXPECT_FALSE(ask().value());
    PathListener::open(path_).value().give_away();
    ASSERT_TRUE(std::filesystem::exists(path_));
    EXPECT_FALSE(ask().value()) << "a dead one's file";
    serve();
    expect_alive();
}

TEST_F(HandoverSocket, APathHasOneOwner) {
    serve();
    struct stat file {};
    ASSERT_EQ(::stat(path_.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777U, 0600U);
    const auto second = HandoverServer::open(path_, callbacks());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EADDRINUSE) << second.error().message;
    expect_alive();
    server_.reset();
    std::filesystem::remove(path_);
    std::ofstream(path_) << "mine";
    EXPECT_FALSE(HandoverServer::open(path_, callbacks())) << "a file that is no socket is left alone";
    EXPECT_TRUE(std::filesystem::is_regular_file(path_));
    EXPECT_FALSE(HandoverServer::open(std::string(200, 'x'), callbacks()));
    EXPECT_FALSE(Handover::ask("", kLongest));
}

TEST_F(HandoverSocket, TheSuccessorHasThePathAndThoseWhoWaitThere) {
    serve();
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    EXPECT_FALSE(HandoverServer::continue_from(*handover, callbacks())) << "not done yet";
    ASSERT_TRUE(handover->done());
    // Between the two: waits.
    std::optional<Handover> third;
    std::thread waiting([&] {
        if (auto asked = ask()) third = std::move(*asked);
    });
    auto next = HandoverServer::continue_from(*handover, callbacks());
    ASSERT_TRUE(next) << next.error().message;
    waiting.join();
    ASSERT_TRUE(third);
    EXPECT_TRUE(third->done());
    EXPECT_EQ(came_, 2);
    server_.reset();
    EXPECT_TRUE(std::filesystem::exists(path_)) << "it is not its own any more";
    third.reset();
    next->reset();
    EXPECT_FALSE(ask().value());
}

TEST_F(HandoverSocket, AllListenersArriveHoweverMany) {
    // One of them has more sockets than a message carries.
    std::map<std::string, std::vector<SocketAddress>> expected;
    make_ = [&]() -> Result<std::vector<NamedListener>> {
        std::vector<NamedListener> listeners(9300);
        for (std::size_t i = 0; i < listeners.size(); ++i)
            listeners[i] = named(fmt::format("{}-{}", std::string(1 + i % 200, 'u'), i), SOCK_DGRAM);
        listeners.push_back(named("many", SOCK_DGRAM, 600));
        listeners.push_back(named("web"));
        for (const auto& listener : listeners)
            for (const auto& socket : listener.sockets)
                expected[listener.name].push_back(own_address(socket.get()).value());
        return listeners;
    };
    serve();
    const auto before = open_descriptors();
    {
        auto handover = ask();
        ASSERT_TRUE(handover) << handover.error().message;
        ASSERT_TRUE(*handover);
        std::map<std::string, std::vector<SocketAddress>> got;
        for (const auto& [name, listener] : (*handover)->listeners()) {
            EXPECT_EQ(listener.name, name);
            EXPECT_EQ(listener.protocol, name == "web" ? net::Protocol::kTcp : net::Protocol::kUdp);
            for (const auto& socket : listener.sockets) got[name].push_back(own_address(socket.get()).value());
        }
        EXPECT_EQ(got.size(), 9302U);
        EXPECT_EQ(got, expected);
        EXPECT_TRUE((*handover)->done());
    }
    server_.reset();
    EXPECT_LE(open_descriptors(), before);
}

TEST_F(HandoverSocket, NoListenersAreFewButFine) {
    make_ = [] { return std::vector<NamedListener>(); };
    serve();
    expect_alive();
}

TEST_F(HandoverSocket, OnlyOneSuccessorAtATime) {
    serve();
    auto first = ask().value();
    ASSERT_TRUE(first);
    const auto second = ask();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, EBUSY);
    first.reset();
    EXPECT_TRUE(eventually([&] { return failed_ == 1; }));
    EXPECT_EQ(came_, 1);
    expect_alive();
}

TEST_F(HandoverSocket, WhatTheOwnerCannotGiveIsTold) {
    make_ = []() -> Result<std::vector<NamedListener>> { return fail("in the middle of a start"); };
    serve();
    const auto refused = ask();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("in the middle of a start"), std::string::npos) << refused.error().message;
    EXPECT_EQ(failed_, 0);
    make_ = []() -> Result<std::vector<NamedListener>> {
        std::vector<NamedListener> listeners;
        listeners.push_back({"none", net::Protocol::kTcp, {}});
        return listeners;
    };
    const auto empty = ask();
    ASSERT_FALSE(empty);
    EXPECT_NE(empty.error().message.find("\"none\" cannot"), std::string::npos) << empty.error().message;
    EXPECT_TRUE(eventually([&] { return failed_ == 1; }));
    make_ = [] { return one_tcp(); };
    expect_alive();
}

TEST_F(HandoverSocket, ADeadPredecessorIsSucceeded) {
    serve();
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    const Fd copy(::dup(handover->listeners().at("web").sockets.front().get()));
    const auto address = own_address(copy.get()).value();
    const auto waiting = connect_many(address, 3);
    server_.reset();
    EXPECT_TRUE(handover->done());
    for (std::size_t i = 0; i < waiting.size(); ++i) EXPECT_TRUE(accept_one(copy));
    EXPECT_EQ(taken_, 0);
}

TEST_F(HandoverSocket, WhoStallsIsLeftBehind) {
    serve({.step = milliseconds(50), .taken = milliseconds(50)});
    const Fd silent = dial();
    EXPECT_EQ(answer(silent), Kind::kRefused);
    EXPECT_EQ(came_, 0);

    const Fd slow = dial();
    ASSERT_TRUE(wire::send(slow.get(), {.kind = Kind::kAsk}));
    EXPECT_EQ(answer(slow), Kind::kOffer);
    EXPECT_EQ(answer(slow), Kind::kBatch);
    EXPECT_EQ(answer(slow), Kind::kWithdrawn) << "it has not said that it got them";
    EXPECT_TRUE(eventually([&] { return failed_ == 1; }));

    auto handover = ask().value();
    ASSERT_TRUE(handover);
    EXPECT_TRUE(eventually([&] { return failed_ == 2; }));
    const auto late = handover->done();
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ECANCELED);
    EXPECT_NE(late.error().message.find("goes on by itself"), std::string::npos) << late.error().message;
    EXPECT_FALSE(HandoverServer::continue_from(*handover, callbacks()));
    EXPECT_EQ(taken_, 0);
}

// Also by a successor that has not done() yet.
TEST_F(HandoverSocket, EndsAreToldToTheOtherSide) {
    serve({.step = kLongest, .taken = milliseconds(50)});
    const auto readable = [](const Handover& handover) {
        pollfd one{handover.fd(), POLLIN, 0};
        return ::poll(&one, 1, static_cast<int>(milliseconds(kLongest).count())) == 1;
    };
    {
        const auto handover = ask().value();
        ASSERT_TRUE(handover);
        ASSERT_TRUE(readable(*handover));
        EXPECT_EQ(handover->heard().code, ECANCELED) << handover->heard().message;
    }
    server_.reset();
    serve();
    {
        const auto handover = ask().value();
        ASSERT_TRUE(handover);
        server_.reset();
        ASSERT_TRUE(readable(*handover));
        EXPECT_EQ(handover->heard().code, ECONNRESET) << handover->heard().message;
    }
    EXPECT_FALSE(HandoverServer::somebody_waits(path_));
    serve();
    EXPECT_TRUE(HandoverServer::somebody_waits(path_));
    {
        auto handover = ask().value();
        ASSERT_TRUE(handover && handover->done());
        EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
        EXPECT_FALSE(server_->successor_ended());
        const auto next = HandoverServer::continue_from(*handover, callbacks());
        ASSERT_TRUE(next) << next.error().message;
        EXPECT_TRUE(HandoverServer::somebody_waits(path_));
    }
    EXPECT_TRUE(eventually([&] { return server_->successor_ended(); }));
    EXPECT_FALSE(HandoverServer::somebody_waits(path_));
}

TEST_F(HandoverSocket, GarbageHarmsNobody) {
    serve();
    const auto before = open_descriptors();
    const auto refused = [&](std::string_view bytes) {
        const Fd peer = dial();
        static_cast<void>(::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
        return answer(peer) == Kind::kRefused;
    };
    for (unsigned i = 0; i < 50; ++i) EXPECT_TRUE(refused(pattern(1 + i * 20, i)));
    EXPECT_TRUE(refused(std::string(wire::kLongestMessage + 1, 'x')));
    EXPECT_TRUE(refused(wire::encode({.kind = Kind::kAsk}) + "x"));
    EXPECT_TRUE(refused(wire::encode({.kind = Kind::kNext})));
    EXPECT_TRUE(refused(wire::encode({.kind = Kind::kTaken})));
    EXPECT_EQ(came_, 0);
    // Descriptors that nobody wants are not kept.
    const Fd generous = dial();
    const auto gift = bind_free(SOCK_STREAM);
    ASSERT_TRUE(wire::send(generous.get(), {.kind = Kind::kAsk}, {&gift.socket, 1}));
    EXPECT_EQ(answer(generous), Kind::kOffer);
    EXPECT_EQ(answer(generous), Kind::kBatch);
    ASSERT_TRUE(wire::send(generous.get(), {.kind = Kind::kTaken}));
    EXPECT_EQ(answer(generous), Kind::kWithdrawn) << "out of turn";
    EXPECT_TRUE(eventually([&] { return failed_ == 1; }));
    // Gone at once, in all states.
    for (int i = 0; i < 20; ++i) static_cast<void>(dial());
    for (int i = 0; i < 20; ++i) static_cast<void>(wire::send(dial().get(), {.kind = Kind::kAsk}));
    EXPECT_TRUE(eventually([&] { return open_descriptors() <= before + 2; }));
    expect_alive();
}

TEST_F(HandoverSocket, ACrowdOfSilentOnesIsSentAway) {
    serve({.step = milliseconds(300)});
    std::vector<Fd> crowd(12);
    for (auto& peer : crowd) peer = dial();
    int sent_away = 0;
    for (const auto& peer : crowd) sent_away += answer(peer) ? 0 : 1;
    EXPECT_GE(sent_away, 4);
    expect_alive();
}

TEST_F(HandoverSocket, AnotherVersionIsToldSo) {
    serve();
    auto bytes = wire::encode({.kind = Kind::kAsk});
    bytes[4] = 9;
    const Fd newer = dial();
    ASSERT_GT(::send(newer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    const auto told = wire::receive(newer.get(), kSoon(), wire::Descriptors::kRefuse);
    ASSERT_TRUE(told && *told);
    EXPECT_NE((*told)->message.text.find("version 9"), std::string::npos) << (*told)->message.text;
    const auto parsed = wire::parse(bytes + "what that version has besides");
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, EPROTONOSUPPORT);
    expect_alive();
}

TEST_F(HandoverSocket, ProcessesOfOtherUsersAreSentAway) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
    serve();
    // As if the file were open to all.
    ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setuid(65534) != 0) ::_exit(9);
        const auto peer = wire::connect_to(path_, kLongest);
        if (!peer || !*peer) ::_exit(8);
        static_cast<void>(wire::send((*peer)->get(), {.kind = Kind::kAsk}));
        ::_exit(answer(**peer) ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_EQ(came_, 0);
}

// --- clients

TEST(HandoverWire, WhatIsWrittenIsRead) {
    const std::vector<wire::Message> messages{
        {.kind = Kind::kAsk},
        {.kind = Kind::kOffer, .listeners = 70'000, .sockets = 4'000'000'000U},
        {.kind = Kind::kBatch, .entries = {{std::string(255, 'n'), kTcp, 200}, {std::string("\0 :/", 4), kUdp, 53}}},
        {.kind = Kind::kNext},
        {.kind = Kind::kEnd},
        {.kind = Kind::kTaken},
        {.kind = Kind::kReleased},
        {.kind = Kind::kWrites},
        {.kind = Kind::kBusy, .text = "why"},
        {.kind = Kind::kRefused, .text = std::string(wire::kLongestText, 'w')},
        {.kind = Kind::kWithdrawn, .text = ""},
        {.kind = Kind::kAsk, .features = 5},
        {.kind = Kind::kOffer, .listeners = 1, .sockets = 2, .features = 1},
        {.kind = Kind::kAdopted, .names = {"a", std::string(255, 'n')}},
        {.kind = Kind::kAffinities,
         .affinities = {{"s", {loopback().address, loopback(net::Family::kIpv6, 80), milliseconds(4'294'967'295)}},
                        {"t", {loopback(net::Family::kIpv6).address, loopback(), milliseconds(0)}}}},
        {.kind = Kind::kSessions,
         .sessions = {{"u", {65535, loopback(), 0, loopback(net::Family::kIpv4, 53), 7, loopback()}},
                      {"v", {0, loopback(net::Family::kIpv6), 3, loopback(net::Family::kIpv6), 0, loopback()}}}},
    };
    for (const auto& message : messages) {
        const auto bytes = wire::encode(message);
        const auto parsed = wire::parse(bytes);
        ASSERT_TRUE(parsed) << parsed.error().message;
        EXPECT_EQ(*parsed, message);
        for (std::size_t size = 0; size < bytes.size(); ++size)
            if (const auto part = wire::parse(std::string_view(bytes).substr(0, size)); part) {
                EXPECT_EQ(wire::encode(*part).size(), size) << "a shorter one that is whole";
            }
    }
    const std::vector<wire::Message> wrong{
        {.kind = Kind::kBatch},
        {.kind = Kind::kBatch, .entries = {{"", kTcp, 1}}},
        {.kind = Kind::kBatch, .entries = {{std::string(256, 'n'), kTcp, 1}}},
        {.kind = Kind::kBatch, .entries = {{"a", kTcp, 0}}},
        {.kind = Kind::kBatch, .entries = {{"a", net::Protocol::kSctp, 1}}},
        {.kind = Kind::kBatch, .entries = {{"a", kTcp, 200}, {"b", kTcp, 54}}},
        {.kind = Kind::kAdopted},
        {.kind = Kind::kAdopted, .names = {""}},
        {.kind = Kind::kAdopted, .names = {std::string(256, 'n')}},
        {.kind = Kind::kAffinities},
        {.kind = Kind::kAffinities, .affinities = {{"", {}}}},
        {.kind = Kind::kSessions},
        {.kind = Kind::kSessions, .sessions = std::vector<NamedFlow>(254, NamedFlow{"s", {}})},
        {.kind = Kind{99}},
        {.kind = Kind::kNext, .text = "x"},
    };
    for (const auto& message : wrong) EXPECT_FALSE(wire::parse(wire::encode(message)));
}

}  // namespace
}  // namespace ghostip::relay::testing
