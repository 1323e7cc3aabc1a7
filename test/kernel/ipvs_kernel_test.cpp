// IPVS against a kernel that has it and against ipvsadm: each reads what the other wrote. Runs inside user-mode Linux
// (test/uml), each test in a network namespace of its own.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.h"
#include "kernel/ipvs/contract_testing.h"
#include "kernel/ipvs/linux.h"
#include "kernel/ipvs/removal.h"
#include "support/namespace.h"

namespace ghostip::kernel::ipvs {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        line.erase(line.find_last_not_of(' ') + 1);
        lines.push_back(line);
    }
    return lines;
}

// First: afterwards the module is loaded.
TEST(IpvsAbsent, IsOneClearError) {
    const std::string kLoader = "/proc/sys/kernel/modprobe";
    std::ifstream about("/proc/cpuinfo");
    const std::string cpu{std::istreambuf_iterator<char>(about), std::istreambuf_iterator<char>()};
    ASSERT_THAT(cpu, HasSubstr("User Mode Linux")) << "this changes how the kernel loads modules; test/uml/run.sh";
    std::string before;
    std::ifstream(kLoader) >> before;
    std::ofstream(kLoader) << "/bin/false\n";
    const auto opened = LinuxIpvs::open();
    std::ofstream(kLoader) << before << "\n";
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ENOENT);
    EXPECT_EQ(opened.error().message, "this kernel has no IPVS (module ip_vs is neither built in nor loadable)");
    EXPECT_TRUE(LinuxIpvs::open()) << "the kernel did not load the module by itself";
}

class IpvsKernel : public ::testing::Test {
  protected:
    void SetUp() override {
        auto space = testnet::Namespace::create();
        ASSERT_TRUE(space) << "needs root: " << space.error().message;
        space_.emplace(std::move(*space));
        const auto inside = space_->enter();
        auto ipvs = LinuxIpvs::open();
        ASSERT_TRUE(ipvs) << ipvs.error().message;
        ipvs_ = std::move(*ipvs);
    }

    std::string run(const std::vector<std::string>& argv, std::string_view input = {}) {
        const auto done = space_->must_run(argv, input);
        EXPECT_TRUE(done) << (done ? "" : done.error().message);
        return done ? *done : "";
    }
    std::vector<std::string> saved() { return lines_of(run({"ipvsadm", "-S", "-n"})); }
    void apply(const std::vector<Command>& commands) {
        const auto refusals = ipvs_->apply(commands);
        ASSERT_TRUE(refusals) << refusals.error().message;
        for (const auto& refusal : *refusals) ADD_FAILURE() << refusal.error.message;
    }
    std::vector<ServiceState> contents() {
        const auto all = ipvs_->contents();
        EXPECT_TRUE(all) << (all ? "" : all.error().message);
        return all ? sorted(*all) : std::vector<ServiceState>();
    }

    std::optional<testnet::Namespace> space_;
    std::unique_ptr<LinuxIpvs> ipvs_;
};

TEST_F(IpvsKernel, DoesAsTheTwinDoes) {
    for (const auto family : net::kFamilies) {
        SCOPED_TRACE(net::family_name(family));
        hold_to_contract(*ipvs_, family);
    }
}

TEST_F(IpvsKernel, TellsItsVersion) {
    const auto info = ipvs_->info();
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->version, 0x10201U);
    EXPECT_EQ(info->connection_table, 4096U);
}

// Services in both languages: ours, and what ipvsadm prints and reads.
struct Row {
    std::string name;
    Service service;
    std::vector<Destination> destinations;
    std::vector<std::string> saved;
};

Destination with(Destination base, Forwarding forwarding) {
    base.forwarding = forwarding;
    return base;
}

