// Processes that carry traffic, one after the other: clients do not notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "packets/traffic.h"
#include "packets/userspace_node.h"
#include "support/wire.h"

namespace ghostip::packets {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testnet::Place;

// UDP clients that never rest, each with one socket, and the endpoints. Whoever is lost, or meets another endpoint or
// from another port, is written down. Answers come late: with the next question, so that some are always under way.
class UdpTalk {
  public:
    UdpTalk(const LiveNode& live, const ServiceSpec& service, const testnet::SocketAddress& to)
        : pods_(live.topology().at(Place::kPods)) {
        const auto inside = pods_.enter();
        for (const auto& endpoint : service.endpoints)
            endpoints_.push_back({open({live.address(endpoint), kEchoTarget}), {}});
        for (int i = 0; i < kClients; ++i) {
            auto& client = clients_.emplace_back();
            client.socket = open({live.address(fmt::format("10.0.1.{}", 1 + i)), 0});
            EXPECT_EQ(::connect(client.socket.get(), to.raw(), to.length), 0);
        }
        thread_ = std::thread([this] {
            while (!stop_ && failures_.size() < 20) talk();
        });
    }
    ~UdpTalk() { end(); }
    UdpTalk(const UdpTalk&) = delete;
    UdpTalk& operator=(const UdpTalk&) = delete;

    [[nodiscard]] std::uint32_t rounds() const { return round_; }
    // Ends it.
    std::vector<std::string> end() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
        return failures_;
    }

  private:
    static constexpr int kClients = 60;
    static constexpr std::uint32_t kNobody = ~0U;
    using Words = std::array<std::uint32_t, 2>;  // client, round
    struct Met {
        std::size_t endpoint = kNobody;
        std::uint16_t port = 0;
        friend bool operator==(const Met&, const Met&) = default;
    };
    struct Client {
        Fd socket;
        Met met;
    };
    struct Endpoint {
        Fd socket;
        std::vector<std::pair<testnet::SocketAddress, Words>> unanswered;
    };

    static Fd open(const testnet::SocketAddress& at) {
        Fd socket(::socket(at.raw()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(socket.get(), at.raw(), at.length), 0);
        return socket;
    }
    static bool readable(const Fd& socket, std::chrono::steady_clock::time_point deadline) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
        pollfd wanted{socket.get(), POLLIN, 0};
        return ::poll(&wanted, 1, static_cast<int>(std::max<std::int64_t>(left, 0))) == 1;
    }
    void failed(std::string text) { failures_.push_back(fmt::format("round {}: {}", round_.load(), text)); }

    void talk() {
        ++round_;
        const auto deadline = std::chrono::steady_clock::now() + kAnswerWithin;
        std::vector<bool> answers(clients_.size(), false);
        for (std::uint32_t i = 0; i < clients_.size(); ++i) {
            const Words words{i, round_};
            if (::send(clients_[i].socket.get(), words.data(), sizeof words, 0) != sizeof words) failed("not sent");
        }
        for (auto& endpoint : endpoints_)
            for (const auto& [to, words] : std::exchange(endpoint.unanswered, {})) {
                answers[words[0]] = true;
                if (::sendto(endpoint.socket.get(), words.data(), sizeof words, 0, to.raw(), to.length) < 0)
                    failed("not answered");
            }
        for (std::size_t heard = 0; heard < clients_.size();) {
            std::vector<pollfd> wanted;
            for (const auto& endpoint : endpoints_) wanted.push_back({endpoint.socket.get(), POLLIN, 0});
            const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
            if (left <= 0 || ::poll(wanted.data(), wanted.size(), static_cast<int>(left)) <= 0)
                return failed(fmt::format("{} of {} questions are lost", clients_.size() - heard, clients_.size()));
            for (std::size_t i = 0; i < endpoints_.size(); ++i)
                if (wanted[i].revents != 0 && hear(i)) ++heard;
        }
        for (std::uint32_t i = 0; i < clients_.size(); ++i) {
            if (!answers[i]) continue;
            Words words{};
            if (!readable(clients_[i].socket, deadline))
                failed(fmt::format("the answer to client {} is lost", i));
            else if (::recv(clients_[i].socket.get(), words.data(), sizeof words, 0) < 0 ||
                     words != Words{i, round_ - 1})
                failed(
                    fmt::format("client {} was answered what client {} had asked in round {}", i, words[0], words[1]));
        }
    }

