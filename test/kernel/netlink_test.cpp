// The real nf_tables against what the code believes of it: the same refusals as the twin in memory, and the same tables
// from netlink as from `nft -f`.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/render.h"
#include "dataplane/nftables/supported.h"
#include "kernel/nft/linux.h"
#include "kernel/nft/memory.h"
#include "kernel/nft/refusals_testing.h"
#include "plan/plan_testing.h"
#include "support/namespace.h"

namespace ghostip {
namespace {

using dataplane::nftables::Counting;
using dataplane::nftables::Limits;
using dataplane::nftables::NftablesDataplane;
using kernel::nft::LinuxKernel;
using kernel::nft::MemoryKernel;
using kernel::nft::Set;
using namespace kernel::nft::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A namespace of this test, and the kernel seen from inside. Without root there is nothing to test: that is a failure.
struct Place {
    testnet::Namespace space;
    std::unique_ptr<LinuxKernel> kernel;

    static Place make() {
        auto space = testnet::Namespace::create();
        if (!space) ADD_FAILURE() << "needs root: " << space.error().message;
        const auto inside = space->enter();
        auto kernel = LinuxKernel::open();
        if (!kernel) ADD_FAILURE() << kernel.error().message;
        return {std::move(*space), std::move(*kernel)};
    }
    [[nodiscard]] Result<std::unique_ptr<LinuxKernel>> open_again() const {
        const auto inside = space.enter();
        return LinuxKernel::open();
    }
    [[nodiscard]] std::string listing(std::string_view what = "ruleset") const {
        auto text = space.must_run({"nft", "list", std::string(what)});
        EXPECT_TRUE(text) << (text ? "" : text.error().message);
        return text.value_or("");
    }
};

// Elements of one set as the kernel and as the twin holds them, in one order.
std::vector<std::vector<std::uint8_t>> sorted(const kernel::nft::Elements& elements) {
    std::vector<std::vector<std::uint8_t>> all;
    for (std::size_t i = 0; i < elements.count(); ++i) all.emplace_back(elements.at(i).begin(), elements.at(i).end());
    std::sort(all.begin(), all.end());
    return all;
}

// The twin answers as kernels do today. Of what Debian 12 may run, some are older and answer otherwise.
struct OlderAnswer {
    std::string_view name;
    std::pair<int, int> before;  // the version that began to answer as the twin does
    int code;
};
constexpr std::array kOlderAnswers{
    // Since a base chain may be given again to add devices to it, its hook is compared elsewhere.
    OlderAnswer{"a base chain with another priority", {6, 4}, EEXIST},
    OlderAnswer{"a base chain with another hook", {6, 4}, EEXIST},
    // Until then a look-up in a map had to take the value.
    OlderAnswer{"a map as a set", {6, 5}, EINVAL},
};

int answer_here(const RefusalCase& c) {
    utsname self{};
    std::pair<int, int> version;
    if (::uname(&self) != 0 || std::sscanf(self.release, "%d.%d", &version.first, &version.second) != 2) return c.code;
    for (const auto& older : kOlderAnswers)
        if (c.name == older.name && version < older.before) return older.code;
    return c.code;
}

// For a chain that exists already, the kernel looks for its type among those loaded (else ENOENT) and loads none.
void load_nat(LinuxKernel& linux_kernel) {
    namespace nft = kernel::nft;
    const auto chain = base_chain(nft::ChainType::kNat, nft::Hook::kPrerouting, 0);
    ASSERT_TRUE(linux_kernel.commit({kTable, {nft::AddTable{}, chain}}));
    ASSERT_TRUE(linux_kernel.commit({kTable, {nft::DeleteTable{}}}));
}

TEST(Netlink, RefusesWhatTheTwinRefuses) {
    const Place place = Place::make();
    load_nat(*place.kernel);
    for (const auto& c : refusals()) {
        const int code = answer_here(c);
        MemoryKernel twin;
        ASSERT_TRUE(twin.commit(before_refusals()));
        const auto prepared = place.kernel->commit(before_refusals());
        ASSERT_TRUE(prepared) << prepared.error().message;

        const auto checked = place.kernel->check({kTable, c.operations});
        EXPECT_EQ(checked ? 0 : checked.error().code, code) << c.name << ", checked";
        const auto result = place.kernel->commit({kTable, c.operations});
        EXPECT_EQ(result ? 0 : result.error().code, code) << c.name;
        if (!result) {
            EXPECT_THAT(result.error().message,
                        HasSubstr("nf_tables table ghostip-test: " + describe(c.operations.back())))
                << c.name;
        }
        static_cast<void>(twin.commit({kTable, c.operations}));
        EXPECT_EQ(place.kernel->exists(kTable).value(), twin.exists(kTable).value()) << c.name;
        for (const auto& set : {addresses(), endpoints(), stuck()}) {
            const auto real = place.kernel->read(kTable, set);
            const auto believed = twin.read(kTable, set);
            ASSERT_EQ(real.has_value(), believed.has_value()) << c.name << ", " << set.name;
            if (real) {
                EXPECT_EQ(sorted(real->elements), sorted(believed->elements)) << c.name << ", " << set.name;
            } else {
                EXPECT_EQ(real.error().code, believed.error().code) << c.name << ", " << set.name;
            }
        }
        static_cast<void>(place.kernel->commit({kTable, {kernel::nft::DeleteTable{}}}));
    }
}

// Which element of which operation it was, also where thousands are on their way.
TEST(Netlink, SaysWhichElementWasRefused) {
    const Place place = Place::make();
    ASSERT_TRUE(place.kernel->commit(before_refusals()));
    kernel::nft::Elements many = elements_of("endpoints", 8, 8, {});
    constexpr std::size_t kMany = 5000;
    constexpr std::size_t kRefused = 4321;
    for (std::size_t i = 0; i < kMany; ++i) {
        const auto high = static_cast<std::uint8_t>(i >> 8);
        const auto low = static_cast<std::uint8_t>(i & 0xff);
        std::vector<std::uint8_t> element{10, 7, high, low, 0, 80, 0, 0, 10, 0, 0, 2, 0, 80, 0, 0};
        if (i == kRefused) element = {10, 0, 0, 1, 0, 80, 0, 0, 10, 0, 0, 2, 0, 81, 0, 0};  // stands with port 80
        many.bytes.insert(many.bytes.end(), element.begin(), element.end());
    }
    kernel::nft::Refusal refusal;
    const auto result = place.kernel->commit({kTable, {add(address(7)), add(many), add(address(8))}}, &refusal);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, EEXIST);
    ASSERT_TRUE(refusal.operation);
    EXPECT_EQ(*refusal.operation, 1U);
    // Kernels that do not say which element are searched by halves.
    if (refusal.element) {
        EXPECT_EQ(*refusal.element, kRefused);
    }
    std::cout << (refusal.element ? "this kernel names the element\n" : "this kernel names the message only\n");
}

// Elements by their keys, those that are not there left out.
TEST(Netlink, LooksUpByKey) {
    const Place place = Place::make();
    MemoryKernel twin;
    ASSERT_TRUE(place.kernel->commit(before_refusals()));
    ASSERT_TRUE(twin.commit(before_refusals()));
    kernel::nft::Elements keys = endpoint(99);
    for (int i = 0; i < 300; ++i) {
        auto other = endpoint(80);
        other.bytes[3] = static_cast<std::uint8_t>(100 + i % 100);
        keys.bytes.insert(keys.bytes.end(), other.bytes.begin(), other.bytes.end());
    }
    for (const auto& set :
         {endpoints(), stuck(), Set{.name = "none", .key = endpoints().key, .data = endpoints().data}}) {
        const auto real = place.kernel->look_up(kTable, set, keys);
        const auto believed = twin.look_up(kTable, set, keys);
        ASSERT_TRUE(real) << real.error().message;
        EXPECT_EQ(sorted(*real), sorted(*believed)) << set.name;
    }
    EXPECT_EQ(place.kernel->look_up(kTable, endpoints(), keys)->count(), 1U);
}

// Packets of a known number and size through a rule that looks them up.
TEST(Netlink, ElementsCountWhatFindsThem) {
    constexpr std::uint64_t kPackets = 7;
    constexpr std::size_t kPayload = 100;
    constexpr std::uint64_t kHeaders = 28;  // IPv4 and UDP
    const Place place = Place::make();
    MemoryKernel twin;
    const Set set{.name = "counters", .key = {kernel::nft::Field::kAddress}, .counts = true};
    const auto element = [](std::uint8_t last) { return elements_of("counters", 4, 0, {127, 0, 0, last}); };
    const auto commit = [&](const std::vector<kernel::nft::Operation>& operations) {
        const auto done = place.kernel->commit({kTable, operations});
        ASSERT_TRUE(done) << done.error().message;
        ASSERT_TRUE(twin.commit({kTable, operations}));
    };
    commit({kernel::nft::AddTable{}, kernel::nft::AddSet{set}, add(element(3)), add(element(2)),
            kernel::nft::AddChain{
                "out", kernel::nft::BaseChain{kernel::nft::ChainType::kFilter, kernel::nft::Hook::kOutput, 0}},
            kernel::nft::AddRule{"out",
                                 std::move(rule().in_set({kernel::nft::select::kDestination}, "counters")).return_()}});
    const auto send = [&] {
        const auto inside = place.space.enter();
        const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(9);
        to.sin_addr.s_addr = htonl(0x7f000002);
        const std::array<char, kPayload> bytes{};
        for (std::uint64_t i = 0; i < kPackets; ++i)
            ASSERT_EQ(
                ::sendto(socket.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
                static_cast<ssize_t>(kPayload));
        twin.packets_met(kTable, "counters", {127, 0, 0, 2}, {kPackets, kPackets * (kPayload + kHeaders)});
    };
    const auto expect_same = [&](kernel::nft::Count sent, const char* when) {
        SCOPED_TRACE(when);
        constexpr kernel::nft::Count other{};  // nobody sent to that one
        for (kernel::nft::Kernel* kernel :
             {static_cast<kernel::nft::Kernel*>(place.kernel.get()), static_cast<kernel::nft::Kernel*>(&twin)}) {
            const auto dump = kernel->read_counts(kTable, set);
            ASSERT_TRUE(dump) << dump.error().message;
            EXPECT_TRUE(dump->consistent);
            ASSERT_EQ(dump->counts.size(), dump->elements.count());
            std::map<std::uint8_t, kernel::nft::Count> by_address;
            for (std::size_t i = 0; i < dump->counts.size(); ++i) by_address[dump->elements.at(i)[3]] = dump->counts[i];
            EXPECT_THAT(by_address, ElementsAre(Pair(2, sent), Pair(3, other)));
        }
    };
    const kernel::nft::Count once{kPackets, kPackets * (kPayload + kHeaders)};
    expect_same({}, "in the beginning");
    send();
    expect_same(once, "after some packets");
    commit({add(element(2))});
    expect_same(once, "after adding what is there");
    send();
    expect_same({once.packets * 2, once.bytes * 2}, "after some more");
    commit({remove(element(2)), add(element(2))});
    expect_same({}, "after it was made anew");
    EXPECT_EQ(place.kernel->contents(kTable).value()->sets.at("counters"), set);
    EXPECT_EQ(place.kernel->read_counts(kTable, {.name = "none", .key = set.key, .counts = true}).error().code, ENOENT);
    EXPECT_THAT(place.listing(), HasSubstr("127.0.0.3 counter packets 0 bytes 0"));
}

// What the real nft declares is read as what it is; other things that elements may have are none of ours.
TEST(Netlink, ReadsWhichSetsCount) {
    struct Case {
        const char* name;
        std::string statements;
        bool ours;
        bool counts;
    };
    const Case cases[] = {
        {"plain", "", true, false},
        {"counter", "counter;", true, true},
        {"quota", "quota 25 mbytes;", false, false},
        {"limit", "limit rate 10/second;", false, false},
        {"two of them", "counter; quota 25 mbytes;", false, false},
    };
    for (const auto& c : cases) {
        const Place place = Place::make();
        const auto loaded = place.space.must_run(
            {"nft", "-f", "-"}, "table ip ghostip-test { set s { type ipv4_addr; " + c.statements + " }; }");
        ASSERT_TRUE(loaded) << c.name << ": " << loaded.error().message;
        const auto contents = place.kernel->contents(kTable);
        ASSERT_TRUE(contents && *contents) << c.name;
        const auto& set = (*contents)->sets.at("s");
        EXPECT_EQ(!set.key.empty(), c.ours) << c.name;
        EXPECT_EQ(c.ours && set.counts, c.counts) << c.name;
    }
}

TEST(Netlink, CheckLeavesNothing) {
    const Place place = Place::make();
    const auto checked = place.kernel->check(before_refusals());
    EXPECT_TRUE(checked) << checked.error().message;
    EXPECT_FALSE(place.kernel->exists(kTable).value());
    EXPECT_EQ(place.listing(), "");
    ASSERT_TRUE(place.kernel->commit(before_refusals()));
    EXPECT_TRUE(place.kernel->exists(kTable).value());
    const auto before = place.listing();
    EXPECT_TRUE(place.kernel->check({kTable, {kernel::nft::DeleteTable{}}}));
    EXPECT_EQ(place.listing(), before);
}

TEST(Netlink, SupportedHere) {
    const Place place = Place::make();
    for (const auto family : net::kFamilies) {
        EXPECT_THAT(dataplane::nftables::missing(*place.kernel, family), IsEmpty());
        EXPECT_TRUE(dataplane::nftables::can_count(*place.kernel, family));
    }
    EXPECT_EQ(place.listing(), "") << "probing leaves nothing";
}

// --- netlink against `nft -f` ---------------------------------------------------------------------------------------

// A plan in which every kind of set, chain and rule occurs.
plan::Plan everything_at_once(net::Family family, bool with_affinity) {
    using namespace plan::testing;
    const bool ipv4 = family == net::Family::kIpv4;
    const auto own = [&](const std::string& v4, const std::string& v6) { return ipv4 ? v4 : v6; };
    std::vector<api::Change> changes{put(api::ServiceCidr{"c", {cidr(own("172.30.0.0/16", "fd00:30::/112"))}})};
    int number = 0;
    for (const auto external : {api::TrafficPolicy::kCluster, api::TrafficPolicy::kLocal}) {
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
            for (const int endpoints : {0, 1, 2, 5, 17}) {
                const auto n = std::to_string(++number);
                auto object = service("s" + n, own("172.30.0." + n, "fd00:30::" + n),
                                      {service_port("p", 80, protocol, static_cast<std::uint16_t>(30000 + number))});
                object.type = api::ServiceType::kLoadBalancer;
                object.external_traffic_policy = external;
                object.external_ips = {ip(own("198.51.100." + n, "2001:db8:e::" + n))};
                object.load_balancer_vips = {ip(own("203.0.113." + n, "2001:db8:f::" + n))};
                if (number % 2 == 0)
                    object.load_balancer_source_ranges = {cidr(own("192.168.0.0/24", "2001:db8::/64")),
                                                          cidr(own("10.0.0.0/8", "fd00::/8"))};
                if (with_affinity && number % 2 == 1) object.affinity_seconds = number % 4 == 1 ? 100 : 10800;
                std::vector<Ep> eps;
                for (int i = 1; i <= endpoints; ++i)
                    eps.push_back(
                        {own("10.180." + n + "." + std::to_string(i), "fd00:10::" + n + ":" + std::to_string(i)), "r",
                         i % 2 == 0 ? "test-node" : "other"});
                changes.push_back(put(object));
                changes.push_back(put(slice("s" + n, "s" + n, {slice_port("p", 8080, protocol)}, eps)));
            }
        }
    }
    NodePlanner planner(family);
    static_cast<void>(planner.apply(changes));
    return planner.plan();
}

std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> result;
    std::string line;
    for (const char c : text) {
        if (c != '\n') {
            line += c;
            continue;
        }
        result.push_back(std::exchange(line, {}));
    }
    return result;
}

