#include "plan/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using net::Protocol;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kPod = "10.0.0.2";
constexpr std::string_view kOutside = "203.0.113.2";
constexpr std::string_view kBlocked = "203.0.113.130";
constexpr std::string_view kThisNode = "192.168.0.2";

struct FlowCase {
    std::string_view from;
    std::string_view to;
    std::uint16_t port;
    std::string expected;
    Protocol protocol = Protocol::kTcp;
};

// `10.180.0.1:80 10.180.1.1:80 masq`, or the verdict with its reason.
std::string text(const Journey& journey) {
    switch (journey.reason) {
        case Reason::kEndpoints: break;
        case Reason::kNoEndpoints: return "rejected: no endpoints";
        case Reason::kNoWeight: return "rejected: no weight";
        case Reason::kNotRelayed: return "rejected: not relayed";
        case Reason::kNoLocalEndpoints: return "dropped: no local endpoints";
        case Reason::kSourceNotAllowed: return "dropped: source";
        case Reason::kUnknownPort: return "rejected: unknown port";
        case Reason::kUnallocatedClusterIp: return "dropped: unallocated";
        case Reason::kRefusedAddress:
        case Reason::kOwnTraffic:
        case Reason::kUnknownDestination: return "not ours";
    }
    std::string result;
    for (const auto& endpoint : texts(journey.pool)) result += endpoint + " ";
    return result + (journey.masquerade ? "masq" : "kept");
}

void expect_flows(const Planner& planner, const std::vector<FlowCase>& flows) {
    const Plan plan = planner.plan();
    const Explainer explainer(plan, planner.profile());
    for (const auto& c : flows)
        EXPECT_EQ(text(explainer.explain({ip(c.from), ip(c.to), c.protocol, c.port, ""})), c.expected)
            << c.from << " -> " << c.to << ":" << c.port << "/" << net::protocol_name(c.protocol);
}

// Cases 103 to 109.
TEST(Explain, ClusterIp) {
    NodePlanner planner;
    static_cast<void>(planner.apply({
        put(service("svc1", "172.30.0.41", {service_port("p80", 80)})),
        put(service("svc2", "172.30.0.42",
                    {service_port("p80", 80), service_port("p443", 443), service_port("udp", 53, Protocol::kUdp),
                     service_port("tcp", 53), service_port("sctp", 53, Protocol::kSctp)})),
        put(slice("svc1", "svc1", {slice_port("p80", 80)}, {{"10.180.0.1", "r", "test-node"}})),
        put(slice("svc2", "svc2",
                  {slice_port("p80", 80), slice_port("p443", 8443), slice_port("udp", 53, Protocol::kUdp),
                   slice_port("tcp", 5353), slice_port("sctp", 53, Protocol::kSctp)},
                  {{"10.180.0.1", "r", "test-node"}, {"10.180.2.1", "r", "other"}})),
        put(api::ServiceCidr{"c", cidrs({"172.30.0.0/16"})}),
    }));
    expect_flows(planner, {
                              {kPod, "172.30.0.41", 80, "10.180.0.1:80 kept"},
                              {kPod, "172.30.0.42", 80, "10.180.0.1:80 10.180.2.1:80 kept"},
                              {kPod, "172.30.0.42", 443, "10.180.0.1:8443 10.180.2.1:8443 kept"},
                              {kPod, "172.30.0.42", 53, "10.180.0.1:5353 10.180.2.1:5353 kept"},
                              {kPod, "172.30.0.42", 53, "10.180.0.1:53 10.180.2.1:53 kept", Protocol::kUdp},
                              {kPod, "172.30.0.42", 53, "10.180.0.1:53 10.180.2.1:53 kept", Protocol::kSctp},
                              {kPod, "172.30.0.41", 443, "rejected: unknown port"},
                              {kPod, "172.30.0.41", 80, "rejected: unknown port", Protocol::kUdp},
                              {kPod, "172.30.0.99", 80, "dropped: unallocated"},
                              {kPod, "172.31.0.99", 80, "not ours"},
                              {kPod, "10.180.0.1", 80, "not ours"},
                              {"10.180.0.1", "172.30.0.41", 80, "10.180.0.1:80 kept"},
                          });
}

