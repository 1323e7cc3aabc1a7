// What a change writes, and what happens when the kernel or somebody else is in the way.
#include "dataplane/iptables/dataplane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace plan::testing;
using net::Family;
using net::Protocol;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::array<Variant, 2> kBoth{Variant::kNft, Variant::kLegacy};

class IptablesPlanner : public NodePlanner {
  public:
    explicit IptablesPlanner(plan::NodeSettings settings = node_settings())
        : NodePlanner(Family::kIpv4, std::move(settings), plan::iptables_profile()) {}
};

api::Service numbered(int number) {
    return plan::testing::service("s" + std::to_string(number),
                                  fmt::format("172.30.{}.{}", number / 250, 1 + number % 250), {service_port("p", 80)});
}

// With all that a Service can have.
api::Service balanced_outside(int number) {
    auto object = numbered(number);
    object.type = api::ServiceType::kLoadBalancer;
    object.ports.front().node_port = static_cast<std::uint16_t>(30000 + number);
    object.external_ips = {ip(fmt::format("192.168.99.{}", 1 + number))};
    object.load_balancer_vips = {ip(fmt::format("1.2.3.{}", 1 + number))};
    object.load_balancer_source_ranges = cidrs({"203.0.113.0/24"});
    return object;
}

api::EndpointSlice numbered_slice(int number, int endpoints, int first = 1) {
    std::vector<Ep> eps;
    for (int i = first; i < first + endpoints; ++i)
        eps.push_back({fmt::format("10.{}.{}.{}", number % 200, i / 200, 1 + i % 200)});
    return slice("s" + std::to_string(number), "s" + std::to_string(number), {slice_port("p", 8080)}, eps);
}

std::vector<api::Change> cluster(int services, int endpoints, api::Service (*shape)(int) = numbered) {
    std::vector<api::Change> changes;
    for (int i = 0; i < services; ++i) {
        changes.push_back(put(shape(i)));
        changes.push_back(put(numbered_slice(i, endpoints)));
    }
    return changes;
}

std::uint64_t total(const Outcome& outcome, std::string_view part) {
    for (const auto& count : outcome.rules)
        if (count.part == part) return count.total;
    return 0;
}
std::uint64_t just_written(const Outcome& outcome, std::string_view part) {
    for (const auto& count : outcome.rules)
        if (count.part == part) return count.written;
    return 0;
}

TEST(IptablesDataplane, RuleCounts) {
    struct Case {
        int services, endpoints;
        bool outside;
        std::uint64_t filter, nat;
    };
    for (const auto& c :
         {Case{0, 0, false, 4, 5}, Case{1, 0, false, 5, 5}, Case{1, 1, false, 4, 10}, Case{1, 2, false, 4, 13},
          Case{1, 10, false, 4, 37}, Case{10, 0, false, 14, 5}, Case{10, 1, false, 4, 55}, Case{10, 2, false, 4, 85},
          Case{10, 10, false, 4, 325}, Case{1, 0, true, 8, 5}, Case{1, 1, true, 5, 18}, Case{1, 2, true, 5, 21},
          Case{1, 10, true, 5, 45}, Case{10, 0, true, 44, 5}, Case{10, 1, true, 14, 135}, Case{10, 2, true, 14, 165},
          Case{10, 10, true, 14, 405}}) {
        SCOPED_TRACE(fmt::format("{} services, {} endpoints, outside {}", c.services, c.endpoints, c.outside));
        IptablesPlanner planner;
        MemoryIptables by_steps_twin(Variant::kNft, Family::kIpv4);
        OnTwin by_steps(by_steps_twin);
        ASSERT_TRUE(by_steps.reconcile(planner.plan()).has_value());
        const auto delta = planner.apply(cluster(c.services, c.endpoints, c.outside ? balanced_outside : numbered));
        MemoryIptables twin(Variant::kNft, Family::kIpv4);
        OnTwin place(twin);
        const auto at_once = place.reconcile(planner.plan());
        const auto stepwise = by_steps.apply(delta);
        ASSERT_TRUE(at_once.has_value());
        ASSERT_TRUE(stepwise.has_value());
        for (const auto& [part, expected] : {std::pair{"filter", c.filter}, std::pair{"nat", c.nat}}) {
            const std::uint64_t jumps = part == std::string("nat") ? 3 : 11;
            EXPECT_EQ(total(*at_once, part), expected) << part;
            EXPECT_EQ(total(*stepwise, part), expected) << part;
            EXPECT_EQ(just_written(*at_once, part), expected) << part;
            EXPECT_EQ(just_written(*stepwise, part), expected - (part == std::string("nat") ? 5 : 4)) << part;
            EXPECT_EQ(twin.rules(part), expected + jumps) << part;
        }
        const auto again = place.reconcile(planner.plan());
        ASSERT_TRUE(again.has_value());
        EXPECT_EQ(total(*again, "nat"), c.nat);
        EXPECT_EQ(just_written(*again, "nat"), 0U);
    }
}