std::vector<Row> rows() {
    std::vector<Row> all;
    std::uint16_t port = 1000;
    for (const std::string scheduler :
         {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}) {
        ++port;
        const auto row = [&](std::string_view name, const char* virtual_address, const char* real_address) {
            const auto at = net::host_port(net::IpAddress::parse(virtual_address).value(), port);
            const auto to = net::host_port(net::IpAddress::parse(real_address).value(), 8080);
            all.push_back(
                {fmt::format("{}{}", scheduler, name),
                 service(service_key(virtual_address, port), scheduler),
                 {destination(real_address, 8080, 3)},
                 {fmt::format("-A -t {} -s {}", at, scheduler), fmt::format("-a -t {} -r {} -m -w 3", at, to)}});
        };
        row("", "10.96.0.1", "10.0.1.1");
        row(" IPv6", "fd00:96::1", "fd00:1::1");
    }
    const auto udp = service_key("10.96.0.2", 53, net::Protocol::kUdp);
    const auto sctp = service_key("fd00:96::2", 99, net::Protocol::kSctp);
    all.push_back({"UDP, one packet", service(udp, "rr", kOnePacket), {}, {"-A -u 10.96.0.2:53 -s rr -o"}});
    all.push_back({"SCTP", service(sctp), {}, {"-A --sctp-service [fd00:96::2]:99 -s rr"}});
    all.push_back({"sticky",
                   service(service_key("10.96.0.3", 1), "rr", kPersistent, 10800),
                   {},
                   {"-A -t 10.96.0.3:1 -s rr -p 10800"}});
    auto subnet = service(service_key("10.96.0.3", 2), "rr", kPersistent, 60);
    subnet.client_bits = 24;
    all.push_back({"sticky by subnet", subnet, {}, {"-A -t 10.96.0.3:2 -s rr -p 60 -M 255.255.255.0"}});
    auto subnet6 = service(service_key("fd00:96::3", 2), "rr", kPersistent, 60);
    subnet6.client_bits = 64;
    all.push_back({"sticky by subnet, IPv6", subnet6, {}, {"-A -t [fd00:96::3]:2 -s rr -p 60 -M 64"}});
    all.push_back({"sh with all its flags",
                   service(service_key("10.96.0.4", 1), "sh", kScheduler1 | kScheduler2),
                   {},
                   {"-A -t 10.96.0.4:1 -s sh -b sh-fallback,sh-port"}});
    all.push_back({"mh with both its flags",
                   service(service_key("10.96.0.4", 2), "mh", kScheduler1 | kScheduler2),
                   {},
                   {"-A -t 10.96.0.4:2 -s mh -b mh-fallback,mh-port"}});
    all.push_back({"all flags",
                   service(service_key("10.96.0.4", 3, net::Protocol::kUdp), "lc",
                           kPersistent | kOnePacket | kScheduler1 | kScheduler2 | kScheduler3, 9),
                   {},
                   {"-A -u 10.96.0.4:3 -s lc -p 9 -o -b flag-1,flag-2,flag-3"}});
    all.push_back({"ways to forward",
                   service(service_key("10.96.0.5", 80), "wlc"),
                   {with(destination("10.0.1.1", 80, 0), Forwarding::kRoute),
                    with(destination("10.0.1.2", 80), Forwarding::kTunnel),
                    with(destination("10.0.1.3", 81, 65535), Forwarding::kMasquerade)},
                   {"-A -t 10.96.0.5:80 -s wlc", "-a -t 10.96.0.5:80 -r 10.0.1.1:80 -g -w 0",
                    "-a -t 10.96.0.5:80 -r 10.0.1.2:80 -i -w 1 --tun-type ipip",
                    "-a -t 10.96.0.5:80 -r 10.0.1.3:81 -m -w 65535"}});
    return all;
}

TEST_F(IpvsKernel, IpvsadmReadsWhatWeWrite) {
    for (const auto& row : rows()) {
        std::vector<Command> commands{{Verb::kNewService, row.service, {}}};
        for (const auto& destination : row.destinations)
            commands.push_back({Verb::kNewDestination, row.service, destination});
        apply(commands);
        EXPECT_THAT(saved(), UnorderedElementsAreArray(row.saved)) << row.name;
        apply({{Verb::kDeleteService, row.service, {}}});
        EXPECT_THAT(saved(), IsEmpty()) << row.name;
    }
}

TEST_F(IpvsKernel, WeReadWhatIpvsadmWrites) {
    std::string restored;
    std::vector<ServiceState> expected;
    for (const auto& row : rows()) {
        for (const auto& line : row.saved) restored += line + "\n";
        expected.push_back({row.service, row.destinations});
    }
    run({"ipvsadm", "-R"}, restored);
    const auto found = contents();
    expected = sorted(expected);
    ASSERT_THAT(found, SizeIs(expected.size()));
    for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].service, expected[i].service) << text(found[i].service.key);
        EXPECT_THAT(found[i].destinations, ElementsAreArray(expected[i].destinations));
    }
}