// An endpoint that reaches itself is masqueraded, but only if it is chosen.
TEST(Explain, Hairpin) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(service("svc", "172.30.0.41", {service_port("p", 80)})),
                                     put(slice("s", "svc", {slice_port("p", 80)},
                                               {{"10.180.0.1", "r", "test-node"}, {"10.180.2.1", "r", "other"}}))}));
    const Plan plan = planner.plan();
    const Explainer explainer(plan, planner.profile());
    const auto from = [&](std::string_view source) {
        return explainer.explain({ip(source), ip("172.30.0.41"), Protocol::kTcp, 80, ""});
    };
    EXPECT_THAT(texts(from("10.180.0.1").hairpins), ElementsAre("10.180.0.1:80"));
    EXPECT_TRUE(from("10.180.0.1").masquerades_for({ip("10.180.0.1"), 80, true}));
    EXPECT_FALSE(from("10.180.0.1").masquerades_for({ip("10.180.2.1"), 80, false}));
    EXPECT_THAT(from("10.180.2.1").hairpins, IsEmpty()) << "an endpoint of another node is not looked at in this mode";
    EXPECT_THAT(from(kPod).hairpins, IsEmpty());
    EXPECT_TRUE(from(kThisNode).masquerades_for({ip("10.180.2.1"), 80, false}));
}

api::Service exposed(std::string name, std::string_view cluster_ip, std::uint16_t node_port, std::string_view vip) {
    auto object = service(std::move(name), cluster_ip, {service_port("p80", 80, Protocol::kTcp, node_port)});
    object.type = api::ServiceType::kLoadBalancer;
    object.load_balancer_vips = {ip(vip)};
    return object;
}

// Case 110.
TEST(Explain, NobodyAnywhere) {
    NodePlanner planner;
    auto object = exposed("svc", "172.30.0.41", 3001, "1.2.3.4");
    object.external_ips = {ip("192.168.99.11")};
    static_cast<void>(planner.apply({put(object)}));
    for (const auto from : {kPod, kOutside, kThisNode})
        expect_flows(planner, {{from, "172.30.0.41", 80, "rejected: no endpoints"},
                               {from, "192.168.99.11", 80, "rejected: no endpoints"},
                               {from, kThisNode, 3001, "rejected: no endpoints"},
                               {from, "1.2.3.4", 80, "rejected: no endpoints"},
                               {from, "192.168.1.2", 3001, "not ours"}});
}

// Cases 111 to 115.
TEST(Explain, SourceRanges) {
    NodePlanner planner;
    auto object = exposed("svc", "172.30.0.41", 3001, "1.2.3.4");
    object.load_balancer_vips.push_back(ip("5.6.7.8"));
    object.load_balancer_source_ranges = cidrs({"192.168.0.0/24", "203.0.113.0/25"});
    static_cast<void>(planner.apply(
        {put(object), put(slice("s", "svc", {slice_port("p80", 80)}, {{"10.180.0.1", "r", "test-node"}}))}));
    expect_flows(planner, {{kPod, "172.30.0.41", 80, "10.180.0.1:80 kept"},
                           {kOutside, kThisNode, 3001, "10.180.0.1:80 masq"},
                           {kBlocked, kThisNode, 3001, "10.180.0.1:80 masq"}});
    for (const auto* vip : {"1.2.3.4", "5.6.7.8"})
        expect_flows(planner, {{kOutside, vip, 80, "10.180.0.1:80 masq"},
                               {kBlocked, vip, 80, "dropped: source"},
                               {kPod, vip, 80, "dropped: source"},
                               {kThisNode, vip, 80, "10.180.0.1:80 masq"},
                               {"1.2.3.4", vip, 80, "10.180.0.1:80 masq"}});
    static_cast<void>(planner.apply({gone(slice("s", "svc", {}, {}))}));
    expect_flows(planner,
                 {{kOutside, "1.2.3.4", 80, "rejected: no endpoints"}, {kBlocked, "1.2.3.4", 80, "dropped: source"}});
}

