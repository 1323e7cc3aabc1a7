// Looking at what the kernel holds: what is right stays untouched, whoever wrote it, and what is not is put right.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"
#include "kernel/iptables/words.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace plan::testing;
using net::Family;
using net::Protocol;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::array<Variant, 2> kBoth{Variant::kNft, Variant::kLegacy};

// Services of all kinds.
std::vector<api::Change> objects(Family family) {
    const bool v4 = family == Family::kIpv4;
    const auto cluster_ip = [&](int number) { return fmt::format("{}{}", v4 ? "172.30.0." : "fd00:30::", number); };
    const auto endpoint = [&](int number) { return fmt::format("{}{}", v4 ? "10.180.0." : "fd00:10::", number); };
    auto local = service("local", cluster_ip(1), {service_port("p", 80, Protocol::kTcp, 30001), service_port("q", 81)});
    local.type = api::ServiceType::kLoadBalancer;
    local.load_balancer_vips = ips({v4 ? "1.2.3.4" : "2001:db8:f::1"});
    local.external_traffic_policy = api::TrafficPolicy::kLocal;
    local.health_check_node_port = 32000;
    auto filtered = service("filtered", cluster_ip(2), {service_port("", 53, Protocol::kUdp)});
    filtered.type = api::ServiceType::kLoadBalancer;
    filtered.load_balancer_vips = ips({v4 ? "5.6.7.8" : "2001:db8:f::2"});
    filtered.load_balancer_source_ranges = cidrs({"192.168.0.0/24", "203.0.113.0/24", "2001:db8::/64"});
    filtered.affinity_seconds = 10800;
    auto empty = service("empty", cluster_ip(3), {service_port("p", 80, Protocol::kSctp, 30003)});
    empty.external_ips = ips({v4 ? "192.168.99.22" : "2001:db8:f::3"});
    return {put(local), put(filtered), put(empty),
            put(slice("l", "local", {slice_port("p", 80), slice_port("q", 81)},
                      {{endpoint(1), "r", "other"}, {endpoint(2), "r", "other"}, {endpoint(3), "r", "other"}})),
            put(slice("f", "filtered", {slice_port("", 53, Protocol::kUdp)}, {{endpoint(4)}, {endpoint(5)}}))};
}

plan::Plan plan_of(Family family) {
    NodePlanner planner(family, node_settings(), plan::iptables_profile());
    static_cast<void>(planner.apply(objects(family)));
    return planner.plan();
}

std::string without_host_length(std::string text) {
    for (const std::string_view length : {"/32", "/128"})
        if (text.ends_with(length)) text.resize(text.size() - length.size());
    return text;
}

// The rule as Kubernetes' own proxy gives it to iptables-restore: comment and matches first, then addresses, nothing
// that goes without saying, marks with all their digits.
std::string in_kube_proxys_words(const std::string& saved) {
    if (!saved.starts_with("-A KUBE-")) return saved;  // jumps have the comment last
    const auto words = kernel::iptables::split_words(saved);
    std::string comment;
    std::string matches;
    std::string later;  // behind the ports
    std::string protocol;
    std::string ports;
    std::string addresses;
    std::string target;
    std::string* match = nullptr;
    std::string negation;
    for (std::size_t i = 2; i < words->size(); ++i) {
        const std::string word(words->at(i).raw);
        const auto next = [&] { return std::string(words->at(++i).raw); };
        if (word == "!") {
            negation = " !";
        } else if (word == "-s" || word == "-d" || word == "-i") {
            addresses += std::exchange(negation, "") + " " + word + " " + without_host_length(next());
        } else if (word == "-p") {
            protocol = next();
        } else if (word == "-m") {
            const std::string name = next();
            match = name == "comment" ? &comment : name == protocol ? &ports : ports.empty() ? &matches : &later;
            if (match == &ports)
                protocol = fmt::format(" -m {0} -p {0}", name);
            else
                *match += " -m " + name;
        } else if (word == "-j") {
            match = &target;
            target += " -j " + next();
        } else if (word == "--mask" || word == "--reject-with") {
            static_cast<void>(next());
        } else if (word == "--probability") {
            *match += fmt::format(" --probability {:.10f}", 1 / std::round(1 / std::stod(next())));
        } else if (word == "--set-xmark") {
            target += next().ends_with("/0x0") ? " --xor-mark 0x00004000" : " --or-mark 0x00004000";
        } else if (word != "--rsource") {
            *match += std::exchange(negation, "") + " " + word;
        }
    }
    return std::string(words->at(0).raw) + " " + std::string(words->at(1).raw) + comment + matches + protocol +
           addresses + ports + later + target;
}