// nft lists the elements of a set in the kernel's order, which differs from table to table: they are sorted here, one a
// line. Nothing else is touched.
std::string with_sorted_elements(const std::string& listing) {
    std::string result;
    std::vector<std::string> elements;
    bool inside = false;
    for (std::string line : lines(listing)) {
        const auto begin = line.find("elements = {");
        if (begin != std::string::npos) {
            inside = true;
            line = line.substr(begin + std::strlen("elements = {"));
        }
        if (!inside) {
            result += line + "\n";
            continue;
        }
        const bool last = line.find('}') != std::string::npos;
        std::string element;
        for (const char c : line + ",") {
            if (c == ',' || c == '}') {
                const auto from = element.find_first_not_of(" \t");
                if (from != std::string::npos)
                    elements.push_back(element.substr(from, element.find_last_not_of(" \t") - from + 1));
                element.clear();
            } else {
                element += c;
            }
        }
        if (!last) continue;
        inside = false;
        std::sort(elements.begin(), elements.end());
        for (const auto& one : elements) result += "\t\telement " + one + "\n";
        elements.clear();
    }
    return result;
}

class WithAndWithoutCounters : public ::testing::TestWithParam<Counting> {
  protected:
    // The dataplane on the kernel of a place, which counts if the test is to.
    static NftablesDataplane dataplane_of(net::Family family, const Place& place) {
        return {family, place.open_again().value(), nullptr, Limits{},
                GetParam() == Counting::kOn ? place.open_again().value() : nullptr};
    }
};
INSTANTIATE_TEST_SUITE_P(Netlink, WithAndWithoutCounters, ::testing::Values(Counting::kOff, Counting::kOn),
                         [](const auto& how) { return how.param == Counting::kOn ? "Counting" : "Plain"; });