// Cases 116 and 117, both families.
TEST(Explain, NodePorts) {
    struct Case {
        Family family;
        std::string_view cluster_ip, local, remote, pod, outside, node, other_node_address;
        std::string both, missed;
    };
    const Case cases[] = {
        {Family::kIpv4, "172.30.0.41", "10.180.0.1", "10.180.2.1", kPod, kOutside, kThisNode, "192.168.1.2",
         "10.180.0.1:80 10.180.2.1:80 ", "127.0.0.1"},
        {Family::kIpv6, "fd00:172:30::41", "fd00:10::1", "fd00:10::2:1", "fd00:10::a", "2001:db8:99::2", "2001:db8::1",
         "2001:db8:1::2", "[fd00:10::1]:80 [fd00:10::2:1]:80 ", "::1"},
    };
    for (const auto& c : cases) {
        for (const bool wide : {false, true}) {
            auto settings = node_settings();
            if (wide) settings.node_port_ranges = cidrs({"192.168.0.0/24", "192.168.1.0/24", "2001:db8::/32"});
            NodePlanner planner(c.family, settings);
            static_cast<void>(planner.apply(
                {put(service("svc", c.cluster_ip, {service_port("p", 80, Protocol::kTcp, 3001)})),
                 put(slice("s", "svc", {slice_port("p", 80)},
                           {{std::string(c.local), "r", "test-node"}, {std::string(c.remote), "r", "other"}}))}));
            expect_flows(planner, {{c.pod, c.cluster_ip, 80, c.both + "kept"},
                                   {c.outside, c.node, 3001, c.both + "masq"},
                                   {c.node, c.node, 3001, c.both + "masq"},
                                   {c.outside, c.other_node_address, 3001, wide ? c.both + "masq" : "not ours"},
                                   {c.node, c.missed, 3001, "not ours"},
                                   {c.outside, c.node, 3001, "not ours", Protocol::kUdp}});
        }
    }
}

// Cases 120 and 121.
TEST(Explain, ExternalPolicy) {
    for (const bool local : {true, false}) {
        NodePlanner planner;
        auto object = exposed("svc", "172.30.0.41", 3001, "1.2.3.4");
        object.external_ips = {ip("192.168.99.22")};
        object.external_traffic_policy = local ? api::TrafficPolicy::kLocal : api::TrafficPolicy::kCluster;
        static_cast<void>(
            planner.apply({put(object), put(slice("s", "svc", {slice_port("p80", 80)},
                                                  {{"10.180.0.1", "r", "other"}, {"10.180.2.1", "r", "test-node"}}))}));
        const std::string both = "10.180.0.1:80 10.180.2.1:80 ";
        const std::string outside = local ? "10.180.2.1:80 kept" : both + "masq";
        const std::string pod = both + (local ? "kept" : "masq");
        expect_flows(planner, {{kPod, "172.30.0.41", 80, both + "kept"},
                               {kOutside, "192.168.99.22", 80, outside},
                               {kOutside, "1.2.3.4", 80, outside},
                               {kOutside, kThisNode, 3001, outside},
                               {kPod, "1.2.3.4", 80, pod},
                               {kPod, "192.168.99.22", 80, pod},
                               {kPod, kThisNode, 3001, pod},
                               {kThisNode, "1.2.3.4", 80, both + "masq"}});
    }
}