TEST_F(IpvsKernel, ForeignServicesOfMarksAreRecognised) {
    run({"ipvsadm", "-R"}, "-A -f 7 -s rr\n-a -f 7 -r 10.0.1.1:0 -g -w 2\n-A -f 8 -6 -s wrr -p 60\n");
    const auto found = contents();
    ASSERT_THAT(found, SizeIs(2));
    EXPECT_EQ(text(found[0].service.key), "mark 7 (IPv4)");
    EXPECT_EQ(text(found[1].service.key), "mark 8 (IPv6)");
    EXPECT_EQ(found[1].service.scheduler, "wrr");
    EXPECT_EQ(found[1].service.timeout_seconds, 60U);
    EXPECT_THAT(found[0].destinations, ElementsAreArray({with(destination("10.0.1.1", 0, 2), Forwarding::kRoute)}));
    apply({{Verb::kDeleteService, found[0].service, {}}});
    EXPECT_THAT(contents(), SizeIs(1));
}

TEST_F(IpvsKernel, AChangeTakesFlagsAway) {
    const auto key = service_key("10.96.0.1", 80);
    apply({{Verb::kNewService, service(key, "mh", kPersistent | kScheduler1, 60), {}},
           {Verb::kNewDestination, service(key), destination("10.0.1.1", 80)},
           {Verb::kSetService, service(key, "wlc"), {}}});
    EXPECT_THAT(saved(), ElementsAreArray({"-A -t 10.96.0.1:80 -s wlc", "-a -t 10.96.0.1:80 -r 10.0.1.1:80 -m -w 1"}));
}

// `ipvsadm -S` leaves them out.
TEST_F(IpvsKernel, Thresholds) {
    const auto key = service_key("fd00:96::1", 80);
    auto limited = destination("fd00:1::1", 80);
    limited.upper_threshold = 100;
    limited.lower_threshold = 50;
    apply({{Verb::kNewService, service(key), {}}, {Verb::kNewDestination, service(key), limited}});
    const auto table = lines_of(run({"ipvsadm", "-L", "-n", "--thresholds"}));
    ASSERT_THAT(table, SizeIs(5));
    EXPECT_THAT(table[4], ::testing::MatchesRegex(".*\\[fd00:1::1\\]:80 +100 +50 +0 +0"));
    run({"ipvsadm", "-e", "-t", "[fd00:96::1]:80", "-r", "[fd00:1::1]:80", "-m", "-x", "7", "-y", "6"});
    limited.upper_threshold = 7;
    limited.lower_threshold = 6;
    EXPECT_THAT(*ipvs_->destinations(key), ElementsAreArray({limited}));
}

TEST_F(IpvsKernel, Timeouts) {
    ASSERT_TRUE(ipvs_->set_timeouts({901, 121, 301}));
    EXPECT_THAT(run({"ipvsadm", "-L", "--timeout"}), HasSubstr("901 121 301"));
    run({"ipvsadm", "--set", "1000", "0", "77"});
    EXPECT_EQ(*ipvs_->timeouts(), (Timeouts{1000, 121, 77}));
    ASSERT_TRUE(ipvs_->set_timeouts({0, 60, 0}));
    EXPECT_EQ(*ipvs_->timeouts(), (Timeouts{1000, 60, 77}));
}

TEST_F(IpvsKernel, ManyInOneCall) {
    constexpr int kServices = 1500;
    std::vector<Command> commands;
    for (int i = 0; i < kServices; ++i) {
        const auto key = service_key(fmt::format("10.96.{}.{}", i / 250, i % 250), 80);
        commands.push_back({Verb::kNewService, service(key), {}});
        for (int j = 1; j <= 3; ++j)
            commands.push_back({Verb::kNewDestination, service(key), destination(fmt::format("10.0.{}.1", j), 80)});
        if (i % 100 == 7) commands.push_back({Verb::kNewService, service(key), {}});
    }
    const auto refusals = ipvs_->apply(commands);
    ASSERT_TRUE(refusals) << refusals.error().message;
    ASSERT_THAT(*refusals, SizeIs(kServices / 100));
    EXPECT_EQ(refusals->front().error.message, "add service TCP 10.96.0.7:80 (rr): File exists");
    EXPECT_EQ(refusals->front().command, 7U * 4 + 4);
    const auto found = contents();
    ASSERT_THAT(found, SizeIs(kServices));
    for (const auto& state : found) EXPECT_THAT(state.destinations, SizeIs(3)) << text(state.service.key);
    EXPECT_THAT(saved(), SizeIs(kServices * 4));
}