TEST_P(WithAndWithoutCounters, CommitsWhatRenderWrites) {
    for (const auto family : net::kFamilies) {
        // nft 1.0.6 cannot load the rule that remembers IPv6 clients (it can list it).
        const plan::Plan plan = everything_at_once(family, family == net::Family::kIpv4);
        const Place by_text = Place::make();
        const auto loaded = by_text.space.must_run({"nft", "-f", "-"}, dataplane::nftables::render(plan, GetParam()));
        ASSERT_TRUE(loaded) << loaded.error().message;

        const Place by_netlink = Place::make();
        auto dataplane = dataplane_of(family, by_netlink);
        const auto committed = dataplane.reconcile(plan);
        ASSERT_TRUE(committed) << committed.error().message;

        const auto wanted = lines(with_sorted_elements(by_text.listing()));
        const auto got = lines(with_sorted_elements(by_netlink.listing()));
        EXPECT_GT(got.size(), 500U) << "a listing worth comparing";
        for (std::size_t i = 0; i < std::max(wanted.size(), got.size()); ++i)
            ASSERT_EQ(i < got.size() ? got[i] : "(end)", i < wanted.size() ? wanted[i] : "(end)")
                << net::family_name(family) << ", line " << i;
    }
}

// With affinity too, and by another process on top of it: what the kernel says of its rules is what was written.
TEST_P(WithAndWithoutCounters, ARestartWritesNothing) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        const Place place = Place::make();
        const auto started = dataplane_of(family, place).reconcile(plan);
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_GE(started->transactions, 1U);
        auto dataplane = dataplane_of(family, place);
        const auto restarted = dataplane.reconcile(plan);
        ASSERT_TRUE(restarted) << restarted.error().message;
        EXPECT_THAT(restarted->examples, IsEmpty());
        EXPECT_EQ(restarted->differences, 0U);
        EXPECT_EQ(restarted->transactions, 0U);
        const auto listing = place.listing();
        EXPECT_THAT(listing,
                    HasSubstr("table " + std::string(family == net::Family::kIpv4 ? "ip" : "ip6") + " ghostip"));
        EXPECT_THAT(listing, HasSubstr("map nodeport-local-stuck-10800"));
        const auto removed = dataplane.apply(plan::inverse(plan::everything(plan)));
        ASSERT_TRUE(removed) << removed.error().message;
        EXPECT_THAT(place.listing(), ::testing::Not(HasSubstr("elements = {")));
    }
}

