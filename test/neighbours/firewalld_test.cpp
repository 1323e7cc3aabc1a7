// Beside firewalld with its default zone and backend: Services are served through it, and its reloads, which replace
// all of its own rules, change nothing of ours and end no connection.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "base/fd.h"
#include "neighbours/host.h"
#include "neighbours/stream.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

constexpr std::chrono::seconds kStartsWithin(60);

class Firewalld : public ::testing::TestWithParam<net::Family> {
  protected:
    static void SetUpTestSuite() {
        // Fetching packages needs the machine's own network: not inside a namespace.
        FILE* pipe = ::popen(GHOSTIP_FIREWALLD "_root.sh", "r");
        ASSERT_NE(pipe, nullptr);
        std::array<char, 4096> line{};
        if (std::fgets(line.data(), line.size(), pipe) != nullptr) root_ = line.data();
        const int status = ::pclose(pipe);
        while (!root_.empty() && root_.back() == '\n') root_.pop_back();
        ASSERT_TRUE(status == 0 && !root_.empty()) << "no root folder with firewalld";
    }
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(host_, Host::create(GetParam()));
        ASSIGN_OR_RETURN(echo_, EchoServer::start(host_->topology().at(Place::kPods), GetParam(), 8081));
        RETURN_IF_ERROR(start_firewalld());
        return host_->start_proxy({{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1", "10.181.0.1"}},
                                   {"echo", "172.30.0.20", "1.2.3.20", 30020, {"10.180.0.2"}, 80, 8081},
                                   {"on-node", "172.30.0.30", "1.2.3.30", 30030, {"192.168.1.2"}},
                                   {"none", "172.30.0.40", "1.2.3.40", 30040, {}}});
    }
    Result<void> start_firewalld() {
        const std::string log = host_->folder() / "firewalld.log";
        const Fd file{::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)};
        ASSIGN_OR_RETURN(const int pid, host_->node().start({GHOSTIP_FIREWALLD "_host.sh", root_}, file.get()));
        firewalld_ = std::make_unique<Process>(pid);
        const auto deadline = std::chrono::steady_clock::now() + kStartsWithin;
        while (!firewall_cmd({"--state"})) {
            std::ifstream text(log);
            if (!firewalld_->running() || std::chrono::steady_clock::now() > deadline)
                return fail("firewalld does not run:\n{}", std::string(std::istreambuf_iterator<char>(text), {}));
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        return {};
    }
    // True if it succeeded.
    [[nodiscard]] bool firewall_cmd(const std::vector<std::string>& arguments) const {
        const int pid = firewalld_->pid();
        std::vector<std::string> argv{
            "nsenter",  "--mount",           fmt::format("--pid=/proc/{}/ns/pid_for_children", pid),
            "--target", std::to_string(pid), "chroot",
            root_,      "firewall-cmd"};
        argv.insert(argv.end(), arguments.begin(), arguments.end());
        const auto ran = host_->node().run(argv);
        return ran && ran->status == 0;
    }
    // Our table with the kernel's numbers of everything in it, so that also a perfect copy would be noticed.
    [[nodiscard]] std::string our_table() const {
        const auto text = host_->node().must_run(
            {"nft", "--handle", "list", "table", GetParam() == net::Family::kIpv4 ? "ip" : "ip6", "ghostip"});
        return text ? *text : text.error().message;
    }
    [[nodiscard]] std::string at(std::string_view ipv4) const { return net::host_port(host_->address(ipv4), 8080); }

    void expect_served() {
        const auto one_of = [&](const std::string& got, const std::string& how) {
            EXPECT_TRUE(got == at("10.180.0.1") + how || got == at("10.181.0.1") + how) << got;
        };
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            SCOPED_TRACE(net::protocol_name(protocol));
            for (int i = 0; i < 8; ++i) {
                one_of(experience(*host_, Place::kPods, "172.30.0.10", 80, protocol), " kept");
                one_of(experience(*host_, Place::kOutside, "1.2.3.10", 80, protocol), " masqueraded");
                one_of(experience(*host_, Place::kOutside, "192.168.0.2", 30010, protocol), " masqueraded");
                one_of(experience(*host_, Place::kNode, "172.30.0.10", 80, protocol), " masqueraded");
            }
            EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.40", 80, protocol), "rejected");
            EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30040, protocol), "rejected");
            // An endpoint in the host's own network, whose port the zone does not open.
            const auto probe = host_->probe(Place::kOutside, "192.168.0.2", 30030, protocol);
            const auto outcome = host_->ask(probe);
            EXPECT_EQ(outcome.seen, testnet::Seen::kAnswered) << outcome.text();
            EXPECT_EQ(outcome.endpoint, host_->address("192.168.1.2")) << outcome.text();
            EXPECT_NE(experience(*host_, Place::kOutside, "192.168.1.2", 8080, protocol), "untranslated")
                << "firewalld does not protect the node";
        }
    }

    static inline std::string root_;
    std::unique_ptr<Host> host_;
    std::unique_ptr<EchoServer> echo_;
    std::unique_ptr<Process> firewalld_;
};

TEST_P(Firewalld, ServicesPassItsZones) {
    expect_served();
    ASSERT_TRUE(firewall_cmd({"--set-default-zone=drop"}));
    expect_served();
}

TEST_P(Firewalld, ReloadsChangeNothingOfOurs) {
    const auto pods = host_->address("10.0.1.10");
    const auto client = host_->address("203.0.113.10");
    Stream from_pod(host_->topology().at(Place::kPods), pods, host_->address("172.30.0.20"), 80);
    Stream from_outside(host_->topology().at(Place::kOutside), client, host_->address("192.168.0.2"), 30020);
    ASSERT_TRUE(from_pod.flows()) << from_pod.end();
    ASSERT_TRUE(from_outside.flows()) << from_outside.end();
    const auto table = our_table();
    const auto log = host_->proxy_log();
    for (int reload = 0; reload < 3; ++reload) {
        ASSERT_TRUE(firewall_cmd({"--reload"}));
        EXPECT_TRUE(from_pod.flows());
        EXPECT_TRUE(from_outside.flows());
    }
    EXPECT_EQ(from_pod.end(), "");
    EXPECT_EQ(from_outside.end(), "");
    EXPECT_EQ(our_table(), table);
    EXPECT_EQ(host_->proxy_log(), log) << "the proxy meddled";
    expect_served();
    fmt::print("  {} and {} echoes, {} and {} new connections during three reloads\n", from_pod.echoes(),
               from_outside.echoes(), from_pod.connections(), from_outside.connections());
}

INSTANTIATE_TEST_SUITE_P(Families, Firewalld, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::neighbours
