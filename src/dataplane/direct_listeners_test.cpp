#include "dataplane/direct_listeners.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane {
namespace {

using namespace plan::testing;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Fd listener_at(const relay::SocketAddress& at) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const relay::KernelAddress address(at);
    if (::bind(socket.get(), address.get(), address.size) != 0 || ::listen(socket.get(), 16) != 0) socket.reset();
    return socket;
}

// What a client is told by a server that says one letter and ends; empty: refused or reset.
std::string dial(const relay::SocketAddress& at) {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{10, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const relay::KernelAddress address(at);
    char letter = 0;
    if (::connect(socket.get(), address.get(), address.size) != 0) return {};
    return ::recv(socket.get(), &letter, 1, 0) == 1 ? std::string(1, letter) : std::string();
}

// Says its letter to the next client, from the test's own thread.
struct Server {
    Server() : socket(listener_at({ip("127.0.0.1"), 0})), at(relay::own_address(socket.get()).value()) {}
    void serve(char letter) const {
        const Fd client(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        (void)!::send(client.get(), &letter, 1, MSG_NOSIGNAL);
    }
    Fd socket;
    relay::SocketAddress at;
};

ino_t inode_of(const Fd& socket) {
    struct stat status {};
    EXPECT_EQ(::fstat(socket.get(), &status), 0);
    return status.st_ino;
}

std::uint16_t free_port() {
    const Fd socket = listener_at({ip("127.0.0.1"), 0});
    return relay::own_address(socket.get()).value().port;
}

// Service ns/web with one endpoint on loopback. (No EndpointSlice can name such a one; this plan is written by hand.)
plan::ServicePortPlanPtr web(const relay::SocketAddress& endpoint, std::uint16_t node_port) {
    auto made = std::make_shared<plan::ServicePortPlan>();
    made->name = {{"ns", "web"}, "http", net::Protocol::kTcp};
    made->cluster = {{endpoint.address, endpoint.port, true}};
    for (const bool is_node_port : {false, true}) {
        plan::Destination destination;
        destination.kind = is_node_port ? plan::DestinationKind::kNodePort : plan::DestinationKind::kClusterIp;
        destination.key = {is_node_port, is_node_port ? net::IpAddress(net::Family::kIpv4) : ip("172.30.0.41"),
                           net::Protocol::kTcp, is_node_port ? node_port : std::uint16_t{80}};
        for (auto& treatment : destination.treatments) treatment.action = plan::Action::kBalance;
        made->destinations.push_back(destination);
    }
    return made;
}

struct Direct : ::testing::Test {
    void start(NodePortsAt node_ports, std::vector<ListenRequest> requests = {}) {
        listeners.reset();  // before what it refers to
        RelayOptions options;
        options.threads = 1;
        carrier = Carrier::start(options).value();
        services = std::make_unique<CarriedServices>(carrier, net::Family::kIpv4, relay::Pick::kRoundRobin);
        listeners = std::make_unique<DirectListeners>(*services, node_ports, std::move(requests));
    }
    void follow(const plan::Plan& plan) {
        services->take(plan);
        listeners->follow();
        services->retire();
    }
    [[nodiscard]] plan::Plan plan_with(plan::ServicePortPlanPtr one) const {
        plan::Plan plan;
        plan.node.node_ports.addresses = ips({"127.0.0.1"});
        if (one) plan.service_ports.emplace(one->name, one);
        return plan;
    }
    std::string ask(std::uint16_t port) const {
        std::string answer;
        std::thread client([&] { answer = dial({ip("127.0.0.1"), port}); });
        server.serve('w');
        client.join();
        return answer;
    }

    Server server;
    std::shared_ptr<Carrier> carrier;
    std::unique_ptr<CarriedServices> services;
    std::unique_ptr<DirectListeners> listeners;
};

TEST_F(Direct, NodePortsAreOpenWhileTheServiceHasThem) {
    start(NodePortsAt::kAccepted);
    const auto port = free_port();
    follow(plan_with(web(server.at, port)));
    EXPECT_THAT(listeners->failed(), IsEmpty());
    EXPECT_EQ(ask(port), "w");
    follow(plan_with(nullptr));
    EXPECT_EQ(listeners->size(), 0U);
    EXPECT_EQ(dial({ip("127.0.0.1"), port}), "");
}

TEST_F(Direct, ListenersAreOpenForWhoAskedForThem) {
    const auto port = free_port();
    for (const std::string name : {"http", "80", ""}) {
        start(NodePortsAt::kNowhere, {{{"ns", "web"}, name, {ip("127.0.0.1"), port}}});
        follow(plan_with(nullptr));
        EXPECT_EQ(listeners->size(), 0U) << "the Service is not there yet";
        follow(plan_with(web(server.at, 30080)));
        EXPECT_EQ(ask(port), "w") << name;
    }
    start(NodePortsAt::kNowhere, {{{"ns", "web"}, "https", {ip("127.0.0.1"), port}}});
    follow(plan_with(web(server.at, 30080)));
    EXPECT_EQ(listeners->size(), 0U);
}

TEST_F(Direct, APortThatAnotherHasIsToldAndTriedAgain) {
    start(NodePortsAt::kLoopback);
    auto taken = listener_at({ip("127.0.0.1"), 0});
    const auto port = relay::own_address(taken.get()).value().port;
    follow(plan_with(web(server.at, port)));
    ASSERT_EQ(listeners->failed().size(), 1U);
    EXPECT_EQ(listeners->failed().begin()->first, fmt::format("ns/web:http: node port {}/TCP", port));
    EXPECT_THAT(listeners->failed().begin()->second, HasSubstr("Address already in use"));
    taken.reset();
    listeners->follow(plan::Delta{});
    EXPECT_THAT(listeners->failed(), IsEmpty());
    EXPECT_EQ(ask(port), "w");
}

TEST_F(Direct, OfTwoAtOnePlaceTheFirstHasItAndTheOtherIsTold) {
    const auto port = free_port();
    const relay::SocketAddress at{ip("127.0.0.1"), port};
    start(NodePortsAt::kAccepted, {{{"ns", "web"}, "", at}});
    auto plan = plan_with(web(server.at, port));
    auto second = std::make_shared<plan::ServicePortPlan>(*web({ip("127.0.0.1"), 9}, 30443));
    second->name.port = "https";
    second->destinations[0].key.port = 443;
    plan.service_ports.emplace(second->name, second);
    follow(plan);
    EXPECT_EQ(ask(port), "w");
    const auto has_it = fmt::format("127.0.0.1:{}/TCP: ns/web:http: --listen ns/web=127.0.0.1:{} has it", port, port);
    EXPECT_THAT(listeners->failed(), IsEmpty()) << "trying again would help nobody";
    EXPECT_THAT(listeners->aside(),
                UnorderedElementsAre(Pair(fmt::format("ns/web:https: --listen ns/web=127.0.0.1:{}", port), has_it),
                                     Pair(fmt::format("ns/web:http: node port {}/TCP", port), has_it)));
}

// A client that waits is not refused when a Service gets another port.
TEST_F(Direct, AListenerStaysWhenTheServicesPortChanges) {
    const auto port = free_port();
    start(NodePortsAt::kNowhere, {{{"ns", "web"}, "http", {ip("127.0.0.1"), port}}});
    follow(plan_with(web(server.at, 30080)));
    const auto before = carrier->duplicates();
    auto changed = std::make_shared<plan::ServicePortPlan>(*web(server.at, 30080));
    changed->destinations[0].key.port = 8080;
    follow(plan_with(changed));
    EXPECT_EQ(ask(port), "w");
    ASSERT_EQ(before.size(), 1U);
    const auto after = carrier->duplicates();
    ASSERT_EQ(after.size(), 1U);
    EXPECT_EQ(inode_of(before[0].sockets.at(0)), inode_of(after[0].sockets.at(0))) << "it was opened anew";
}

TEST_F(Direct, ADeltaOfOthersOpensNothingAnew) {
    start(NodePortsAt::kAccepted);
    const auto port = free_port();
    follow(plan_with(web(server.at, port)));
    plan::Delta delta;
    delta.service_ports.push_back({nullptr, nullptr});
    listeners->follow(delta);
    EXPECT_EQ(listeners->size(), 1U);
    EXPECT_EQ(ask(port), "w");
}

}  // namespace
}  // namespace ghostip::dataplane