// Cases 122 to 124.
TEST(Explain, InternalPolicy) {
    struct Case {
        const char* name;
        api::TrafficPolicy policy;
        std::vector<std::string> nodes;
        std::string expected;
    };
    const Case cases[] = {
        {"Cluster",
         api::TrafficPolicy::kCluster,
         {"test-node", "b", "c"},
         "10.180.0.1:80 10.180.0.2:80 10.180.0.3:80 kept"},
        {"Local, one", api::TrafficPolicy::kLocal, {"test-node", "b", "c"}, "10.180.0.1:80 kept"},
        {"Local, two", api::TrafficPolicy::kLocal, {"test-node", "test-node", "c"}, "10.180.0.1:80 10.180.0.2:80 kept"},
        {"Local, none here", api::TrafficPolicy::kLocal, {"b", "c"}, "dropped: no local endpoints"},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        NodePlanner planner;
        auto object = service("svc", "172.30.1.1", {service_port("", 80)});
        object.internal_traffic_policy = c.policy;
        std::vector<Ep> endpoints;
        for (const auto& node : c.nodes)
            endpoints.push_back({"10.180.0." + std::to_string(endpoints.size() + 1), "r", node});
        const auto object_slice = slice("s", "svc", {slice_port("", 80)}, endpoints);
        static_cast<void>(planner.apply({put(object), put(object_slice)}));
        expect_flows(planner, {{kPod, "172.30.1.1", 80, c.expected}});
        static_cast<void>(planner.apply({gone(object_slice)}));
        expect_flows(planner, {{kPod, "172.30.1.1", 80, "rejected: no endpoints"}});
    }
}

// Cases 125 to 129.
TEST(Explain, TerminatingEndpoints) {
    struct Case {
        const char* name;
        api::TrafficPolicy policy;
        std::vector<Ep> endpoints;
        std::string pod, outside;
    };
    using api::TrafficPolicy;
    const Ep r1{"10.180.0.1", "r", "test-node"};
    const Ep r2{"10.180.0.2", "r", "test-node"};
    const Ep r5{"10.180.0.5", "r", "other"};
    const Case cases[] = {
        {"125",
         TrafficPolicy::kLocal,
         {r1, r2, {"10.180.0.3", "st", "test-node"}, {"10.180.0.4", "t", "test-node"}, r5},
         "10.180.0.1:80 10.180.0.2:80 10.180.0.5:80 kept",
         "10.180.0.1:80 10.180.0.2:80 kept"},
        {"126",
         TrafficPolicy::kLocal,
         {{"10.180.0.1", "t", "test-node"}, {"10.180.0.5", "t", "other"}},
         "rejected: no endpoints",
         "rejected: no endpoints"},
        {"127",
         TrafficPolicy::kCluster,
         {r1, r2, {"10.180.0.3", "st", "other"}, {"10.180.0.4", "t", "other"}, r5},
         "10.180.0.1:80 10.180.0.2:80 10.180.0.5:80 kept",
         "10.180.0.1:80 10.180.0.2:80 10.180.0.5:80 masq"},
        {"128", TrafficPolicy::kCluster, {{"10.180.0.5", "st", "other"}}, "10.180.0.5:80 kept", "10.180.0.5:80 masq"},
        {"129",
         TrafficPolicy::kCluster,
         {{"10.180.0.1", "t", "test-node"}, {"10.180.0.5", "t", "other"}},
         "rejected: no endpoints",
         "rejected: no endpoints"},
        {"all are elsewhere", TrafficPolicy::kLocal, {r5}, "10.180.0.5:80 kept", "dropped: no local endpoints"},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        NodePlanner planner;
        auto object = exposed("svc", "172.30.1.1", 0, "1.2.3.4");
        object.external_traffic_policy = c.policy;
        static_cast<void>(planner.apply({put(object), put(slice("s", "svc", {slice_port("p80", 80)}, c.endpoints))}));
        expect_flows(planner, {{kPod, "172.30.1.1", 80, c.pod}, {kOutside, "1.2.3.4", 80, c.outside}});
    }
}