// A start with the option, one without, one with it again: what counts comes and goes, all else stays as it is.
TEST(Netlink, CountersComeAndGo) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        const Place place = Place::make();
        const auto restart = [&](Counting counting) {
            NftablesDataplane dataplane(family, place.open_again().value(), nullptr, Limits{},
                                        counting == Counting::kOn ? place.open_again().value() : nullptr);
            const auto outcome = dataplane.reconcile(plan);
            EXPECT_TRUE(outcome) << outcome.error().message;
            EXPECT_THAT(dataplane.set_aside(), IsEmpty());
            return outcome.value_or({});
        };
        const auto sorted_listing = [&] {
            auto all = lines(with_sorted_elements(place.listing()));
            std::sort(all.begin(), all.end());  // what was made anew stands at the end
            return all;
        };
        restart(Counting::kOff);
        const auto plain = sorted_listing();
        std::size_t destinations = 0;
        for (const auto& [name, service_port] : plan.service_ports) destinations += service_port->destinations.size();
        const auto on = restart(Counting::kOn);
        EXPECT_EQ(on.elements_added, destinations);
        EXPECT_EQ(on.elements_deleted, 0U);
        EXPECT_THAT(sorted_listing(), ::testing::IsSupersetOf(plain));
        EXPECT_THAT(place.listing(), HasSubstr("set nodeport-counted"));
        const auto again = restart(Counting::kOn);
        EXPECT_EQ(again.transactions, 0U);
        const auto off = restart(Counting::kOff);
        EXPECT_EQ(off.elements_added + off.elements_deleted, 0U) << "the set goes as a whole";
        EXPECT_EQ(sorted_listing(), plain);
    }
}