// What Kubernetes' own proxy would have given to iptables-restore for this.
std::string kube_proxys_text(const MemoryIptables& from) {
    std::string text;
    for (const char* table : tables::kAll) {
        text += fmt::format("*{}\n", table);
        for (const auto& line : from.saved(table)) {
            if (line.starts_with(':') && line.find(" - [0:0]") == std::string::npos) continue;
            text += (line.starts_with(':') ? line : in_kube_proxys_words(line)) + "\n";
        }
        text += "COMMIT\n";
    }
    return text;
}

TEST(IptablesReconcile, NothingIsWrittenWhereNothingDiffers) {
    for (const auto variant : kBoth)
        for (const auto family : net::kFamilies) {
            const auto plan = plan_of(family);
            MemoryIptables twin(variant, family);
            OnTwin first(twin);
            ASSERT_TRUE(first.reconcile(plan).has_value());
            const auto lines = all_lines(twin);
            for (const bool same_process : {true, false}) {
                OnTwin next(twin);
                auto& place = same_process ? first : next;
                twin.forget_texts();
                const auto outcome = place.reconcile(plan);
                ASSERT_TRUE(outcome.has_value());
                EXPECT_EQ(outcome->differences, 0U);
                EXPECT_EQ(outcome->transactions, 0U);
                EXPECT_THAT(written(twin), IsEmpty());
                EXPECT_EQ(all_lines(twin), lines);
            }
        }
}

TEST(IptablesReconcile, KubeProxysRulesAreTakenOver) {
    for (const auto variant : kBoth)
        for (const auto family : net::kFamilies) {
            const auto plan = plan_of(family);
            MemoryIptables model(variant, family);
            OnTwin writer(model);
            ASSERT_TRUE(writer.reconcile(plan).has_value());
            const std::string text = kube_proxys_text(model);
            if (family == Family::kIpv4) {
                // Are these really its words?
                EXPECT_THAT(text,
                            HasSubstr("-A KUBE-SERVICES -m comment --comment \"ns/local:p cluster IP\" -m tcp -p tcp "
                                      "-d 172.30.0.1 --dport 80 -j KUBE-SVC-"));
                EXPECT_THAT(text, HasSubstr("-m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-"));
                EXPECT_THAT(text, HasSubstr("--reap --name KUBE-SEP-"));
                EXPECT_THAT(text, Not(HasSubstr("--rsource")));
                EXPECT_THAT(text, Not(HasSubstr("/32")));
            }
            MemoryIptables twin(variant, family);
            const auto refused = twin.restore(text);
            ASSERT_TRUE(refused.has_value());
            ASSERT_FALSE(refused->has_value()) << (*refused)->reason;
            twin.forget_texts();
            OnTwin place(twin);
            const auto outcome = place.reconcile(plan);
            ASSERT_TRUE(outcome.has_value());
            EXPECT_THAT(written(twin), IsEmpty());
            EXPECT_EQ(outcome->transactions, 0U);
        }
}

// An iptables of another version prints some things in other words: they mean the same.
std::string in_other_words(std::string_view saved) {
    return saved.starts_with("-A ") ? in_kube_proxys_words(std::string(saved)) : std::string(saved);
}

TEST(IptablesReconcile, OtherWordsForTheSame) {
    const auto plan = plan_of(Family::kIpv4);
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    const auto host = [&] {
        IptablesDataplane::Host made;
        made.iptables = std::make_unique<Borrowed>(twin, in_other_words);
        made.sysctl = std::make_unique<kernel::sysctl::MemorySysctl>(std::map<std::string, std::int64_t>{});
        return made;
    };
    IptablesDataplane first(host());
    ASSERT_TRUE(first.reconcile(plan).has_value());
    IptablesDataplane second(host());
    twin.forget_texts();
    ASSERT_TRUE(second.reconcile(plan).has_value());
    EXPECT_THAT(written(twin), IsEmpty());
}

// The same, with jumps sorted: a missing one is put at the head of its chain, and their order says nothing.
Lines without_order_of_jumps(const MemoryIptables& twin) {
    Lines lines = comparable(twin);
    const auto first_jump = std::stable_partition(lines.begin(), lines.end(), [](const std::string& line) {
        return line.find(": -A ") == std::string::npos || line.find(": -A KUBE-") != std::string::npos;
    });
    std::sort(first_jump, lines.end());
    return lines;
}