// Cases 130 to 133.
TEST(Explain, MasqueradeMatrix) {
    for (const bool all : {false, true}) {
        auto settings = node_settings();
        settings.masquerade_all = all;
        NodePlanner planner(Family::kIpv4, settings);
        auto svc2 = exposed("svc2", "172.30.0.42", 3002, "5.6.7.8");
        svc2.external_traffic_policy = api::TrafficPolicy::kLocal;
        auto svc3 = exposed("svc3", "172.30.0.43", 3003, "9.10.11.12");
        svc3.internal_traffic_policy = api::TrafficPolicy::kLocal;
        std::vector<api::Change> changes{put(exposed("svc1", "172.30.0.41", 3001, "1.2.3.4")), put(svc2), put(svc3)};
        for (const std::string n : {"1", "2", "3"})
            changes.push_back(put(slice("s" + n, "svc" + n, {slice_port("p80", 80)},
                                        {{"10.180.0." + n, "r", "test-node"}, {"10.180.1." + n, "r", "other"}})));
        static_cast<void>(planner.apply(changes));
        const std::string pod = all ? "masq" : "kept";
        const std::string both1 = "10.180.0.1:80 10.180.1.1:80 ";
        const std::string both2 = "10.180.0.2:80 10.180.1.2:80 ";
        const std::string both3 = "10.180.0.3:80 10.180.1.3:80 ";
        expect_flows(planner, {{kPod, "172.30.0.41", 80, both1 + pod},
                               {kPod, kThisNode, 3001, both1 + "masq"},
                               {kPod, "1.2.3.4", 80, both1 + "masq"},
                               {kThisNode, "172.30.0.41", 80, both1 + "masq"},
                               {kThisNode, kThisNode, 3001, both1 + "masq"},
                               {kThisNode, "1.2.3.4", 80, both1 + "masq"},
                               {kOutside, "172.30.0.41", 80, both1 + "masq"},
                               {kOutside, kThisNode, 3001, both1 + "masq"},
                               {kOutside, "1.2.3.4", 80, both1 + "masq"},
                               {kPod, "172.30.0.42", 80, both2 + pod},
                               {kThisNode, "172.30.0.42", 80, both2 + "masq"},
                               {kOutside, kThisNode, 3002, "10.180.0.2:80 kept"},
                               {kOutside, "5.6.7.8", 80, "10.180.0.2:80 kept"},
                               {kPod, "172.30.0.43", 80, "10.180.0.3:80 " + pod},
                               {kThisNode, kThisNode, 3003, both3 + "masq"},
                               {kThisNode, "9.10.11.12", 80, both3 + "masq"},
                               {kOutside, kThisNode, 3003, both3 + "masq"}});
    }
}

TEST(Explain, SourceClasses) {
    struct Case {
        const char* name;
        DetectLocalMode mode;
        std::string_view source;
        std::string interface;
        SourceClass expected;
    };
    const Case cases[] = {
        {"a pod by range", DetectLocalMode::kClusterCidr, kPod, "", SourceClass::kPod},
        {"this node", DetectLocalMode::kClusterCidr, "192.168.99.11", "", SourceClass::kNode},
        {"loopback is this node", DetectLocalMode::kClusterCidr, "127.0.0.2", "", SourceClass::kNode},
        {"outside", DetectLocalMode::kClusterCidr, kOutside, "eth0", SourceClass::kOutside},
        {"a pod by bridge", DetectLocalMode::kBridgeInterface, kOutside, "cni", SourceClass::kPod},
        {"another bridge", DetectLocalMode::kBridgeInterface, kPod, "cni0", SourceClass::kOutside},
        {"a pod by prefix", DetectLocalMode::kInterfaceNamePrefix, kOutside, "cni0", SourceClass::kPod},
        {"another prefix", DetectLocalMode::kInterfaceNamePrefix, kPod, "cn", SourceClass::kOutside},
        {"no detector", DetectLocalMode::kNodeCidr, kPod, "", SourceClass::kOutside},
    };
    for (const auto& c : cases) {
        auto settings = node_settings();
        settings.detect_local_mode = c.mode;
        settings.pod_interface = "cni";
        NodePlanner planner(Family::kIpv4, settings);
        const Plan plan = planner.plan();
        EXPECT_EQ(Explainer(plan, planner.profile())
                      .classify({ip(c.source), ip("172.30.0.41"), Protocol::kTcp, 80, c.interface}),
                  c.expected)
            << c.name;
    }
}