    bool hear(std::size_t index) {
        auto& endpoint = endpoints_[index];
        Words words{};
        testnet::SocketAddress from;
        from.length = sizeof from.storage;
        if (::recvfrom(endpoint.socket.get(), words.data(), sizeof words, 0, from.raw(), &from.length) < 0)
            return false;
        if (words[1] != round_ || words[0] >= clients_.size()) {
            failed(fmt::format("a question of round {}", words[1]));
            return false;
        }
        const Met met{index, from.port()};
        auto& before = clients_[words[0]].met;
        if (before.endpoint == kNobody) before = met;
        if (before != met)
            failed(fmt::format("client {} went to endpoint {} from port {}, now to {} from {}", words[0],
                               before.endpoint, before.port, met.endpoint, met.port));
        before = met;
        endpoint.unanswered.emplace_back(from, words);
        return true;
    }

    const testnet::Namespace& pods_;
    std::vector<Client> clients_;      // of the thread, once it runs
    std::vector<Endpoint> endpoints_;  // likewise
    std::vector<std::string> failures_;
    std::atomic<std::uint32_t> round_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// The process is replaced while clients go on: by another of its kind, and by one that leaves it all to the kernel.
class Successors : public Userspace {
  protected:
    void some_traffic() const {
        const auto enough = traffic_->connections() + 300;
        EXPECT_TRUE(wait_until(kSoon, [&] { return traffic_->connections() >= enough; }));
    }
    // Where the kernel is to lead UDP clients they begin anew.
    void start_traffic(const std::vector<ServiceSpec>& services = {},
                       const std::vector<net::Protocol>& lasting = {net::Protocol::kTcp}) {
        auto traffic = Traffic::start(
            *live_, targets_of(*live_, services.empty() ? std::vector<ServiceSpec>{kServed} : services), lasting);
        ASSERT_TRUE(traffic) << traffic.error().message << live_->log();
        traffic_ = std::move(*traffic);
    }
    const ServiceSpec kServed{.name = "served",
                              .cluster_ip = "172.30.0.1",
                              .external_ip = "1.2.3.1",
                              .node_port = 30001,
                              .sticky = false,
                              .endpoints = {"10.180.0.1", "10.180.0.2", "10.181.0.3"}};
    [[nodiscard]] static bool goes_on(const UdpTalk& talk) {
        const auto enough = talk.rounds() + 50;
        return wait_until(kSoon, [&] { return talk.rounds() >= enough; });
    }
    void succeed_thrice(const UdpTalk& talk) const {
        EXPECT_TRUE(goes_on(talk));
        for (int i = 0; i < 3; ++i) {
            const auto begun = live_->start_successor();
            ASSERT_TRUE(begun) << begun.error().message;
            EXPECT_TRUE(goes_on(talk));
            EXPECT_TRUE(wait_until(std::chrono::seconds(60), [&] { return live_->predecessor_ended(); }))
                << "it carries nothing any more";
        }
    }
    const ServiceSpec kNear{.name = "near",
                            .cluster_ip = "172.30.0.3",
                            .node_port = 30003,
                            .endpoints = {"10.180.0.1", "10.180.0.2", "10.180.0.3", "10.180.0.4"}};
    const ServiceSpec kSticky{.name = "sticky",
                              .cluster_ip = "172.30.0.2",
                              .external_ip = "1.2.3.2",
                              .node_port = 30002,
                              .sticky = true,
                              .endpoints = {"10.180.0.4", "10.180.0.5", "10.181.0.6", "10.180.0.7", "10.181.0.8"}};
    std::unique_ptr<Traffic> traffic_;
};

INSTANTIATE_TEST_SUITE_P(Families, Successors, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

TEST_P(Successors, TakeTheListenersOver) {
    engine_.reset();
    put(kServed);
    start({"--relay-udp-timeout", "1s"});
    start_traffic();
    some_traffic();
    const auto begun = live_->start_successor();
    ASSERT_TRUE(begun) << begun.error().message;
    some_traffic();
    EXPECT_FALSE(live_->predecessor_ended()) << "it carries those that stay";
    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, ::testing::IsEmpty()) << live_->log();
    traffic_.reset();
    EXPECT_TRUE(wait_until(std::chrono::seconds(60), [&] { return live_->predecessor_ended(); }));
    fmt::print("  {}\n", report.text());
}

// As a DaemonSet with maxSurge goes about it: the new pod runs before the old one is deleted, and a container that ends
// by itself would be started again, and take over in turn.
TEST_P(Successors, InAPodLeaveTheOldOneToBeDeleted) {
    engine_.reset();
    put(kServed);
    live_->run_by({"env", "KUBERNETES_SERVICE_HOST=172.30.0.1"});
    start({"--relay-udp-timeout", "1s"});
    start_traffic();
    some_traffic();
    const auto begun = live_->start_successor();
    ASSERT_TRUE(begun) << begun.error().message;
    some_traffic();
    auto report = traffic_->end();
    EXPECT_THAT(report.failures, ::testing::IsEmpty()) << live_->log();
    traffic_.reset();
    EXPECT_TRUE(soon([&] { return live_->log().find("waiting for the end of the pod") != std::string::npos; }));
    EXPECT_FALSE(live_->predecessor_ended());
    start_traffic();
    some_traffic();
    live_->end_predecessor(SIGTERM);
    EXPECT_TRUE(soon([&] { return live_->predecessor_ended(); })) << live_->log();
    some_traffic();
    report = traffic_->end();
    EXPECT_THAT(report.failures, ::testing::IsEmpty()) << live_->log();
    traffic_.reset();
}

// Kubelet starts it again, and then it serves.
TEST_P(Successors, InAPodThatDieAreReplacedByTheOldOne) {
    put(kServed);
    live_->run_by({"env", "KUBERNETES_SERVICE_HOST=172.30.0.1"});
    start();
    const auto begun = live_->start_successor();
    ASSERT_TRUE(begun) << begun.error().message;
    EXPECT_TRUE(soon([&] { return live_->log().find("waiting for the end of the pod") != std::string::npos; }));
    live_->stop(SIGKILL);
    EXPECT_TRUE(soon([&] { return live_->predecessor_ended(); })) << live_->log();
    EXPECT_THAT(live_->log(), HasSubstr("nobody serves after it"));
    const auto took = live_->start_and_wait();
    ASSERT_TRUE(took) << took.error().message;
    EXPECT_TRUE(dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30001).arrived) << live_->log();
}