// One service through its life: exactly what changed is written, and nothing when nothing did.
TEST(IptablesDataplane, WritesWhatChanged) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        IptablesPlanner planner;
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        static_cast<void>(planner.apply(cluster(3, 2)));
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const auto write = [&](const std::vector<api::Change>& changes) {
            twin.forget_texts();
            const auto outcome = place.apply(planner.apply(changes));
            EXPECT_TRUE(outcome.has_value());
            std::string text;
            for (const auto& one : twin.texts()) text += one;
            EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
            return text;
        };
        const plan::ServicePortName name{{"ns", "s7"}, "p", Protocol::kTcp};
        const std::string h = hash_of(name);
        const auto sep = [&](const char* address) {
            return endpoint_chains(name, {{ip(address), 8080, false}}).front();
        };
        const std::string match = " -d 172.30.0.8/32 -p tcp -m comment --comment \"ns/s7:p ";

        EXPECT_EQ(write({put(numbered(7))}),
                  "*filter\n-I KUBE-SERVICES" + match +
                      "has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n");
        const auto a = sep("10.7.0.2");
        const auto b = sep("10.7.0.3");
        const auto made = [&](const std::string& chain, const char* address) {
            return fmt::format(
                ":{0} - [0:0]\n-A {0} -s {1}/32 -m comment --comment \"ns/s7:p\" -j KUBE-MARK-MASQ\n-A {0} -p tcp -m "
                "comment --comment \"ns/s7:p\" -m tcp -j DNAT --to-destination {1}:8080\n",
                chain, address);
        };
        const auto pool = [&](const std::string& rules) {
            return fmt::format(
                ":KUBE-SVC-{0} - [0:0]\n-A KUBE-SVC-{0} ! -s 10.0.0.0/8{1}cluster IP\" -m tcp --dport "
                "80 -j KUBE-MARK-MASQ\n{2}",
                h, match, rules);
        };
        const auto last = [&](const char* address, const std::string& chain) {
            return fmt::format("-A KUBE-SVC-{} -m comment --comment \"ns/s7:p -> {}:8080\" -j {}\n", h, address, chain);
        };
        const std::string dispatch = match + "cluster IP\" -m tcp --dport 80 -j KUBE-SVC-" + h + "\n";
        const std::string refusal =
            match + "has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable\n";
        // What answers comes before the refusal goes.
        EXPECT_EQ(write({put(numbered_slice(7, 1))}), "*nat\n" + made(a, "10.7.0.2") + pool(last("10.7.0.2", a)) +
                                                          "-I KUBE-SERVICES" + dispatch + "COMMIT\n*filter\n" +
                                                          "-D KUBE-SERVICES" + refusal + "COMMIT\n");
        // Endpoints alone change chains alone.
        EXPECT_EQ(write({put(numbered_slice(7, 1, 2))}), "*nat\n" + made(b, "10.7.0.3") + pool(last("10.7.0.3", b)) +
                                                             ":" + a + " - [0:0]\n-X " + a + "\nCOMMIT\n");
        EXPECT_EQ(write({put(numbered_slice(7, 2))}),
                  "*nat\n" + made(a, "10.7.0.2") +
                      pool(fmt::format("-A KUBE-SVC-{} -m comment --comment \"ns/s7:p -> 10.7.0.2:8080\" -m statistic "
                                       "--mode random --probability 0.50000000000 -j {}\n",
                                       h, a) +
                           last("10.7.0.3", b)) +
                      "COMMIT\n");
        EXPECT_EQ(write({put(numbered_slice(7, 2))}), "");
        // The refusal comes before what answers goes.
        const std::string emptied = write({plan::testing::gone(numbered_slice(7, 1))});
        EXPECT_THAT(emptied,
                    HasSubstr("*filter\n-I KUBE-SERVICES" + refusal + "COMMIT\n*nat\n-D KUBE-SERVICES" + dispatch));
        EXPECT_THAT(emptied, HasSubstr("-X KUBE-SVC-" + h + "\n"));
        EXPECT_EQ(write({plan::testing::gone(numbered(7))}), "*filter\n-D KUBE-SERVICES" + refusal + "COMMIT\n");
    }
}