// An external IP that is one of the node's addresses comes before a node port of the same number.
TEST(Explain, AddressesBeforeNodePorts) {
    NodePlanner planner;
    auto by_address = service("a", "172.30.0.1", {service_port("p", 3001)});
    by_address.external_ips = {ip(kThisNode)};
    static_cast<void>(
        planner.apply({put(by_address), put(service("b", "172.30.0.2", {service_port("p", 80, Protocol::kTcp, 3001)})),
                       put(slice("a", "a", {slice_port("p", 80)}, {{"10.180.0.1"}})),
                       put(slice("b", "b", {slice_port("p", 80)}, {{"10.180.0.2"}}))}));
    expect_flows(planner, {{kOutside, kThisNode, 3001, "10.180.0.1:80 masq"}});
    static_cast<void>(planner.apply({gone(by_address)}));
    expect_flows(planner, {{kOutside, kThisNode, 3001, "10.180.0.2:80 masq"}});
}

// A cluster IP that is an address of the node, too: an unknown port of it is only refused where the packet would leave
// the node again. And a service range that holds the node's own address is not dropped.
TEST(Explain, UnownedAddressesOfTheNodeItself) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(service("svc", "192.168.0.2", {service_port("p", 80)})),
                                     put(api::ServiceCidr{"c", cidrs({"192.168.0.0/24"})}),
                                     put(api::ServiceCidr{"d", cidrs({"172.30.0.0/16"})})}));
    expect_flows(planner, {{kOutside, kThisNode, 22, "not ours"},
                           {kThisNode, kThisNode, 22, "rejected: unknown port"},
                           {kOutside, "192.168.0.3", 22, "not ours"},
                           {kThisNode, "192.168.0.3", 22, "not ours"},
                           {kOutside, "172.30.0.3", 22, "dropped: unallocated"},
                           {kThisNode, "172.30.0.3", 22, "dropped: unallocated"}});
}

// Without endpoints the modes differ: iptables refuses a node port on every address of the node, and lets the node's
// own packets to addresses elsewhere go.
TEST(Explain, RefusalsInIptables) {
    struct Case {
        const ModeProfile& profile;
        std::string own_to_external;
        std::string closed_address;
        std::string loopback;
    };
    for (const auto& c : {Case{iptables_profile(), "not ours", "rejected: no endpoints", "rejected: no endpoints"},
                          Case{nftables_profile(), "rejected: no endpoints", "not ours", "not ours"}}) {
        auto settings = node_settings();
        settings.node_port_ranges = cidrs({"192.168.0.0/24"});
        NodePlanner planner(Family::kIpv4, settings, c.profile);
        auto empty = service("svc", "172.30.0.1", {service_port("p", 80, Protocol::kTcp, 3001)});
        empty.external_ips = {ip("198.51.100.11"), ip("192.168.1.2")};
        static_cast<void>(planner.apply({put(empty)}));
        expect_flows(planner, {{kThisNode, "198.51.100.11", 80, c.own_to_external},
                               {kThisNode, "192.168.1.2", 80, "rejected: no endpoints"},
                               {kOutside, "198.51.100.11", 80, "rejected: no endpoints"},
                               {kPod, "198.51.100.11", 80, "rejected: no endpoints"},
                               {kThisNode, "172.30.0.1", 80, "rejected: no endpoints"},
                               {kOutside, kThisNode, 3001, "rejected: no endpoints"},
                               {kOutside, "192.168.1.2", 3001, c.closed_address},
                               {"127.0.0.1", "127.0.0.1", 3001, c.loopback}});
        static_cast<void>(planner.apply({put(slice("svc", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}}))}));
        expect_flows(planner, {{kThisNode, "198.51.100.11", 80, "10.180.0.1:80 masq"},
                               {kOutside, kThisNode, 3001, "10.180.0.1:80 masq"},
                               {kOutside, "192.168.1.2", 3001, "not ours"}});
    }
}