// Whatever has been said by then.
TEST_P(Successors, ServeWhereTheOldOneDiesInTheMiddle) {
    put(kServed);
    start();
    for (const std::string moment : {"has come to take over", "it has handed over", "node test-node"})
        for (int i = 0; i < 2; ++i) {
            SCOPED_TRACE(moment);
            const auto begun = live_->start_beside();
            ASSERT_TRUE(begun) << begun.error().message;
            EXPECT_TRUE(soon([&] { return live_->log().find(moment) != std::string::npos; })) << live_->log();
            live_->end_predecessor(SIGKILL);
            EXPECT_TRUE(soon([&] { return live_->predecessor_ended(); }));
            const auto synced = live_->wait_synced();
            ASSERT_TRUE(synced) << synced.error().message << live_->log();
            for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
                const auto seen = dial(Place::kOutside, "203.0.113.2", kOwnAddress, 30001, protocol);
                EXPECT_EQ(seen.endpoint_port, kProbeTarget) << seen.text() << live_->log();
            }
        }
}

TEST_P(Successors, KnowWhereClientsWent) {
    engine_.reset();
    put(kServed);
    put(kSticky);
    start();
    start_traffic({kServed, kSticky}, {net::Protocol::kTcp, net::Protocol::kUdp});
    some_traffic();
    const auto begun = live_->start_successor();
    ASSERT_TRUE(begun) << begun.error().message;
    some_traffic();
    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, ::testing::IsEmpty()) << live_->log();
    EXPECT_THAT(report.moved, ::testing::IsEmpty()) << live_->log();
    EXPECT_TRUE(soon([&] { return live_->log().find("clients that stick") != std::string::npos; })) << live_->log();
    fmt::print("  {}\n", report.text());
}

