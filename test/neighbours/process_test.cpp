// The real program as a service manager starts it: what it tells, what it gave up, how it ends.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/fd.h"
#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using testnet::Place;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(20);

std::string content(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ProxyProcess : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Host::create(net::Family::kIpv4);
        ASSERT_TRUE(made) << made.error().message;
        host_ = std::move(*made);
        std::ofstream(host_->folder() / "manifests" / "objects.yaml")
            << manifest({{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1"}}});
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = host_->folder() / "notify";
        path.copy(std::begin(address.sun_path), sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(notify_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }

    // `around`: a program that becomes this one.
    void start(std::vector<std::string> around, const std::vector<std::string>& flags = {}) {
        const std::string log = host_->folder() / "log";
        const Fd file{::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)};
        std::vector<std::string> argv = std::move(around);
        argv.insert(argv.begin(),
                    {"/usr/bin/env", "NOTIFY_SOCKET=" + (host_->folder() / "notify").string(), "WATCHDOG_USEC=30000"});
        argv.insert(argv.end(),
                    {GHOSTIP_BINARY, "proxy", "--manifests", host_->folder() / "manifests", "--hostname-override",
                     "test-node", "--bind-address", "192.168.0.2", "--cluster-cidr", "10.0.0.0/8"});
        argv.insert(argv.end(), flags.begin(), flags.end());
        const auto pid = host_->node().start(argv, file.get());
        ASSERT_TRUE(pid) << pid.error().message;
        process_ = std::make_unique<Process>(*pid);
    }
    // Reads messages until one has this text.
    bool told(std::string_view text) {
        const auto deadline = Clock::now() + kPatience;
        while (Clock::now() < deadline) {
            pollfd readable{notify_.get(), POLLIN, 0};
            if (::poll(&readable, 1, 100) != 1) continue;
            std::array<char, 512> buffer{};
            const auto got = ::recv(notify_.get(), buffer.data(), buffer.size(), 0);
            if (got > 0 &&
                std::string_view(buffer.data(), static_cast<std::size_t>(got)).find(text) != std::string_view::npos)
                return true;
        }
        return false;
    }
    // Of each thread.
    std::vector<std::string> statuses() {
        std::vector<std::string> all;
        for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process_->pid())))
            all.push_back(content(task.path() / "status"));
        return all;
    }
    bool ended() {
        const auto deadline = Clock::now() + kPatience;
        while (process_->running() && Clock::now() < deadline)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return !process_->running();
    }
    void expect_served() {
        const auto endpoint = net::host_port(host_->address("10.180.0.1"), 8080);
        EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.10", 80), endpoint + " kept") << host_->proxy_log();
        EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30010), endpoint + " masqueraded");
    }

    std::unique_ptr<Host> host_;
    Fd notify_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    std::unique_ptr<Process> process_;
};

TEST_F(ProxyProcess, TellsWhenItServesAndThatItLives) {
    start({});
    ASSERT_TRUE(told("READY=1\nSTATUS=serving")) << host_->proxy_log();
    expect_served();
    EXPECT_TRUE(told("WATCHDOG=1"));
    EXPECT_TRUE(told("WATCHDOG=1"));
    ::kill(process_->pid(), SIGTERM);
    EXPECT_TRUE(told("STOPPING=1"));
    EXPECT_TRUE(ended()) << host_->proxy_log();
    expect_served();  // its rules stay
}

TEST_F(ProxyProcess, EndsAtASignalWhileItWaitsForTheFirstList) {
    ASSERT_TRUE(std::filesystem::remove(host_->folder() / "manifests" / "objects.yaml"));
    ASSERT_TRUE(std::filesystem::remove(host_->folder() / "manifests"));
    start({});
    ASSERT_TRUE(told("STATUS=waiting")) << host_->proxy_log();
    ::kill(process_->pid(), SIGTERM);
    EXPECT_TRUE(ended()) << host_->proxy_log();
}

// Root, with a read-only world around it. All threads have the mode's capabilities and the filter; packets are served,
// and it still repairs, follows its manifests and answers.
TEST_F(ProxyProcess, WorksWithLittle) {
    start({"unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -o remount,bind,ro / && exec \"$@\"",
           "sh"});
    ASSERT_TRUE(told("READY=1")) << host_->proxy_log();
    EXPECT_THAT(content(fmt::format("/proc/{}/mounts", process_->pid())), ::testing::ContainsRegex(" / [a-z0-9]+ ro"));
    EXPECT_THAT(statuses(),
                Each(AllOf(HasSubstr("CapEff:\t0000000000001000\n"), HasSubstr("CapPrm:\t0000000000001000\n"),
                           HasSubstr("CapBnd:\t0000000000001000\n"), HasSubstr("CapInh:\t0000000000000000\n"),
                           HasSubstr("CapAmb:\t0000000000000000\n"), HasSubstr("NoNewPrivs:\t1\n"),
                           HasSubstr("Seccomp:\t2\n"))));
    expect_served();
    const auto deleted = host_->node().must_run({"nft", "delete", "table", "ip", "ghostip"});
    ASSERT_TRUE(deleted) << deleted.error().message;
    EXPECT_TRUE(host_->proxy_says("repaired")) << host_->proxy_log();
    expect_served();
    std::ofstream(host_->folder() / "next") << manifest({{"web", "172.30.0.11", "", 30010, {"10.180.0.2"}}});
    std::filesystem::rename(host_->folder() / "next", host_->folder() / "manifests" / "objects.yaml");
    const auto deadline = Clock::now() + kPatience;
    const auto endpoint = net::host_port(host_->address("10.180.0.2"), 8080) + " kept";
    while (experience(*host_, Place::kPods, "172.30.0.11", 80) != endpoint && Clock::now() < deadline) continue;
    EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.11", 80), endpoint) << host_->proxy_log();
    EXPECT_THAT(host_->proxy_log(), Not(HasSubstr("not permitted"))) << host_->proxy_log();
    EXPECT_THAT(host_->proxy_log(), Not(HasSubstr("not implemented"))) << host_->proxy_log();
    ::kill(process_->pid(), SIGTERM);
    EXPECT_TRUE(ended()) << host_->proxy_log();
}

TEST_F(ProxyProcess, LowPortsKeepTheirCapabilityAndTheFilterCanBeOff) {
    start({}, {"--healthz-bind-address", "127.0.0.1:256", "--seccomp=false"});
    ASSERT_TRUE(told("READY=1")) << host_->proxy_log();
    EXPECT_THAT(statuses(), Each(AllOf(HasSubstr("CapEff:\t0000000000001400\n"), HasSubstr("Seccomp:\t0\n"))));
    EXPECT_THAT(host_->proxy_log(), Not(HasSubstr("going on without"))) << "it listens";
}

}  // namespace
}  // namespace ghostip::neighbours