TEST_F(IpvsKernel, RemovalTakesAwayWhatIsThere) {
    const auto inside = space_->enter();
    EXPECT_EQ(*delete_dummy_device("kept0"), false);
    run({"ip", "link", "add", "gone0", "type", "dummy"});
    run({"ip", "link", "add", "kept0", "type", "veth"});
    run({"ipset", "create", "GONE", "bitmap:port", "range", "0-65535"});
    run({"ipset", "create", "KEPT", "hash:ip"});
    run({"iptables-legacy", "-A", "FORWARD", "-m", "set", "--match-set", "KEPT", "src", "-j", "ACCEPT"});
    run({"ipvsadm", "-R"}, "-A -t 10.96.0.1:80 -s rr\n-A -u [fd00:96::1]:53 -s rr\n");
    EXPECT_TRUE(available());
    EXPECT_TRUE(sets_available());
    const auto services = ipvs_->services();
    ASSERT_TRUE(services);
    EXPECT_EQ(count(*ipvs_, *services)->virtual_servers, 2U);
    EXPECT_TRUE(*dummy_device_exists("gone0"));
    EXPECT_FALSE(*dummy_device_exists("kept0"));

    ASSERT_TRUE(flush_servers());
    EXPECT_THAT(saved(), IsEmpty());
    EXPECT_EQ(*delete_dummy_device("gone0"), true);
    EXPECT_EQ(*delete_dummy_device("gone0"), false);
    EXPECT_THAT(delete_dummy_device("kept0").error().message, HasSubstr("of kind \"veth\", not dummy"));
    EXPECT_EQ(*destroy_set("GONE"), true);
    EXPECT_EQ(*destroy_set("GONE"), false);
    EXPECT_EQ(destroy_set("KEPT").error().code, EBUSY);
    EXPECT_EQ(run({"ipset", "list", "-n"}), "KEPT\n");
}

// What the twin claims of connections, done with a real one.
TEST_F(IpvsKernel, ConnectionsOutliveTheirDestination) {
    run({"ip", "addr", "add", "10.96.0.1/32", "dev", "lo"});
    run({"ip", "addr", "add", "10.0.1.1/32", "dev", "lo"});
    const auto key = service_key("10.96.0.1", 80);
    const auto one = destination("10.0.1.1", 8080);
    apply({{Verb::kNewService, service(key), {}}, {Verb::kNewDestination, service(key), one}});
    const auto inside = space_->enter();
    const auto address = [](const char* host, std::uint16_t port) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        EXPECT_EQ(::inet_pton(AF_INET, host, &to.sin_addr), 1);
        return to;
    };
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto here = address("10.0.1.1", 8080);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here), 0);
    ASSERT_EQ(::listen(listener.get(), 8), 0);
    const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto there = address("10.96.0.1", 80);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there), 0) << errno_text(errno);

    const Destination::Connections one_active{1, 0, 0};
    EXPECT_EQ(ipvs_->destinations(key)->at(0).connections, one_active);
    apply({{Verb::kDeleteDestination, service(key), one}});
    EXPECT_THAT(*ipvs_->destinations(key), IsEmpty());
    apply({{Verb::kNewDestination, service(key), one}});
    EXPECT_EQ(ipvs_->destinations(key)->at(0).connections, one_active);
    auto drained = one;
    drained.weight = 0;
    apply({{Verb::kSetDestination, service(key), drained}});
    EXPECT_EQ(ipvs_->destinations(key)->at(0).connections, one_active);
    apply({{Verb::kDeleteService, service(key), {}},
           {Verb::kNewService, service(key), {}},
           {Verb::kNewDestination, service(key), one}});
    EXPECT_EQ(ipvs_->destinations(key)->at(0).connections, one_active);
}

}  // namespace
}  // namespace ghostip::kernel::ipvs
