// Predecessors that do not tell the truth, or nothing.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "relay/handover.h"
#include "relay/handover_path.h"
#include "relay/handover_testing.h"
#include "relay/handover_wire.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

struct Lie {
    const char* name;
    std::function<void(const Fd& peer, const PathListener& listener)> tell;
    const char* found;
};

void offer(const Fd& peer, const PathListener& listener, std::uint32_t listeners, std::uint32_t sockets) {
    static_cast<void>(wire::send(peer.get(), {.kind = Kind::kOffer, .listeners = listeners, .sockets = sockets},
                                 {&listener.socket(), 1}));
}

void batch(const Fd& peer, const std::vector<wire::Entry>& entries, const std::vector<Fd>& sockets) {
    static_cast<void>(wire::send(peer.get(), {.kind = Kind::kBatch, .entries = entries}, sockets));
}

std::vector<Fd> sockets(int count, int type = SOCK_STREAM) { return std::move(named("x", type, count).sockets); }
std::vector<Fd> only(Fd socket) {
    std::vector<Fd> one;
    one.push_back(std::move(socket));
    return one;
}

const std::vector<Lie>& lies() {
    static const std::vector<Lie> kLies{
        {"not a word", [](const auto& peer, const auto&) { ::shutdown(peer.get(), SHUT_RDWR); }, "ended meanwhile"},
        {"garbage", [](const auto& peer, const auto&) { static_cast<void>(send_all(peer, "hello")); }, "not a message"},
        {"the end first",
         [](const auto& peer, const auto&) { static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd})); },
         "out of turn"},
        {"no socket of the path",
         [](const auto& peer, const auto&) { static_cast<void>(wire::send(peer.get(), {.kind = Kind::kOffer})); },
         "0 sockets come with the offer"},
        {"another socket for the path's",
         [](const auto& peer, const auto&) {
             static_cast<void>(wire::send(peer.get(), {.kind = Kind::kOffer}, sockets(1)));
         },
         "the path's socket is of family 2"},
        {"fewer than offered",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 2, 2);
             batch(peer, {{"a", kTcp, 1}}, sockets(1));
             static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd}));
         },
         "announced 2 listeners with 2 sockets and sent 1 with 1"},
        {"more than offered",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kTcp, 1}, {"b", kTcp, 1}}, sockets(2));
         },
         "announced 1 listeners with 1 sockets and sent 2 with 2"},
        {"fewer beside a batch",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 3);
             batch(peer, {{"a", kTcp, 3}}, sockets(2));
         },
         "announces more sockets"},
        {"more beside a batch",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 3);
             batch(peer, {{"a", kTcp, 1}}, sockets(3));
         },
         "carries more sockets"},
        {"no sockets",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kTcp, 1}}, {});
         },
         "announces more sockets"},
        {"batches without end",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 5);
             for (int i = 0; i < 10; ++i) batch(peer, {{"a", kTcp, 1}}, sockets(1));
         },
         "sent 1 with 6"},
        {"a file",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kTcp, 1}}, only(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
         },
         "Socket operation on non-socket"},
        {"UDP for TCP",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kTcp, 1}}, sockets(1, SOCK_DGRAM));
         },
         "its protocol is number 17"},
        {"TCP that does not listen",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kTcp, 1}}, only(dead_port().socket));
         },
         "does not listen"},
        {"UDP that is not bound",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kUdp, 1}}, only(Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))));
         },
         "not bound"},
        {"a unix socket",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 1, 1);
             batch(peer, {{"a", kUdp, 1}}, only(Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0))));
         },
         "no IP address"},
        {"one name, two protocols",
         [](const auto& peer, const auto& listener) {
             offer(peer, listener, 2, 2);
             auto both = sockets(1);
             both.push_back(bind_free(SOCK_DGRAM).socket);
             batch(peer, {{"a", kTcp, 1}, {"a", kUdp, 1}}, both);
         },
         "of two protocols"},
    };
    return kLies;
}

TEST_F(HandoverSocket, LiesAreFoundOut) {
    const auto listener = PathListener::open(path_).value();
    const auto before = open_descriptors();
    for (const auto& lie : lies()) {
        Fd peer;  // stays until the other side has made up its mind
        std::thread liar([&] {
            for (int attempts = 0; attempts < 20; ++attempts) {
                pollfd wanted{listener.get(), POLLIN, 0};
                ::poll(&wanted, 1, 1000);
                peer = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
                if (!peer) continue;
                static_cast<void>(wire::receive(peer.get(), kSoon(), wire::Descriptors::kRefuse));
                lie.tell(peer, listener);
                return;
            }
        });
        const auto found = ask();
        liar.join();
        peer.reset();
        ASSERT_FALSE(found) << lie.name;
        EXPECT_NE(found.error().message.find(lie.found), std::string::npos)
            << lie.name << ": " << found.error().message;
        EXPECT_EQ(open_descriptors(), before) << lie.name;
    }
}