// Above a thousand endpoints rules of endpoints have no comments; what stands is not written anew for that.
TEST(IptablesDataplane, LargeCluster) {
    IptablesPlanner planner;
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    static_cast<void>(planner.apply(cluster(1, 998)));
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    const auto commented = [&] {
        std::size_t count = 0;
        for (const auto& line : twin.saved("nat"))
            if (line.starts_with("-A KUBE-SEP-") && line.find("--comment") != std::string::npos) ++count;
        return count;
    };
    EXPECT_EQ(commented(), 998U * 2);
    static_cast<void>(place.apply(planner.apply({put(numbered(1)), put(numbered_slice(1, 3))})));
    EXPECT_EQ(commented(), 998U * 2) << "the new ones have none, the old ones keep theirs";
    EXPECT_EQ(twin.rules("nat"), 3U + 5 + 2 + 998 * 3 + 2 + 3 * 3);

    // Comments are no difference, but a look at everything puts them right.
    const auto sight = place.dataplane.look(planner.plan())();
    ASSERT_TRUE(sight.has_value());
    twin.forget_texts();
    const auto checked = place.dataplane.check(planner.plan(), *sight);
    ASSERT_TRUE(checked.has_value());
    EXPECT_EQ(checked->differences, 0U);
    EXPECT_THAT(twin.texts(), IsEmpty());
    const auto full = place.reconcile(planner.plan());
    ASSERT_TRUE(full.has_value());
    EXPECT_EQ(full->differences, 0U);
    EXPECT_GT(full->transactions, 0U);
    EXPECT_EQ(commented(), 0U);
    EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kNft));
}

// Large changes to iptables-nft come in pieces, whole service ports each; iptables-legacy gets one text.
TEST(IptablesDataplane, Pieces) {
    for (const auto variant : kBoth) {
        IptablesPlanner planner;
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin, {true, 0, impatient(100)});
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        twin.forget_texts();
        ASSERT_TRUE(place.apply(planner.apply(cluster(50, 4))).has_value());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
        const auto texts = twin.texts();
        if (variant == Variant::kLegacy) {
            EXPECT_THAT(texts, SizeIs(1));
            continue;
        }
        // A service port: five chains with 5 + 4 * 2 rules, and its dispatch.
        EXPECT_THAT(texts, SizeIs(10));
        for (const auto& text : texts) EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 100 + 2);
    }
}

// Who tells pods apart is in rules of service ports whose plan is the same all the same.
TEST(IptablesDataplane, NodeRulesThatConcernServicePorts) {
    auto settings = node_settings();
    settings.detect_local_mode = plan::DetectLocalMode::kNodeCidr;
    IptablesPlanner planner(settings);
    auto local = balanced_outside(0);
    local.external_traffic_policy = api::TrafficPolicy::kLocal;
    static_cast<void>(planner.apply({put(local), put(numbered_slice(0, 2))}));
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    for (const char* range : {"10.180.0.0/24", "10.181.0.0/24"}) {
        auto node = node_object();
        node.pod_cidrs = cidrs({range});
        ASSERT_TRUE(place.apply(planner.apply({put(node)})).has_value());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kNft));
        EXPECT_THAT(comparable(twin), ::testing::Contains(HasSubstr(fmt::format(" -s {} -m comment", range))));
    }
}

// An address that changes hands does so in one text.
TEST(IptablesDataplane, Handover) {
    IptablesPlanner planner;
    auto first = numbered(1);
    auto second = numbered(2);
    first.external_ips = {ip("192.168.99.9")};
    second.external_ips = first.external_ips;
    static_cast<void>(planner.apply({put(first), put(second), put(numbered_slice(1, 1)), put(numbered_slice(2, 1))}));
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin, {true, 0, impatient(1)});
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    twin.forget_texts();
    first.external_ips.clear();
    ASSERT_TRUE(place.apply(planner.apply({put(first)})).has_value());
    ASSERT_THAT(twin.texts(), SizeIs(1));
    EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kNft));
}

