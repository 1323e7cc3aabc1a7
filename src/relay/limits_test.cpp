// What clients cannot take, however many they are and whatever they do.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

using std::chrono::milliseconds;

std::uint64_t refused(const ServiceMetrics& metrics, Refusal why) {
    return metrics.refused[static_cast<std::size_t>(why)];
}

std::size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::size_t total = 0;
    std::size_t resident = 0;
    file >> total >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds(int who) {
    rusage used{};
    ::getrusage(who, &used);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Says its client what it got, then waits for the end.
class Holder {
  public:
    explicit Holder(Bound bound = bind_free(SOCK_STREAM)) : bound_(std::move(bound)) {
        thread_ = std::thread([this] {
            for (;;) {
                Fd server = accept_one(bound_.socket);
                if (stop_) return;
                if (!server) continue;
                (void)send_all(server, "s");
                served_.push_back(std::move(server));
            }
        });
    }
    ~Holder() {
        stop_ = true;
        (void)connect_to(bound_.address);
        thread_.join();
    }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    [[nodiscard]] SocketAddress address() const { return bound_.address; }

  private:
    Bound bound_;
    std::vector<Fd> served_;  // the thread's
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

bool has_answer(const Fd& client) {
    char byte = 0;
    return ::recv(client.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

bool answered_within(const Fd& client, milliseconds longest) {
    return eventually([&] { return has_answer(client); }, longest);
}

TEST(Limits, BeyondAllConnectionsClientsWait) {
    const Holder holder;
    Options options;
    options.limits.connections = 5;
    const auto rig = testing::rig({.endpoints = {holder.address()}}, options);
    std::vector<Fd> clients;
    for (int i = 0; i < 5; ++i) {
        clients.push_back(connect_to(rig.address));
        ASSERT_TRUE(answered_within(clients.back(), kLongest));
    }
    const Fd waiting = connect_to(rig.address);
    ASSERT_TRUE(waiting) << "the kernel takes it";
    EXPECT_FALSE(answered_within(waiting, milliseconds(300)));
    EXPECT_EQ(rig.relay->metrics().connections_open, 5U);
    EXPECT_GE(rig.relay->metrics().accept_pauses_limit, 1U);
    EXPECT_LE(rig.relay->metrics().accept_pauses_limit, 4U) << "a pause is one pause, however long";
    close_with_reset(clients[0]);
    EXPECT_TRUE(answered_within(waiting, kLongest));
}

TEST(Limits, BeyondThoseOfItsServiceAClientIsRefused) {
    const Holder holder;
    auto rig = testing::rig({.endpoints = {holder.address()}}, {}, {}, {.connections = 2});
    std::vector<Fd> clients;
    for (int i = 0; i < 2; ++i) {
        clients.push_back(connect_to(rig.address));
        ASSERT_TRUE(answered_within(clients.back(), kLongest));
    }
    EXPECT_EQ(ending(connect_to(rig.address)), Ending::kReset);
    EXPECT_EQ(refused(rig.metrics(), Refusal::kServiceLimit), 1U);
    ASSERT_TRUE(rig.relay->set_limits(rig.service, {.connections = 3}));
    EXPECT_EQ(rig.ask_name(), "s");
}

// Clients, and what the endpoint accepted for each.
std::pair<std::vector<Fd>, std::vector<Fd>> connect_through(const Rig& rig, const Bound& endpoint, std::size_t count) {
    std::pair<std::vector<Fd>, std::vector<Fd>> both;
    for (std::size_t i = 0; i < count; ++i) {
        both.first.push_back(connect_to(rig.address));
        both.second.push_back(accept_one(endpoint.socket));
        EXPECT_TRUE(both.first.back() && both.second.back());
    }
    return both;
}

// Each could have megabytes sent to it.
TEST(Limits, AThousandThatNeverReadTakeLittleMemory) {
    constexpr std::size_t kClients = 1000;
    const auto endpoint = bind_free(SOCK_STREAM, net::Family::kIpv4, 4096);
    const int small = 16 * 1024;
    ::setsockopt(endpoint.socket.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const auto rig = testing::rig({.endpoints = {endpoint.address}});
    const auto [clients, servers] = connect_through(rig, endpoint, kClients);
    const auto before = resident_bytes();
    const auto much = pattern(256 * 1024, 1);
    const auto push = [&] {
        bool moved = false;
        for (const auto& server : servers)
            while (::send(server.get(), much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) moved = true;
        return moved;
    };
    int quiet = 0;
    ASSERT_TRUE(eventually([&] { return (quiet = push() ? 0 : quiet + 1) > 20; })) << "senders were never slowed down";
    // A leftover of each is at most one buffer of the thread, 32 KiB.
    EXPECT_LE(resident_bytes(), before + kClients * 40 * 1024);
    const NamedServer quick('q');
    ASSERT_TRUE(rig.relay->set_pool(rig.service, {.endpoints = {quick.address()}}));
    EXPECT_EQ(rig.ask_name(), "q") << "and others are served meanwhile";
}

// One byte a minute, with a shorter minute: longer than after which a silent peer is asked whether it is there.
TEST(Limits, ClientsThatSendAByteAMinuteStayAndCostNothingBetween) {
    constexpr std::size_t kClients = 200;
    constexpr milliseconds kMinute(1500);
    const auto endpoint = bind_free(SOCK_STREAM, net::Family::kIpv4, 4096);
    Options options;
    options.timeouts.keepalive_idle = options.timeouts.keepalive_interval = std::chrono::seconds(1);
    options.timeouts.keepalive_probes = 1;
    const auto rig = testing::rig({.endpoints = {endpoint.address}}, options);
    const auto [clients, servers] = connect_through(rig, endpoint, kClients);
    const auto memory = resident_bytes();
    for (const std::string byte : {"a", "b", "c"}) {
        for (const auto& client : clients) ASSERT_TRUE(send_all(client, byte));
        for (const auto& server : servers) ASSERT_EQ(receive(server, 1), byte);
        const double before = cpu_seconds(RUSAGE_SELF);
        std::this_thread::sleep_for(kMinute);  // what this is about
        EXPECT_LE(cpu_seconds(RUSAGE_SELF) - before, 0.2);
    }
    EXPECT_EQ(rig.metrics().connections_open, kClients);
    EXPECT_LE(resident_bytes(), memory + kClients * 8 * 1024);
}

TEST(Limits, AFloodThatConnectsAndSaysNothing) {
    const Holder holder;
    Options options;
    options.limits.connections = 300;
    options.limits.connections_per_service = 200;
    auto rig = testing::rig({.endpoints = {holder.address()}}, options);
    const auto flood = connect_many(rig.address, 1500);
    ASSERT_TRUE(eventually([&] { return refused(rig.metrics(), Refusal::kServiceLimit) >= 1300; }));
    EXPECT_EQ(rig.metrics().connections_open, 200U);
    const auto other = rig.relay->add_service({.endpoints = {holder.address()}});
    const auto listener = rig.relay->listen({.address = loopback(), .service = other}).value();
    rig.address = rig.relay->address(listener).value();
    const double before = cpu_seconds(RUSAGE_SELF);
    EXPECT_EQ(rig.ask_name(), "s") << "another service has room";
    std::this_thread::sleep_for(milliseconds(200));  // what this measures takes time
    EXPECT_LE(cpu_seconds(RUSAGE_SELF) - before, 0.1) << "silence costs nothing";
}

// A relay in a process that may have few descriptors. It says where it listens, then waits to be asked for what it has
// counted and used.
struct Report {
    RelayMetrics relay;
    ServiceMetrics service;
    double cpu = 0;
};
class PoorProcess {
  public:
    PoorProcess(const SocketAddress& endpoint, rlim_t descriptors) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends[0]);
            live(Fd(ends[1]), endpoint, descriptors);
        }
        ours_ = Fd(ends[0]);
        ::close(ends[1]);
        std::uint16_t port = 0;
        EXPECT_EQ(::recv(ours_.get(), &port, sizeof port, MSG_WAITALL), ssize_t{sizeof port});
        address_ = loopback(net::Family::kIpv4, port);
    }
    ~PoorProcess() {
        ours_.reset();
        int status = 0;
        ::waitpid(pid_, &status, 0);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    }
    PoorProcess(const PoorProcess&) = delete;
    PoorProcess& operator=(const PoorProcess&) = delete;
    [[nodiscard]] const SocketAddress& address() const { return address_; }
    [[nodiscard]] Report report() const {
        Report report;
        EXPECT_TRUE(send_all(ours_, "?"));
        EXPECT_EQ(::recv(ours_.get(), &report, sizeof report, MSG_WAITALL), ssize_t{sizeof report});
        return report;
    }

  private:
    [[noreturn]] static void live(const Fd& theirs, const SocketAddress& endpoint, rlim_t descriptors) {
        // What the test's process had open counts too.
        const rlim_t used = static_cast<rlim_t>(theirs.get()) + 1;
        const rlimit limit{used + descriptors, used + descriptors};
        ::setrlimit(RLIMIT_NOFILE, &limit);
        {
            const auto rig = testing::rig({.endpoints = {endpoint}});
            ::send(theirs.get(), &rig.address.port, sizeof rig.address.port, 0);
            char question = 0;
            while (::recv(theirs.get(), &question, 1, 0) == 1) {
                const Report report{rig.relay->metrics(), rig.metrics(), cpu_seconds(RUSAGE_SELF)};
                ::send(theirs.get(), &report, sizeof report, MSG_NOSIGNAL);
            }
        }
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    pid_t pid_ = -1;
    Fd ours_;
    SocketAddress address_;
};

TEST(Limits, WithoutDescriptorsClientsWaitAndNothingSpins) {
    auto bound = bind_free(SOCK_STREAM);
    const PoorProcess poor(bound.address, 40);  // forked before there are threads here
    const Holder holder(std::move(bound));
    auto clients = connect_many(poor.address(), 60);
    ASSERT_TRUE(eventually([&] { return poor.report().relay.accept_pauses_descriptors > 0; }));
    const auto start = poor.report();
    std::this_thread::sleep_for(milliseconds(600));  // time to spin
    const auto later = poor.report();
    EXPECT_LE(later.cpu - start.cpu, 0.1);
    EXPECT_GE(later.service.connections_open, 8U);
    EXPECT_LE(later.service.connections_open, 20U);
    EXPECT_EQ(later.service.connections_opened, later.service.connections_open) << "whoever is accepted is served";
    // As some leave, others come: at last all have been served.
    EXPECT_TRUE(eventually([&] {
        for (auto& client : clients)
            if (has_answer(client)) close_with_reset(client);
        std::erase_if(clients, [](const Fd& client) { return !client; });
        return clients.empty();
    })) << clients.size()
        << " were never served";
    EXPECT_EQ(refused(poor.report().service, Refusal::kNoDescriptors), 0U);
}

}  // namespace
}  // namespace ghostip::relay::testing
