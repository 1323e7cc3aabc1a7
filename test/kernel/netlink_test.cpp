// The real nf_tables against what the code believes of it: the same refusals as the twin in memory, and the same tables
// from netlink as from `nft -f`.
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

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

using kernel::nft::LinuxKernel;
using kernel::nft::MemoryKernel;
using kernel::nft::Set;
using namespace kernel::nft::testing;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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
    for (const auto family : net::kFamilies)
        EXPECT_THAT(dataplane::nftables::missing(*place.kernel, family), IsEmpty());
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

TEST(Netlink, CommitsWhatRenderWrites) {
    for (const auto family : net::kFamilies) {
        // nft 1.0.6 cannot load the rule that remembers IPv6 clients (it can list it).
        const plan::Plan plan = everything_at_once(family, family == net::Family::kIpv4);
        const Place by_text = Place::make();
        const auto loaded = by_text.space.must_run({"nft", "-f", "-"}, dataplane::nftables::render(plan));
        ASSERT_TRUE(loaded) << loaded.error().message;

        Place by_netlink = Place::make();
        dataplane::nftables::NftablesDataplane dataplane(family, std::move(by_netlink.kernel));
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
TEST(Netlink, ARestartWritesNothing) {
    for (const auto family : net::kFamilies) {
        const plan::Plan plan = everything_at_once(family, true);
        Place place = Place::make();
        dataplane::nftables::NftablesDataplane first(family, std::move(place.kernel));
        const auto started = first.reconcile(plan);
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_GE(started->transactions, 1U);
        auto again = place.open_again();
        ASSERT_TRUE(again) << again.error().message;
        dataplane::nftables::NftablesDataplane dataplane(family, std::move(*again));
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
                EXPECT_EQ(outcome->transactions, 1U) << c.name;
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