// An endpoint whose address and port is another Service's external IP without endpoints: iptables refuses what was
// translated to it.
TEST(Explain, TranslatedToARefusedDestination) {
    for (const auto* profile : {&iptables_profile(), &nftables_profile()}) {
        NodePlanner planner(Family::kIpv4, node_settings(), *profile);
        auto empty = service("empty", "172.30.0.1", {service_port("p", 80)});
        empty.external_ips = {ip("192.168.0.2"), ip("10.181.0.9")};
        static_cast<void>(planner.apply(
            {put(empty), put(service("svc", "172.30.0.2", {service_port("p", 80)})),
             put(slice("svc", "svc", {slice_port("p", 80)}, {{"192.168.0.2"}, {"10.181.0.9"}, {"10.181.0.8"}}))}));
        const Plan plan = planner.plan();
        const Explainer explainer(plan, *profile);
        const auto refused = [&](std::string_view from) {
            return texts(explainer.explain({ip(from), ip("172.30.0.2"), Protocol::kTcp, 80, ""}).refused);
        };
        if (profile == &nftables_profile()) {
            EXPECT_THAT(refused(kPod), IsEmpty());
            continue;
        }
        EXPECT_THAT(refused(kPod), ElementsAre("10.181.0.9:80", "192.168.0.2:80"));
        EXPECT_THAT(refused(kThisNode), ElementsAre("192.168.0.2:80")) << "what the node sends elsewhere is let go";
    }
}

// In ipvs mode a device of this node has the addresses of Services: a port that nobody owns is refused on each of them,
// whoever asks, unless the node has the address anyway.
TEST(Explain, UnknownPortsInIpvs) {
    NodePlanner planner(Family::kIpv4, node_settings(), ipvs_profile());
    auto svc = service("svc", "172.30.0.1", {service_port("p", 80, Protocol::kTcp, 3001)});
    svc.type = api::ServiceType::kLoadBalancer;
    svc.external_ips = {ip("1.2.3.4"), ip("192.168.1.2")};
    svc.load_balancer_vips = {ip("5.6.7.8")};
    auto own = service("own", "192.168.99.11", {service_port("p", 80)});
    static_cast<void>(planner.apply({put(svc), put(own), put(api::ServiceCidr{"c", cidrs({"172.30.0.0/16"})})}));
    for (const auto from : {kPod, kOutside, kThisNode})
        expect_flows(planner, {{from, "172.30.0.1", 81, "rejected: unknown port"},
                               {from, "1.2.3.4", 81, "rejected: unknown port"},
                               {from, "5.6.7.8", 80, "rejected: unknown port", Protocol::kUdp},
                               {from, "172.30.0.1", 3001, "rejected: unknown port"},
                               {from, "192.168.1.2", 81, "not ours"},
                               {from, "192.168.99.11", 81, "not ours"},
                               {from, "172.30.0.9", 80, "not ours"},
                               {from, "1.2.3.4", 80, "rejected: no endpoints"},
                               {from, "192.168.1.2", 3001, "rejected: no endpoints"},
                               {from, "127.0.0.1", 3001, "not ours"}});
}