// The periodic look at everything, on the real kernel: what the real nft did is found and put back, nothing else is
// written.
TEST(Netlink, ACheckPutsBackWhatDiffers) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        Place place = Place::make();
        const std::string ip = family == net::Family::kIpv4 ? "ip" : "ip6";
        dataplane::nftables::NftablesDataplane dataplane(family, std::move(place.kernel));
        ASSERT_TRUE(dataplane.reconcile(plan));
        const auto look = dataplane.look(plan);
        const auto seen = look();
        ASSERT_TRUE(seen);
        const auto untouched = dataplane.check(plan, *seen);
        ASSERT_TRUE(untouched);
        EXPECT_EQ(untouched->differences, 0U);
        EXPECT_EQ(untouched->transactions, 0U);

        const auto before = lines(with_sorted_elements(place.listing()));
        for (const std::vector<std::string>& command :
             {std::vector<std::string>{"nft", "flush", "set", ip, "ghostip", "cluster-ips"},
              {"nft", "flush", "map", ip, "ghostip", "endpoints"},
              {"nft", "insert", "rule", ip, "ghostip", "services", "accept"},
              {"nft", "add", "chain", ip, "ghostip", "somebody"},
              {"nft", "flush", "chain", ip, "ghostip", "nat-postrouting"}}) {
            const auto done = place.space.must_run(command);
            ASSERT_TRUE(done) << done.error().message;
        }
        const auto harmed = look();
        ASSERT_TRUE(harmed);
        const auto repaired = dataplane.check(plan, *harmed);
        ASSERT_TRUE(repaired) << repaired.error().message;
        EXPECT_GT(repaired->differences, 20U);
        EXPECT_EQ(lines(with_sorted_elements(place.listing())), before);
    }
}