// What a predecessor tells of clients that is not so.
TEST_F(HandoverSocket, LiesAboutClientsAreFoundOut) {
    const auto session = [](std::uint16_t endpoint) { return session_with(1, endpoint).of; };
    const std::vector<Lie> lies{
        {"no socket of UDP",
         [&](const auto& peer, const auto&) {
             static_cast<void>(wire::send(peer.get(), {.kind = Kind::kSessions, .sessions = {session(9)}}, sockets(1)));
         },
         "its protocol is number 6"},
        {"connected to nobody",
         [&](const auto& peer, const auto&) {
             static_cast<void>(
                 wire::send(peer.get(), {.kind = Kind::kSessions, .sessions = {session(9)}}, sockets(1, SOCK_DGRAM)));
         },
         "not connected"},
        {"connected to another",
         [&](const auto& peer, const auto&) {
             static_cast<void>(wire::send(peer.get(), {.kind = Kind::kSessions, .sessions = {session(9)}},
                                          only(session_with(1, 10).socket)));
         },
         "not connected"},
        {"more sockets than sessions",
         [&](const auto& peer, const auto&) {
             static_cast<void>(wire::send(peer.get(), {.kind = Kind::kSessions, .sessions = {session(9)}}, sockets(2)));
         },
         "more sockets than sessions"},
        {"listeners again",
         [](const auto& peer, const auto&) { static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd})); },
         "out of turn"},
        {"clients without end",
         [](const auto& peer, const auto&) {
             wire::Message many{.kind = Kind::kAffinities};
             for (int i = 0; i < 1000; ++i) many.affinities.push_back({"s", {}});
             while (wire::send(peer.get(), many)) {
                 const auto heard = wire::receive(peer.get(), kSoon(), wire::Descriptors::kRefuse);
                 if (!heard || !*heard) return;
             }
         },
         "more clients than may be"},
    };
    const auto listener = PathListener::open(path_).value();
    const auto before = open_descriptors();
    for (const auto& lie : lies) {
        std::thread liar([&] {
            pollfd wanted{listener.get(), POLLIN, 0};
            ::poll(&wanted, 1, static_cast<int>(milliseconds(kLongest).count()));
            const Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            const auto hear = [&] { return wire::receive(peer.get(), kSoon(), wire::Descriptors::kRefuse); };
            static_cast<void>(hear());
            static_cast<void>(wire::send(peer.get(), {.kind = Kind::kOffer, .features = wire::feature::kClients},
                                         {&listener.socket(), 1}));
            static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd}));
            static_cast<void>(hear());
            lie.tell(peer, listener);
            static_cast<void>(hear());
        });
        {
            auto handover = ask();
            EXPECT_TRUE(handover && *handover) << lie.name;
            if (handover && *handover) {
                const auto found = (*handover)->done();
                EXPECT_FALSE(found) << lie.name;
                const auto told = found ? std::string() : found.error().message;
                EXPECT_NE(told.find(lie.found), std::string::npos) << lie.name << ": " << told;
            }
        }
        liar.join();
        EXPECT_EQ(open_descriptors(), before) << lie.name;
    }
}

// What it has told before it died is true.
TEST_F(HandoverSocket, ADeadPredecessorsClientsGoOn) {
    const auto listener = PathListener::open(path_).value();
    std::thread dying([&] {
        pollfd wanted{listener.get(), POLLIN, 0};
        ::poll(&wanted, 1, static_cast<int>(milliseconds(kLongest).count()));
        const Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const auto hear = [&] { return wire::receive(peer.get(), kSoon(), wire::Descriptors::kRefuse); };
        static_cast<void>(hear());
        offer(peer, listener, 0, 0);
        static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd}));
        static_cast<void>(hear());
    });
    auto without = ask().value();
    ASSERT_TRUE(without);
    EXPECT_TRUE(without->done({"not told, as it does not know of clients"}).value().sessions.empty());
    dying.join();
    std::thread telling([&] {
        pollfd wanted{listener.get(), POLLIN, 0};
        ::poll(&wanted, 1, static_cast<int>(milliseconds(kLongest).count()));
        const Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const auto hear = [&] { return wire::receive(peer.get(), kSoon(), wire::Descriptors::kRefuse); };
        static_cast<void>(hear());
        static_cast<void>(wire::send(peer.get(), {.kind = Kind::kOffer, .features = wire::feature::kClients},
                                     {&listener.socket(), 1}));
        static_cast<void>(wire::send(peer.get(), {.kind = Kind::kEnd}));
        static_cast<void>(hear());
        auto one = session_with(1, 9);
        static_cast<void>(wire::send(peer.get(), {.kind = Kind::kSessions, .sessions = {one.of}}, {&one.socket, 1}));
        static_cast<void>(hear());
    });
    auto handover = ask().value();
    ASSERT_TRUE(handover);
    const auto clients = handover->done();
    telling.join();
    ASSERT_TRUE(clients) << clients.error().message;
    EXPECT_EQ(clients->sessions.size(), 1U);
}

TEST_F(HandoverSocket, APredecessorThatSaysNothingIsGivenUp) {
    const auto listener = PathListener::open(path_).value();
    const auto found = Handover::ask(path_, milliseconds(50));
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ETIMEDOUT) << found.error().message;
}

}  // namespace
}  // namespace ghostip::relay::testing