TEST(IptablesDataplane, HealthCheckPorts) {
    IptablesPlanner planner;
    auto object = balanced_outside(1);
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    object.health_check_node_port = 32000;
    object.ports.push_back(service_port("q", 81));
    static_cast<void>(planner.apply({put(object)}));
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    const auto accepting = [&] {
        Lines lines;
        for (const auto& line : twin.saved("filter"))
            if (line.starts_with("-A KUBE-NODEPORTS")) lines.push_back(line);
        return lines;
    };
    const auto accept = [](const char* port_name, int port) {
        return fmt::format(
            "-A KUBE-NODEPORTS -p tcp -m comment --comment \"ns/s1:{} health check node port\" -m tcp "
            "--dport {} -j ACCEPT",
            port_name, port);
    };
    EXPECT_THAT(accepting(), ::testing::UnorderedElementsAre(accept("p", 32000), accept("q", 32000)));
    object.health_check_node_port = 32001;
    ASSERT_TRUE(place.apply(planner.apply({put(object)})).has_value());
    EXPECT_THAT(accepting(), ::testing::UnorderedElementsAre(accept("p", 32001), accept("q", 32001)));
    ASSERT_TRUE(place.apply(planner.apply({gone(object)})).has_value());
    EXPECT_THAT(accepting(), IsEmpty());
}

// --- what the kernel refuses ---

TEST(IptablesDataplane, RefusedServicePortsAreSetAside) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        IptablesPlanner planner;
        static_cast<void>(planner.apply(cluster(9, 2)));
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const auto before = comparable(twin);

        // A new version of one service is refused in the midst of others that are taken.
        twin.refuse_rules_with("10.4.0.9:8080");
        const auto delta = planner.apply(
            {put(numbered_slice(3, 3)), put(numbered_slice(4, 3, 6)), put(numbered_slice(5, 3)), put(numbered(77))});
        const auto outcome = place.apply(delta);
        ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
        ASSERT_THAT(outcome->set_aside, SizeIs(1));
        EXPECT_EQ(outcome->set_aside.front().object, "ns/s4:p");
        EXPECT_THAT(place.dataplane.set_aside(), SizeIs(1));
        const auto of_s4 = [](const Lines& lines) {
            Lines own;
            for (const auto& line : lines)
                if (line.find("ns/s4:p") != std::string::npos) own.push_back(line);
            return own;
        };
        EXPECT_EQ(of_s4(comparable(twin)), of_s4(before)) << "it keeps what it had";
        twin.refuse_rules_with("");
        EXPECT_EQ(freshly_made(planner.plan(), variant).size(), comparable(twin).size() + 3 + 1)
            << "one endpoint of three rules is missing, and a chain";

        // What is set aside is no difference.
        twin.refuse_rules_with("10.4.0.9:8080");
        const auto sight = place.dataplane.look(planner.plan())();
        ASSERT_TRUE(sight.has_value());
        const auto checked = place.dataplane.check(planner.plan(), *sight);
        ASSERT_TRUE(checked.has_value());
        EXPECT_EQ(checked->differences, 0U);

        // Looking at everything tries it again, here in vain; what it had still stays.
        const auto in_vain = place.reconcile(planner.plan());
        ASSERT_TRUE(in_vain.has_value()) << in_vain.error().message;
        ASSERT_THAT(in_vain->set_aside, SizeIs(1));
        EXPECT_EQ(of_s4(comparable(twin)), of_s4(before));
        EXPECT_THAT(place.dataplane.set_aside(), SizeIs(1));

        // Its next version is taken; then nothing is left of the old one.
        ASSERT_TRUE(place.apply(planner.apply({put(numbered_slice(4, 1, 3))})).has_value());
        EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
    }
}

TEST(IptablesDataplane, RefusedServicePortsAtAStart) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        IptablesPlanner planner;
        static_cast<void>(planner.apply(cluster(20, 2, balanced_outside)));
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin first(twin);
        ASSERT_TRUE(first.reconcile(planner.plan()).has_value());
        const auto before = comparable(twin);
        // Two of them are others when the next process starts, and refused.
        auto changed = planner.apply({put(numbered_slice(4, 2, 8)), put(numbered_slice(15, 2, 8))});
        twin.refuse_rules_with(".0.10:8080");
        OnTwin next(twin);
        const auto outcome = next.reconcile(planner.plan());
        ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
        EXPECT_THAT(outcome->set_aside, SizeIs(2));
        EXPECT_EQ(comparable(twin), before) << "they keep what the process before had written";
        twin.refuse_rules_with("");
        ASSERT_TRUE(next.reconcile(planner.plan()).has_value());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
        EXPECT_THAT(next.dataplane.set_aside(), IsEmpty());
    }
}