// Each rule in turn is deleted, doubled, and changed by somebody; each time exactly that is put right.
TEST(IptablesReconcile, EverySingleRuleIsRepaired) {
    for (const auto variant : kBoth) {
        const auto plan = plan_of(Family::kIpv4);
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(plan).has_value());
        const auto right = without_order_of_jumps(twin);
        std::size_t rules = 0;
        for (const char* table : {"nat", "filter"})
            for (const auto& line : twin.saved(table)) {
                if (!line.starts_with("-A ")) continue;
                SCOPED_TRACE(line);
                ++rules;
                const auto repaired = [&](const char* what, bool is_different) {
                    SCOPED_TRACE(what);
                    const auto sight = place.dataplane.look(plan)();
                    ASSERT_TRUE(sight.has_value());
                    const auto outcome = place.dataplane.check(plan, *sight);
                    ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
                    EXPECT_EQ(outcome->differences, is_different ? 1U : 0U);
                    EXPECT_EQ(outcome->examples.size(), is_different ? 1U : 0U);
                    EXPECT_EQ(without_order_of_jumps(twin), right);
                    EXPECT_EQ(misplaced_tails(twin), Lines{});
                };
                ASSERT_TRUE(twin.delete_rule(table, line));
                repaired("deleted", true);
                const bool built_in = !line.starts_with("-A KUBE-");
                if (built_in) continue;  // others write there what they like
                static_cast<void>(twin.restore(fmt::format("*{}\n{}\nCOMMIT\n", table, line)));
                repaired("doubled at the end of its chain", true);
                const auto chain = line.substr(3, line.find(' ', 3) - 3);
                static_cast<void>(
                    twin.restore(fmt::format("*{}\n-I {} -s 10.9.9.9 -j RETURN\nCOMMIT\n", table, chain)));
                repaired("a stranger in front of it", true);
            }
        EXPECT_GT(rules, 70U);
    }
}

TEST(IptablesReconcile, OrderWithinAChain) {
    const auto plan = plan_of(Family::kIpv4);
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(plan).has_value());
    const auto right = comparable(twin);
    for (const char* prefix : {"-A KUBE-SVC-", "-A KUBE-EXT-", "-A KUBE-SEP-", "-A KUBE-FW-", "-A KUBE-POSTROUTING "}) {
        std::string line;
        for (const auto& candidate : twin.saved("nat"))
            if (line.empty() && candidate.starts_with(prefix)) line = candidate;
        ASSERT_TRUE(twin.delete_rule("nat", line));  // the first goes to the end
        static_cast<void>(twin.restore(fmt::format("*nat\n{}\nCOMMIT\n", line)));
        ASSERT_NE(comparable(twin), right) << prefix;
        const auto outcome = place.reconcile(plan);
        ASSERT_TRUE(outcome.has_value());
        EXPECT_EQ(outcome->differences, 1U) << prefix;
        EXPECT_EQ(comparable(twin), right);
    }
}

TEST(IptablesReconcile, ChainsThatAreGone) {
    const auto plan = plan_of(Family::kIpv4);
    MemoryIptables twin(Variant::kLegacy, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(plan).has_value());
    const auto right = without_order_of_jumps(twin);
    for (const char* table : tables::kAll)
        for (const auto& line : twin.saved(table)) {
            if (!line.starts_with(":KUBE-")) continue;
            const auto chain = line.substr(1, line.find(' ') - 1);
            ASSERT_TRUE(twin.delete_chain(table, chain)) << chain;
            const auto outcome = place.reconcile(plan);
            ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
            EXPECT_GT(outcome->differences, 0U) << chain;
            EXPECT_EQ(without_order_of_jumps(twin), right) << chain;
        }
}

// What a process before wrote and nobody wants goes, when what is wanted is there; rules of others are not touched.
TEST(IptablesReconcile, WhatNobodyWants) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        const auto plan = plan_of(Family::kIpv4);
        NodePlanner empty(Family::kIpv4, node_settings(), plan::iptables_profile());
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin before(twin);
        ASSERT_TRUE(before.reconcile(plan).has_value());
        static_cast<void>(twin.restore(
            "*nat\n:CNI-X - [0:0]\n-A POSTROUTING -j CNI-X\n-A CNI-X -s 10.1.2.3 -j MASQUERADE\nCOMMIT\n"));
        OnTwin after(twin);
        const auto outcome = after.reconcile(empty.plan());
        ASSERT_TRUE(outcome.has_value());
        EXPECT_EQ(outcome->differences, 0U) << "another process's rules are no drift";
        const auto lines = comparable(twin);
        EXPECT_THAT(lines, Contains("nat: -A CNI-X -s 10.1.2.3/32 -j MASQUERADE"));
        EXPECT_EQ(lines.size(), freshly_made(empty.plan(), variant).size() + 3);
    }
}

