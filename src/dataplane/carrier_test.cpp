#include "dataplane/carrier.h"

#include <sys/socket.h>

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane {
namespace {

using plan::testing::ip;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kUdp = net::Protocol::kUdp;

Fd udp_at(const relay::SocketAddress& at) {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const timeval patience{10, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const relay::KernelAddress address(at);
    EXPECT_EQ(::bind(socket.get(), address.get(), address.size), 0);
    return socket;
}

// Who sent the next datagram; port 0: nobody did.
relay::SocketAddress heard_from(const Fd& socket) {
    relay::KernelAddress from;
    char letter = 0;
    if (::recvfrom(socket.get(), &letter, 1, 0, from.get(), &from.size) != 1) return {};
    return from.value().value_or(relay::SocketAddress());
}

CarriedPool pool_named(std::string name) {
    return {{{"ns", std::move(name)}, "dns", kUdp}, net::Family::kIpv4, plan::PoolScope::kCluster};
}

RelayOptions one_thread() {
    RelayOptions options;
    options.threads = 1;
    return options;
}

class Successors : public ::testing::Test {
  protected:
    void SetUp() override {
        old_ = Carrier::start(one_thread()).value();
        const auto sticky = old_->add(pool_named("sticky"), pool());
        listener_ = old_->listen("sticky", spec(sticky)).value();
        const auto other = old_->add(pool_named("other"), pool());
        ASSERT_TRUE(old_->listen("other", spec(other)));
        client_ = udp_at({ip("127.0.0.1"), 0});
        const relay::KernelAddress to(old_->relay().address(listener_).value());
        ASSERT_EQ(::connect(client_.get(), to.get(), to.size), 0);
        ask();
        port_ = heard_from(endpoint_);
        ASSERT_NE(port_.port, 0);
    }
    [[nodiscard]] relay::Pool pool() const {
        return {.endpoints = {relay::own_address(endpoint_.get()).value()}, .affinity = std::chrono::hours(3)};
    }
    static relay::ListenerSpec spec(relay::ServiceId service) {
        return {.protocol = kUdp, .address = {ip("127.0.0.1"), 0}, .service = service};
    }
    void ask() const { ASSERT_EQ(::send(client_.get(), "?", 1, 0), 1); }
    // Has inherited all listeners, and none of them serves.
    [[nodiscard]] std::shared_ptr<Carrier> successor() const {
        Carrier::Inheritance inheritance;
        for (auto& one : old_->duplicates()) inheritance.emplace(one.name, std::move(one.sockets));
        return Carrier::start(one_thread(), std::move(inheritance), nullptr, Carrier::Predecessor::kServes).value();
    }

    const Fd endpoint_ = udp_at({ip("127.0.0.1"), 0});
    std::shared_ptr<Carrier> old_;
    relay::ListenerId listener_{};
    Fd client_;
    relay::SocketAddress port_;
};

TEST_F(Successors, GoOnWithTheClientsOfTheListenersThatTheyAdopt) {
    const auto next = successor();
    const auto service = next->add(pool_named("sticky"), pool());
    ASSERT_TRUE(next->listen("sticky", spec(service)));
    const auto fresh = next->listen("fresh", spec(service));
    ASSERT_TRUE(fresh);
    EXPECT_THAT(next->held(), ElementsAre("sticky"));
    next->forget_inheritance();
    ask();
    EXPECT_EQ(heard_from(endpoint_), port_) << "the predecessor serves";

    auto clients = old_->let_go(next->held());
    ASSERT_EQ(clients.sessions.size(), 1U);
    EXPECT_EQ(clients.sessions.front().of.listener, "sticky");
    ASSERT_EQ(clients.affinities.size(), 1U);
    EXPECT_EQ(clients.affinities.front().service, "IPv4 UDP ns/sticky:dns cluster");
    EXPECT_THAT(old_->held(), ElementsAre("sticky"));
    ask();
    auto of_nobody = clients.affinities.front();
    of_nobody.service = "IPv4 UDP ns/gone cluster";
    clients.affinities.push_back(of_nobody);
    const auto resumed = next->resume(std::move(clients));
    ASSERT_TRUE(resumed) << resumed.error().message;
    EXPECT_EQ(resumed->sessions, 1U);
    EXPECT_EQ(resumed->affinities, 1U);
    EXPECT_THAT(next->held(), IsEmpty());
    EXPECT_EQ(heard_from(endpoint_), port_) << "the successor serves";
    EXPECT_EQ(old_->relay().metrics().sessions_open, 0U);
    EXPECT_EQ(next->relay().metrics().sessions_open, 1U);
}

TEST_F(Successors, ThatDoNotServeAfterAllLeaveTheClientsWhereTheyWere) {
    auto clients = old_->let_go({"sticky", "no such"});
    EXPECT_THAT(old_->held(), ElementsAre("sticky"));
    ask();
    const auto resumed = old_->resume(std::move(clients));
    ASSERT_TRUE(resumed) << resumed.error().message;
    EXPECT_EQ(resumed->sessions, 1U);
    EXPECT_EQ(resumed->affinities, 0U) << "it has them";
    EXPECT_THAT(old_->held(), IsEmpty());
    EXPECT_EQ(heard_from(endpoint_), port_);
}

// Node ports on all addresses, and then on one.
TEST_F(Successors, ListenBesideThePredecessorWhileItServes) {
    const relay::ListenerSpec all{.address = {ip("0.0.0.0"), 0}, .sockets = 1};
    const auto port = old_->relay().address(old_->listen("all", all).value()).value().port;
    const auto next = successor();
    const relay::ListenerSpec one{.address = {ip("127.0.0.1"), port}, .sockets = 1};
    const auto beside = next->listen("one", one);
    ASSERT_TRUE(beside) << beside.error().message;
    next->close(*beside);
    next->forget_inheritance();
    ASSERT_TRUE(next->resume({}));
    EXPECT_FALSE(next->listen("one", one)) << "the old one is nobody's predecessor any more";
    next->set_another(true);
    EXPECT_TRUE(next->listen("one", one)) << "but a process of ours";
}

TEST_F(Successors, ServeAtOnceWhereNobodyElseDoes) {
    Carrier::Inheritance inheritance;
    for (auto& one : old_->duplicates()) inheritance.emplace(one.name, std::move(one.sockets));
    old_.reset();
    const auto next = Carrier::start(one_thread(), std::move(inheritance)).value();
    ASSERT_TRUE(next->listen("sticky", spec(next->add(pool_named("sticky"), pool()))));
    EXPECT_THAT(next->held(), IsEmpty());
    ask();
    EXPECT_NE(heard_from(endpoint_).port, 0);
}

}  // namespace
}  // namespace ghostip::dataplane