TEST(Explain, WeightsOfWhatIsScheduled) {
    for (const auto* profile : {&ipvs_profile(), &nftables_profile()}) {
        NodePlanner planner(Family::kIpv4, node_settings(), *profile);
        auto svc = service("svc", "172.30.0.1", {service_port("p", 80)});
        svc.scheduler = "wrr";
        svc.endpoint_weights = {{ip("10.180.0.1"), 0}, {ip("10.180.0.2"), 3}};
        static_cast<void>(planner.apply(
            {put(svc), put(slice("svc", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}, {"10.180.0.2"}}))}));
        const bool scheduled = profile == &ipvs_profile();
        expect_flows(planner,
                     {{kPod, "172.30.0.1", 80, scheduled ? "10.180.0.2:80 kept" : "10.180.0.1:80 10.180.0.2:80 kept"}});
        const Plan plan = planner.plan();
        const auto journey = Explainer(plan, *profile).explain({ip(kPod), ip("172.30.0.1"), Protocol::kTcp, 80, ""});
        EXPECT_EQ(journey.scheduled, scheduled);
        EXPECT_EQ(texts(journey.drained).size(), scheduled ? 1U : 0U);
        svc.endpoint_weights[1].weight = 0;
        static_cast<void>(planner.apply({put(svc)}));
        expect_flows(planner, {{kPod, "172.30.0.1", 80,
                                scheduled ? "rejected: no weight" : "10.180.0.1:80 10.180.0.2:80 kept"}});
    }
}

// Two connections for one: every endpoint sees this node. SCTP goes by the kernel.
TEST(Explain, WhatIsCarriedByAProcess) {
    NodePlanner planner(Family::kIpv4, node_settings(), userspace_profile());
    auto svc =
        service("svc", "172.30.0.1",
                {service_port("t", 80), service_port("u", 80, Protocol::kUdp), service_port("s", 80, Protocol::kSctp)});
    svc.proxy_protocol = 2;
    static_cast<void>(planner.apply({put(svc), put(slice("svc", "svc",
                                                         {slice_port("t", 80), slice_port("u", 80, Protocol::kUdp),
                                                          slice_port("s", 80, Protocol::kSctp)},
                                                         {{"10.180.0.1"}}))}));
    const Plan plan = planner.plan();
    for (const auto protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        const auto journey =
            Explainer(plan, userspace_profile()).explain({ip(kPod), ip("172.30.0.1"), protocol, 80, ""});
        EXPECT_EQ(journey.relayed, protocol != Protocol::kSctp);
        EXPECT_EQ(journey.masquerade, journey.relayed);
        EXPECT_EQ(journey.service_port->proxy_protocol, protocol == Protocol::kTcp ? 2 : 0);
    }
}

// KEP-6032: by a relay, where the node is told so, and only at 127.0.0.1 and ::1.
TEST(Explain, NodePortsAtLocalhost) {
    for (const bool relayed : {false, true}) {
        auto settings = node_settings();
        settings.relayed_localhost = relayed;
        NodePlanner planner(Family::kIpv4, settings);
        auto svc = service("svc", "172.30.0.1",
                           {service_port("p", 80, Protocol::kTcp, 30080), service_port("s", 80, Protocol::kSctp, 30080),
                            service_port("empty", 81, Protocol::kSctp, 30081)});
        svc.type = api::ServiceType::kNodePort;
        static_cast<void>(planner.apply(
            {put(svc),
             put(slice("svc", "svc", {slice_port("p", 80), slice_port("s", 80, Protocol::kSctp)}, {{"10.180.0.1"}}))}));
        const std::string sctp = relayed ? "rejected: not relayed" : "not ours";
        expect_flows(planner, {{"127.0.0.1", "127.0.0.1", 30080, relayed ? "10.180.0.1:80 masq" : "not ours"},
                               {"127.0.0.1", "127.0.0.2", 30080, "not ours"},
                               {"127.0.0.1", "127.0.0.1", 30080, sctp, Protocol::kSctp},
                               {"127.0.0.1", "127.0.0.2", 30081, sctp, Protocol::kSctp},
                               {"127.0.0.1", "127.0.0.1", 30082, "not ours", Protocol::kSctp}});
    }
}

}  // namespace
}  // namespace ghostip::plan