TEST_P(Successors, LoseNoDatagram) {
    engine_.reset();
    put(kNear);
    start();
    UdpTalk talk(*live_, kNear, {live_->address(kNear.cluster_ip), kEchoPort});
    succeed_thrice(talk);
    // One that dies before it serves has none of them.
    for (const int after : {10, 20, 40}) {
        const auto killed = live_->kill_a_successor(milliseconds(after));
        ASSERT_TRUE(killed) << killed.error().message;
        EXPECT_TRUE(goes_on(talk));
    }
    EXPECT_THAT(talk.end(), ::testing::IsEmpty()) << live_->log();
}

TEST_P(Successors, LoseNoDatagramWhereNothingIsRedirected) {
    engine_.reset();
    put(kNear);
    start({"--relay-redirect=false"});
    UdpTalk talk(*live_, kNear,
                 {live_->address(kOwnAddress), static_cast<std::uint16_t>(kNear.node_port + kEchoNodePort)});
    succeed_thrice(talk);
    EXPECT_THAT(talk.end(), ::testing::IsEmpty()) << live_->log();
}

TEST_P(Successors, OfAnotherModeLeadClientsToEndpointsThemselves) {
    engine_.reset();
    put(kServed);
    start();
    start_traffic();
    some_traffic();
    live_->set_mode("nftables");
    const auto begun = live_->start_successor();
    ASSERT_TRUE(begun) << begun.error().message;
    some_traffic();
    EXPECT_FALSE(live_->predecessor_ended()) << "it carries those that stay";
    // And back: rules outlive their process.
    live_->stop(SIGKILL);
    some_traffic();
    live_->set_mode("userspace");
    const auto back = live_->start_and_wait();
    ASSERT_TRUE(back) << back.error().message;
    some_traffic();
    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, ::testing::IsEmpty()) << live_->log();
    fmt::print("  {}\n", report.text());
}

// A successor that dies before it serves leaves everything as it was.
TEST_P(Successors, ThatDieChangeNothing) {
    engine_.reset();
    put(kServed);
    start();
    start_traffic();
    some_traffic();
    for (int i = 0; i < 3; ++i) {
        const auto killed = live_->kill_a_successor(milliseconds(5 + 10 * i));
        ASSERT_TRUE(killed) << killed.error().message;
        some_traffic();
    }
    ASSERT_TRUE(live_->running());
    auto more = kServed;
    more.endpoints.emplace_back("10.180.0.9");
    put(more);
    EXPECT_TRUE(soon([&] { return live_->metric("ghostip_plan_endpoints").value_or(0) >= 16; }))
        << "it follows changes again: " << live_->log();
    const auto report = traffic_->end();
    std::vector<std::string> failures;
    for (const auto& one : report.failures)  // the endpoint that came is none of the targets'
        if (one.find(live_->address("10.180.0.9").text()) == std::string::npos) failures.push_back(one);
    EXPECT_THAT(failures, ::testing::IsEmpty()) << live_->log();
}