// Whatever the real nft can put into the table or do to it, the next look takes it away; nothing that others left keeps
// our own rules from being written.
TEST(Netlink, WhatOthersPutThereGoes) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        const bool ipv4 = family == net::Family::kIpv4;
        const std::string table = std::string(ipv4 ? "ip" : "ip6") + " ghostip";
        const std::string ip = ipv4 ? "ip" : "ip6";
        const std::string type = ipv4 ? "ipv4_addr" : "ipv6_addr";
        const std::string two = ipv4 ? "1.2.3.4, 5.6.7.8" : "2001:db8::1, 2001:db8::2";
        const std::string one = ipv4 ? "1.2.3.4" : "2001:db8::1";
        struct Case {
            const char* name;
            std::string script;
        };
        const Case cases[] = {
            {"an anonymous set in our chain",
             "insert rule " + table + " services " + ip + " daddr { " + two + " } drop"},
            {"an anonymous verdict map",
             "add chain " + table + " foreign; add rule " + table + " foreign tcp dport vmap { 1 : drop, 2 : accept }"},
            {"a verdict map of its own", "add chain " + table + " foreign; add map " + table + " vm { type " + type +
                                             " : verdict; }; add element " + table + " vm { " + one +
                                             " : jump foreign }; insert rule " + table + " services " + ip +
                                             " daddr vmap @vm"},
            {"a verdict map that nobody uses", "add chain " + table + " foreign; add map " + table + " vm { type " +
                                                   type + " : verdict; elements = { " + one + " : jump foreign }; }"},
            {"a base chain", "add chain " + table + " foreign { type filter hook forward priority 5; policy drop; }"},
            {"an element for everything", "add element " + table + " cluster-ips { * }"},
            {"a dormant table", "add table " + table + " { flags dormant; }"},
            {"another policy", "chain " + table + " filter-forward { policy drop; }"},
        };
        for (const auto& c : cases) {
            Place place = Place::make();
            dataplane::nftables::NftablesDataplane dataplane(family, std::move(place.kernel));
            ASSERT_TRUE(dataplane.reconcile(plan));
            const auto wanted = lines(with_sorted_elements(place.listing()));
            const auto done = place.space.must_run({"nft", "-f", "-"}, c.script + "\n");
            ASSERT_TRUE(done) << c.name << ": " << done.error().message;
            for (const bool restart : {false, true}) {
                auto outcome = dataplane.check(plan, *dataplane.look(plan)());
                if (restart) outcome = dataplane.reconcile(plan);
                ASSERT_TRUE(outcome) << c.name << ": " << outcome.error().message;
                EXPECT_EQ(outcome->differences > 0, !restart) << c.name;
                EXPECT_THAT(dataplane.set_aside(), IsEmpty()) << c.name;
                auto got = lines(with_sorted_elements(place.listing()));
                auto want = wanted;
                std::sort(got.begin(), got.end());  // a chain that was made anew stands at the end
                std::sort(want.begin(), want.end());
                EXPECT_EQ(got, want) << c.name;
            }
        }
    }
}