// A refusal that had come before its nat part was refused goes again.
TEST(IptablesDataplane, RefusedAfterItsRefusalCame) {
    for (const auto variant : kBoth) {
        SCOPED_TRACE(variant_name(variant));
        IptablesPlanner planner;
        auto local = balanced_outside(1);
        local.load_balancer_source_ranges.clear();
        static_cast<void>(planner.apply({put(local), put(numbered_slice(1, 2))}));
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const auto before = comparable(twin);
        twin.refuse_rules_with("LOCAL traffic for");
        local.external_traffic_policy = api::TrafficPolicy::kLocal;  // nobody is here: drop
        const auto outcome = place.apply(planner.apply({put(local)}));
        ASSERT_TRUE(outcome.has_value());
        EXPECT_THAT(outcome->set_aside, SizeIs(1));
        EXPECT_EQ(comparable(twin), before);
    }
}

// --- others ---

TEST(IptablesDataplane, ARuleThatIsGoneIsTold) {
    for (const auto variant : kBoth) {
        IptablesPlanner planner;
        static_cast<void>(planner.apply(cluster(3, 1)));
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const auto lines = twin.saved("nat");
        const auto dispatch = std::find_if(lines.begin(), lines.end(), [](const auto& line) {
            return line.find("ns/s1:p cluster IP\" -m tcp --dport 80 -j KUBE-SVC") != std::string::npos;
        });
        ASSERT_NE(dispatch, lines.end());
        ASSERT_TRUE(twin.delete_rule("nat", *dispatch));
        const auto outcome = place.apply(planner.apply({gone(numbered(1))}));
        ASSERT_FALSE(outcome.has_value());
        EXPECT_EQ(outcome.error().code, ENOENT);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
    }
}

TEST(IptablesDataplane, EverythingIsGone) {
    for (const auto variant : kBoth) {
        IptablesPlanner planner;
        static_cast<void>(planner.apply(cluster(3, 1)));
        MemoryIptables twin(variant, Family::kIpv4);
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
        const auto canaries = place.dataplane.canaries()->load();
        twin.flush_all();
        const auto outcome = place.apply(planner.apply({put(numbered_slice(1, 2))}));
        ASSERT_FALSE(outcome.has_value());
        EXPECT_EQ(outcome.error().code, ENOENT);
        const auto repaired = place.reconcile(planner.plan());
        ASSERT_TRUE(repaired.has_value());
        EXPECT_GT(repaired->differences, 20U);
        EXPECT_FALSE(repaired->examples.empty());
        EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), variant));
        EXPECT_EQ(place.dataplane.canaries()->load(), canaries + 1);
    }
}

TEST(IptablesDataplane, TheLock) {
    IptablesPlanner planner;
    MemoryIptables twin(Variant::kLegacy, Family::kIpv4);
    Settings settings;
    settings.limits.lock_wait = std::chrono::minutes(1);
    OnTwin place(twin, settings);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    twin.hold_lock(3);
    ASSERT_TRUE(place.apply(planner.apply(cluster(1, 1))).has_value()) << "waited for";
    EXPECT_EQ(comparable(twin), freshly_made(planner.plan(), Variant::kLegacy));

    OnTwin hasty(twin);
    ASSERT_TRUE(hasty.reconcile(planner.plan()).has_value());
    twin.hold_lock(1000);
    const auto outcome = hasty.apply(planner.apply(cluster(2, 1)));
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, EBUSY);
    EXPECT_THAT(outcome.error().message, HasSubstr("kube-proxy"));
}

TEST(IptablesDataplane, LoopbackThatCannotBeOpened) {
    IptablesPlanner planner;
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    OnTwin place(twin);
    place.sysctl->fail_writes(EROFS);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    ASSERT_THAT(place.dataplane.set_aside(), SizeIs(1));
    EXPECT_EQ(place.dataplane.set_aside().front().object, "node ports on loopback");
    place.sysctl->fail_writes(0);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    EXPECT_THAT(place.dataplane.set_aside(), IsEmpty());
}

// Without xt_recent clients do not stick, and everything else goes on.
TEST(IptablesDataplane, NoAffinity) {
    IptablesPlanner planner;
    auto sticky = numbered(1);
    sticky.affinity_seconds = 100;
    static_cast<void>(planner.apply({put(sticky), put(numbered_slice(1, 2))}));
    MemoryIptables twin(Variant::kNft, Family::kIpv4);
    twin.refuse_rules_with("-m recent");
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(planner.plan()).has_value());
    ASSERT_THAT(place.dataplane.set_aside(), SizeIs(1));
    EXPECT_THAT(place.dataplane.set_aside().front().object, HasSubstr("session affinity"));
    EXPECT_THAT(comparable(twin), ::testing::Contains(HasSubstr("--to-destination 10.1.0.2:8080")));
    EXPECT_THAT(comparable(twin), Not(::testing::Contains(HasSubstr("recent"))));
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