// An API server that does not answer: until the new process knows anything the old one follows what changes.
TEST_P(Successors, ThatWaitForTheirListLeaveTheOldOneAtWork) {
    serve_echoes();
    put(kWeb);
    start();
    testnet::SocketAddress at({*net::IpAddress::parse("127.0.0.1"), 0});
    Fd silent;
    {
        const auto inside = live_->node().enter();
        silent = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
    ASSERT_EQ(::bind(silent.get(), at.raw(), at.length), 0);
    ASSERT_EQ(::listen(silent.get(), 16), 0);
    ASSERT_EQ(::getsockname(silent.get(), at.raw(), &at.length), 0);
    live_->follow(fmt::format("http://127.0.0.1:{}", at.port()));
    const auto beside = live_->start_beside();
    ASSERT_TRUE(beside) << beside.error().message;
    ASSERT_TRUE(soon([&] { return live_->log().find("has come to take over") != std::string::npos; })) << live_->log();
    for (const auto& endpoint : kWeb.endpoints)
        EXPECT_TRUE(soon([&] { return moves_to(endpoint); })) << endpoint << ": " << live_->log();
    EXPECT_EQ(live_->log().find("nothing is written here"), std::string::npos) << live_->log();
}

// As under systemd: the old process is gone before the new one starts, and its listeners are kept meanwhile.
class AfterAGap : public Userspace {
  protected:
    void SetUp() override {
        Userspace::SetUp();
        const auto inside = live_->node().enter();  // such names belong to a network namespace
        socket_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        const auto address = kernel_address();
        ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length()), 0);
    }
    [[nodiscard]] sockaddr_un kernel_address() const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name_.copy(std::begin(address.sun_path), name_.size());
        address.sun_path[0] = 0;
        return address;
    }
    [[nodiscard]] socklen_t length() const {
        return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    }
    // Takes in what the program has said so far.
    void hear() {
        for (;;) {
            std::array<char, 1024> text{};
            alignas(cmsghdr) std::array<char, CMSG_SPACE(253 * sizeof(int))> control{};
            iovec part{text.data(), text.size()};
            msghdr packet{};
            packet.msg_iov = &part;
            packet.msg_iovlen = 1;
            packet.msg_control = control.data();
            packet.msg_controllen = control.size();
            const auto got = ::recvmsg(socket_.get(), &packet, MSG_DONTWAIT);
            if (got < 0) return;
            const std::string_view message(text.data(), static_cast<std::size_t>(got));
            const auto name = message.find("FDNAME=");
            const auto* header = CMSG_FIRSTHDR(&packet);
            if (name == std::string_view::npos || header == nullptr) continue;
            for (std::size_t at = 0; at + CMSG_LEN(0) < header->cmsg_len; at += sizeof(int)) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(header) + at, sizeof number);
                kept_.emplace_back(std::string(message.substr(name + 7)), Fd(number));
            }
        }
    }
    // What starts the program with what was kept, from descriptor 3 on.
    [[nodiscard]] std::vector<std::string> starter() const {
        std::string redirections;
        std::string names;
        int number = 3;
        for (const auto& [name, descriptor] : kept_) {
            redirections += fmt::format(" {}<&{}", number++, descriptor.get());
            names += (names.empty() ? "" : ":") + name;
        }
        return {"bash", "-c",
                fmt::format("exec{}; export NOTIFY_SOCKET='{}' LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES='{}'; exec "
                            "\"$@\"",
                            redirections, name_, kept_.size(), names),
                "bash"};
    }

    const std::string name_ = "@service-manager";
    Fd socket_;
    std::vector<std::pair<std::string, Fd>> kept_;
};

INSTANTIATE_TEST_SUITE_P(Families, AfterAGap, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

TEST_P(AfterAGap, ClientsHaveWaitedAndAreServed) {
    serve_echoes();
    put(kWeb);
    live_->run_by(starter());
    start();
    hear();
    ASSERT_FALSE(kept_.empty());
    live_->stop(SIGKILL);
    auto waiting = client(kWeb.cluster_ip);
    ASSERT_TRUE(waiting) << "refused: " << waiting.error().message;
    // Below those the shell keeps for itself.
    for (auto& [name, descriptor] : kept_) descriptor = Fd(::fcntl(descriptor.get(), F_DUPFD, 100));
    live_->run_by(starter());
    const auto took = live_->start_and_wait();
    ASSERT_TRUE(took) << took.error().message;
    EXPECT_THAT(live_->log(), HasSubstr("the service manager has kept"));
    const auto answered = waiting->ask(kAnswerWithin);
    EXPECT_TRUE(answered) << answered.error().message << live_->log();
}

}  // namespace
}  // namespace ghostip::packets