TEST(IptablesReconcile, ChainsThatOthersLeadTo) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        const auto plan = plan_of(Family::kIpv4);
        NodePlanner empty(Family::kIpv4, node_settings(), plan::iptables_profile());
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(plan).has_value());
        const plan::ServicePortName name{{"ns", "filtered"}, "", Protocol::kUdp};
        const auto chain = chain_name(ChainKind::kCluster, hash_of(name));
        static_cast<void>(
            twin.restore(fmt::format("*nat\n:CNI-X - [0:0]\n-A CNI-X -p udp --dport 5353 -j {}\nCOMMIT\n", chain)));
        ASSERT_TRUE(place.reconcile(empty.plan()).has_value());
        Lines left;
        for (const auto& line : twin.saved("nat"))
            if (line.starts_with(":KUBE-S") && is_service_chain(line.substr(1, line.find(' ') - 1)))
                left.push_back(line);
        EXPECT_THAT(left, SizeIs(3)) << "the pool and its two endpoints";
        EXPECT_THAT(left, Contains(":" + chain + " - [0:0]"));
        EXPECT_THAT(twin.saved("nat"), Contains(HasSubstr("-A CNI-X -p udp -m udp --dport 5353 -j " + chain)));
        // And is no reason to write again.
        twin.forget_texts();
        const auto again = place.reconcile(empty.plan());
        ASSERT_TRUE(again.has_value());
        EXPECT_EQ(again->differences, 0U);
        EXPECT_THAT(twin.texts(), IsEmpty());
    }
}

// A rule that nobody can delete by what it says makes its chain be written anew.
std::string unreadable(std::string_view saved) {
    const auto at = saved.find(" -s 10.9.9.9/32");
    return at == std::string_view::npos ? std::string(saved)
                                        : std::string(saved.substr(0, at)) + " [unsupported revision]";
}

TEST(IptablesReconcile, RulesThatCannotBeRead) {
    for (const auto variant : kBoth)
        for (const char* chain : {"KUBE-SERVICES", "KUBE-NODEPORTS"}) {
            SCOPED_TRACE(fmt::format("{} {}", variant_name(variant), chain));
            const auto plan = plan_of(Family::kIpv4);
            MemoryIptables twin(variant, Family::kIpv4);
            IptablesDataplane::Host host;
            host.iptables = std::make_unique<Borrowed>(twin, unreadable);
            host.sysctl = std::make_unique<kernel::sysctl::MemorySysctl>(std::map<std::string, std::int64_t>{});
            IptablesDataplane dataplane(std::move(host), impatient());
            ASSERT_TRUE(dataplane.reconcile(plan).has_value());
            const auto right = comparable(twin);
            static_cast<void>(twin.restore(fmt::format("*nat\n-I {} -s 10.9.9.9 -j RETURN\nCOMMIT\n", chain)));
            const auto outcome = dataplane.reconcile(plan);
            ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
            EXPECT_EQ(outcome->differences, 1U);
            EXPECT_EQ(comparable(twin), right);
            EXPECT_EQ(misplaced_tails(twin), Lines{});
        }
}

// At no moment does a dispatch rule lead to a chain that is not there, nor is anything emptied that serves.
TEST(IptablesReconcile, NothingIsEmptiedFirst) {
    const auto plan = plan_of(Family::kIpv4);
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin before(twin);
    ASSERT_TRUE(before.reconcile(plan).has_value());
    NodePlanner planner(Family::kIpv4, node_settings(), plan::iptables_profile());
    auto changes = objects(Family::kIpv4);
    changes.pop_back();
    changes.push_back(put(slice("f", "filtered", {slice_port("", 53, Protocol::kUdp)}, {{"10.180.0.77"}})));
    static_cast<void>(planner.apply(changes));
    twin.forget_texts();
    OnTwin after(twin, {true, 0, impatient(1)});
    ASSERT_TRUE(after.reconcile(planner.plan()).has_value());
    for (const auto& text : written(twin)) {
        EXPECT_THAT(text, Not(HasSubstr(":KUBE-SERVICES")));
        EXPECT_THAT(text, Not(HasSubstr(":KUBE-NODEPORTS")));
        EXPECT_THAT(text, Not(HasSubstr("ns/local")));
    }
    EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kNft));
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
