// A relay whose threads get no memory. Each allocation of a scenario fails once, and then all from that one on: whoever
// it was for may be refused, but the process lives, nothing stays taken, and the next client is served.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include <gtest/gtest.h>

#include "relay/memory_testing.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

// --- one service for each round, since what a service needs is made at its first client

struct Servers {
    NamedServer tcp{'t'};
    NamedUdpServer udp{'u'};
    Bound dead_tcp = dead_port();
    Bound dead_udp = dead_port(SOCK_DGRAM);
};

class Round {
  public:
    Round(Relay& relay, const Servers& servers, net::Protocol protocol, Answer::Verdict verdict)
        : relay_(relay), protocol_(protocol) {
        Pool pool;
        pool.affinity = std::chrono::seconds(100);
        pool.proxy_protocol = ProxyProtocol::kV2;  // its header waits for the endpoint
        pool.endpoints = protocol == net::Protocol::kTcp ? std::vector{servers.dead_tcp.address, servers.tcp.address()}
                                                         : std::vector{servers.dead_udp.address, servers.udp.address()};
        service_ = relay.add_service(pool, {.connections = 2});
        ListenerSpec spec{.protocol = protocol, .address = loopback(), .service = service_};
        spec.ask = [verdict](const Arrival& client) {
            const std::string name =
                client.client.text() + " asks, and its name is too long for a string without memory";
            return Answer{name.empty() ? Answer::Verdict::kRefuse : verdict, {}};
        };
        listener_ = relay.listen(spec).value();
        address_ = relay.address(listener_).value();
    }
    ~Round() {
        client_.reset();
        EXPECT_TRUE(relay_.set_pool(service_, {}));
        EXPECT_TRUE(relay_.wait_until_idle(kLongest));
        EXPECT_EQ(relay_.metrics(service_).value().connections_open, 0U);
        EXPECT_EQ(relay_.metrics(service_).value().sessions_open, 0U);
        relay_.remove_service(service_);
        EXPECT_TRUE(eventually([&] { return relay_.metrics().held_connections == 0; }));
    }
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

    // A client comes, and goes when it was told something, was refused, or what it needs has failed.
    void try_it() {
        come();
        EXPECT_TRUE(eventually([&] { return failures > 0 || heard() || relay_.metrics().held_connections > 0; }));
        relay_.close(ListenerId{});  // none: but returns when its threads are done with what they were at
    }
    void expect_service() {
        if (!client_ || protocol_ == net::Protocol::kTcp) come();  // else it may have the only session there can be
        EXPECT_TRUE(eventually([&] { return heard() && answered_; }));
    }

  private:
    void come() {
        answered_ = false;
        client_ = connect_to(address_, protocol_ == net::Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM);
        EXPECT_TRUE(client_);
    }
    // Whether it got an answer or its end. UDP asks again and again: what met the closed port is lost.
    bool heard() {
        char byte = 0;
        if (protocol_ == net::Protocol::kUdp) (void)send_all(client_, "?");
        const auto got = ::recv(client_.get(), &byte, 1, MSG_DONTWAIT);
        answered_ = got == 1;
        return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }

    Relay& relay_;
    const net::Protocol protocol_;
    ServiceId service_{};
    ListenerId listener_{};
    SocketAddress address_;
    Fd client_;
    bool answered_ = false;
};

void fail_one_after_the_other(net::Protocol protocol, Answer::Verdict verdict) {
    const Servers servers;
    Options options;
    options.threads = 1;
    // What is not given back is missed soon.
    options.limits.connections = 2;
    options.limits.udp_sessions = 2;
    options.limits.udp_sessions_per_client = 1;
    options.limits.held_connections = 1;
    options.timeouts.hold = milliseconds(20);
    const auto relay = Relay::start(options).value();
    for (const auto how : {Failing::kOne, Failing::kAllFromThere}) {
        int granted = 0;
        do {
            SCOPED_TRACE(::testing::Message() << granted << " were granted, then failed " << static_cast<int>(how));
            {
                Round round(*relay, servers, protocol, verdict);
                failures = 0;
                still_granted = granted++;
                failing = how;
                round.try_it();
                failing = Failing::kNone;
                if (verdict == Answer::Verdict::kServe) round.expect_service();
            }
            Round next(*relay, servers, protocol, Answer::Verdict::kServe);
            next.expect_service();
        } while (failures > 0 && !::testing::Test::HasFailure());
        EXPECT_GE(granted, 3) << "hardly anything was asked for";
    }
}

struct Case {
    const char* name;
    net::Protocol protocol;
    Answer::Verdict verdict;
};
class WithoutMemory : public ::testing::TestWithParam<Case> {};

TEST_P(WithoutMemory, TheProcessLivesAndNothingStaysTaken) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        fail_one_after_the_other(GetParam().protocol, GetParam().verdict);
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

INSTANTIATE_TEST_SUITE_P(Relay, WithoutMemory,
                         ::testing::Values(Case{"Tcp", net::Protocol::kTcp, Answer::Verdict::kServe},
                                           Case{"Udp", net::Protocol::kUdp, Answer::Verdict::kServe},
                                           Case{"Held", net::Protocol::kTcp, Answer::Verdict::kDrop}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace ghostip::relay::testing