// Of another layout, by the real nft: what has the same name and another form is replaced, the rest goes at the end.
TEST(Netlink, AnOlderTableBecomesANewOne) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        Place fresh = Place::make();
        dataplane::nftables::NftablesDataplane first(family, std::move(fresh.kernel));
        ASSERT_TRUE(first.reconcile(plan));
        const auto wanted = lines(with_sorted_elements(fresh.listing()));
        const std::string ip = family == net::Family::kIpv4 ? "ip" : "ip6";
        const std::string address = family == net::Family::kIpv4 ? "ipv4_addr" : "ipv6_addr";
        struct Case {
            const char* name;
            std::string table;
            bool at_once;
        };
        const Case cases[] = {
            {"other names",
             "table " + ip + " ghostip { map old { type " + address + " : verdict; }; chain old-dispatch { " + ip +
                 " daddr vmap @old; }; chain old-prerouting { type nat hook prerouting priority -99; jump "
                 "old-dispatch; }; "
                 "chain nat-output { type nat hook output priority -99; jump old-dispatch; }; }",
             false},
            {"a set of another type", "table " + ip + " ghostip { set cluster-ips { type inet_service; }; }", true},
            {"a set with a size", "table " + ip + " ghostip { set cluster-ips { type " + address + "; size 4; }; }",
             true},
            {"a set of intervals",
             "table " + ip + " ghostip { set cluster-ips { type " + address + "; flags interval; }; }", true},
            {"another policy",
             "table " + ip + " ghostip { chain nat-output { type nat hook output priority -99; policy drop; }; }",
             false},
            {"another priority", "table " + ip + " ghostip { chain nat-output { type nat hook output priority -9; }; }",
             false},
        };
        for (const auto& c : cases) {
            Place place = Place::make();
            const auto loaded = place.space.must_run({"nft", "-f", "-"}, c.table);
            ASSERT_TRUE(loaded) << c.name << ": " << loaded.error().message;
            dataplane::nftables::NftablesDataplane dataplane(family, std::move(place.kernel));
            const auto outcome = dataplane.reconcile(plan);
            ASSERT_TRUE(outcome) << c.name << ": " << outcome.error().message;
            if (c.at_once) {
                EXPECT_EQ(outcome->transactions, 3U) << c.name;
            }
            auto got = lines(with_sorted_elements(place.listing()));
            auto want = wanted;
            if (!c.at_once) {  // chains that stood there stay where they stood
                std::sort(got.begin(), got.end());
                std::sort(want.begin(), want.end());
                std::erase_if(want, [](const auto& line) { return line.find("comment \"Kubernetes") != line.npos; });
                std::erase_if(got, [](const auto& line) { return line.find("comment \"Kubernetes") != line.npos; });
            }
            EXPECT_EQ(got, want) << c.name;
        }
    }
}

}  // namespace
}  // namespace ghostip
