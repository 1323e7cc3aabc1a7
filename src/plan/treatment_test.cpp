#include "plan/treatment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr ModeProfile kFiltersOnlyWithEndpoints{.name = "test",
                                                .node_ports_on_primary_only = false,
                                                .loopback_node_ports = false,
                                                .refuses_on_every_local_address = false,
                                                .refuses_after_translation = false,
                                                .refuses_own_traffic = true,
                                                .rejects_unknown_cluster_ip_ports = false,
                                                .drops_unallocated_cluster_ips = false,
                                                .filters_sources_without_endpoints = false,
                                                .hairpin_local_endpoints_only = false};

// A service port with one destination of each kind.
ServicePort everywhere() {
    ServicePort port;
    port.name = {{"ns", "svc"}, "p", net::Protocol::kTcp};
    port.cluster_ip = ip("172.30.0.41");
    port.port = 80;
    port.node_port = 3001;
    port.external_ips = ips({"192.168.99.11"});
    port.load_balancer_vips = ips({"1.2.3.4", "5.6.7.8"});
    return port;
}

NodeRules rules_with(bool detector, bool masquerade_all = false) {
    NodeRules rules;
    if (detector) rules.detector = {LocalDetector::Kind::kCidr, cidr("10.0.0.0/8"), ""};
    rules.masquerade_all = masquerade_all;
    rules.node_ip = ip("192.168.0.2");
    return rules;
}

const Endpoint kLocalEndpoint{ip("10.180.0.1"), 80, true};
const Endpoint kRemoteEndpoint{ip("10.180.1.1"), 80, false};

// `cluster masq`, `local`, `reject`, `drop`
std::string text(const Treatment& treatment) {
    if (treatment.action == Action::kReject) return "reject";
    if (treatment.action == Action::kDrop) return "drop";
    return std::string(treatment.pool == PoolScope::kCluster ? "cluster" : "local") +
           (treatment.masquerade ? " masq" : "");
}

// By source: pod, node, outside.
std::vector<std::string> row(const ServicePortPlan& plan, DestinationKind kind) {
    std::vector<std::string> result;
    for (const auto& destination : plan.destinations) {
        if (destination.kind != kind) continue;
        std::vector<std::string> own;
        for (const auto source : kSourceClasses) own.push_back(text(destination.treatment(source)));
        if (!result.empty()) {
            EXPECT_EQ(own, result) << "destinations of one kind are treated alike";
        }
        result = own;
    }
    return result;
}

constexpr std::array kExternalKinds{DestinationKind::kLoadBalancerIp, DestinationKind::kExternalIp,
                                    DestinationKind::kNodePort};

// The decision table of `services.md` section 7, line by line.
TEST(Treatment, MasqueradeTable) {
    using Row = std::vector<std::string>;
    struct Case {
        const char* name;
        bool internal_local, external_local, detector, masquerade_all;
        Row cluster_ip, external;
    };
    const Case cases[] = {
        {"Cluster, detector",
         false,
         false,
         true,
         false,
         {"cluster", "cluster masq", "cluster masq"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"Cluster, no detector",
         false,
         false,
         false,
         false,
         {"cluster", "cluster", "cluster"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"Cluster, masqueradeAll",
         false,
         false,
         true,
         true,
         {"cluster masq", "cluster masq", "cluster masq"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"Cluster, masqueradeAll, no detector",
         false,
         false,
         false,
         true,
         {"cluster masq", "cluster masq", "cluster masq"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"external Local, detector",
         false,
         true,
         true,
         false,
         {"cluster", "cluster masq", "cluster masq"},
         {"cluster", "cluster masq", "local"}},
        {"external Local, no detector",
         false,
         true,
         false,
         false,
         {"cluster", "cluster", "cluster"},
         {"cluster", "cluster masq", "local"}},
        {"external Local: masqueradeAll does not matter outside",
         false,
         true,
         true,
         true,
         {"cluster masq", "cluster masq", "cluster masq"},
         {"cluster", "cluster masq", "local"}},
        {"internal Local, detector",
         true,
         false,
         true,
         false,
         {"local", "local masq", "local masq"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"internal Local, no detector",
         true,
         false,
         false,
         false,
         {"local", "local", "local"},
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"both Local, detector",
         true,
         true,
         true,
         false,
         {"local", "local masq", "local masq"},
         {"cluster", "cluster masq", "local"}},
        {"both Local, masqueradeAll",
         true,
         true,
         true,
         true,
         {"local masq", "local masq", "local masq"},
         {"cluster", "cluster masq", "local"}},
    };
    for (const auto& c : cases) {
        ServicePort port = everywhere();
        port.internal_policy_local = c.internal_local;
        port.external_policy_local = c.external_local;
        const auto plan = plan_service_port(port, {{kLocalEndpoint, kRemoteEndpoint}, {kLocalEndpoint}, true},
                                            rules_with(c.detector, c.masquerade_all), nftables_profile());
        EXPECT_EQ(row(plan, DestinationKind::kClusterIp), c.cluster_ip) << c.name;
        for (const auto kind : kExternalKinds)
            EXPECT_EQ(row(plan, kind), c.external) << c.name << ", " << destination_kind_name(kind);
    }
}

// The table of `services.md` section 6.
TEST(Treatment, NoEndpoints) {
    using Row = std::vector<std::string>;
    const Row rejected{"reject", "reject", "reject"};
    const Row dropped{"drop", "drop", "drop"};
    struct Case {
        const char* name;
        bool internal_local, external_local;
        Choice choice;
        Row cluster_ip, external;
    };
    const Pool remote{kRemoteEndpoint};
    const Case cases[] = {
        {"Cluster, nobody", false, false, {{}, {}, false}, rejected, rejected},
        {"both Local, nobody", true, true, {{}, {}, false}, rejected, rejected},
        {"external Local, all remote",
         false,
         true,
         {remote, {}, true},
         {"cluster", "cluster masq", "cluster masq"},
         {"cluster", "cluster masq", "drop"}},
        {"internal Local, all remote",
         true,
         false,
         {remote, {}, true},
         dropped,
         {"cluster masq", "cluster masq", "cluster masq"}},
        {"both Local, all remote", true, true, {remote, {}, true}, dropped, {"cluster", "cluster masq", "drop"}},
    };
    for (const auto& c : cases) {
        ServicePort port = everywhere();
        port.internal_policy_local = c.internal_local;
        port.external_policy_local = c.external_local;
        const auto plan = plan_service_port(port, c.choice, rules_with(true), nftables_profile());
        EXPECT_EQ(row(plan, DestinationKind::kClusterIp), c.cluster_ip) << c.name;
        for (const auto kind : kExternalKinds)
            EXPECT_EQ(row(plan, kind), c.external) << c.name << ", " << destination_kind_name(kind);
    }
}

// Where pods and the node come to all endpoints by the cluster IP only.
TEST(Treatment, InsideMayGetTheClusterIpsPool) {
    using Row = std::vector<std::string>;
    struct Case {
        const char* name;
        bool internal_local, external_local;
        Pool local;
        Row external;
    };
    for (const auto& c : {Case{"both Local", true, true, {kLocalEndpoint}, {"local", "local masq", "local"}},
                          Case{"both Local, all remote", true, true, {}, {"drop", "drop", "drop"}},
                          Case{"external Local", false, true, {}, {"cluster", "cluster masq", "drop"}},
                          Case{"internal Local", true, false, {}, {"cluster masq", "cluster masq", "cluster masq"}}}) {
        ServicePort port = everywhere();
        port.internal_policy_local = c.internal_local;
        port.external_policy_local = c.external_local;
        const auto plan = plan_service_port(port, {{kRemoteEndpoint}, c.local, true}, rules_with(true), ipvs_profile());
        for (const auto kind : kExternalKinds)
            EXPECT_EQ(row(plan, kind), c.external) << c.name << ", " << destination_kind_name(kind);
    }
}

// `services.md` section 8.
TEST(Treatment, SourceRanges) {
    struct Case {
        const char* name;
        std::vector<std::string_view> ranges;
        std::optional<std::string_view> node_ip;
        bool has_any;
        const ModeProfile& profile;
        std::vector<std::string> allowed;
    };
    const Case cases[] = {
        {"none", {}, "192.168.0.2", true, nftables_profile(), {}},
        {"in the Service's order, each once",
         {"203.0.113.0/25", "10.0.0.0/8", "203.0.113.0/25"},
         "192.168.0.2",
         true,
         nftables_profile(),
         {"203.0.113.0/25", "10.0.0.0/8"}},
        {"the node is in a range: so are the VIPs",
         {"192.168.0.0/24", "203.0.113.0/25"},
         "192.168.0.2",
         true,
         nftables_profile(),
         {"192.168.0.0/24", "203.0.113.0/25", "1.2.3.4/32", "5.6.7.8/32"}},
        {"the node's address is not known",
         {"192.168.0.0/24"},
         std::nullopt,
         true,
         nftables_profile(),
         {"192.168.0.0/24"}},
        {"nftables filters without endpoints",
         {"10.0.0.0/8"},
         "192.168.0.2",
         false,
         nftables_profile(),
         {"10.0.0.0/8"}},
        {"others do not", {"10.0.0.0/8"}, "192.168.0.2", false, kFiltersOnlyWithEndpoints, {}},
        {"others do with endpoints", {"10.0.0.0/8"}, "192.168.0.2", true, kFiltersOnlyWithEndpoints, {"10.0.0.0/8"}},
    };
    for (const auto& c : cases) {
        ServicePort port = everywhere();
        port.source_ranges = cidrs(c.ranges);
        NodeRules rules = rules_with(true);
        rules.node_ip = c.node_ip ? std::optional(ip(*c.node_ip)) : std::nullopt;
        const Choice choice{c.has_any ? Pool{kRemoteEndpoint} : Pool{}, {}, c.has_any};
        for (const auto& destination : plan_service_port(port, choice, rules, c.profile).destinations) {
            const bool filtered = destination.kind == DestinationKind::kLoadBalancerIp;
            EXPECT_EQ(texts(destination.allowed_sources), filtered ? c.allowed : std::vector<std::string>{})
                << c.name << ", " << destination.key.text();
        }
    }
}

TEST(Treatment, Claims) {
    std::vector<std::string> claimed;
    for (const auto& claim : claims_of(everywhere()))
        claimed.push_back(std::string(destination_kind_name(claim.kind)) + " " + claim.key.text());
    EXPECT_THAT(claimed, ElementsAre("cluster IP 172.30.0.41:80/TCP", "load-balancer IP 1.2.3.4:80/TCP",
                                     "load-balancer IP 5.6.7.8:80/TCP", "external IP 192.168.99.11:80/TCP",
                                     "node port node port 3001/TCP"));
    ServicePort plain = everywhere();
    plain.node_port = 0;
    plain.external_ips.clear();
    plain.load_balancer_vips.clear();
    ASSERT_EQ(claims_of(plain).size(), 1U);
    EXPECT_FALSE(claims_of(plain).front().key.node_port);
}

TEST(Treatment, PoolsAndAffinityAreHandedOn) {
    ServicePort port = everywhere();
    port.affinity_seconds = 10800;
    const auto plan = plan_service_port(port, {{kLocalEndpoint, kRemoteEndpoint}, {kLocalEndpoint}, true},
                                        rules_with(true), nftables_profile());
    EXPECT_EQ(plan.name, port.name);
    EXPECT_EQ(plan.affinity_seconds, 10800U);
    EXPECT_EQ(plan.cluster, (Pool{kLocalEndpoint, kRemoteEndpoint}));
    EXPECT_EQ(plan.local, Pool{kLocalEndpoint});
}

// nftables looks only at endpoints of this node, other modes at all that are reachable.
TEST(Hairpins, WhichEndpoints) {
    ServicePortPlan plan;
    plan.name = {{"ns", "svc"}, "p", net::Protocol::kUdp};
    plan.cluster = {kRemoteEndpoint};
    plan.local = {kLocalEndpoint};
    EXPECT_EQ(hairpins_of(plan, nftables_profile()),
              (std::vector<Hairpin>{{kLocalEndpoint.address, net::Protocol::kUdp, 80}}));
    EXPECT_EQ(hairpins_of(plan, kFiltersOnlyWithEndpoints).size(), 2U);
    plan.cluster = {kLocalEndpoint, kRemoteEndpoint};
    EXPECT_EQ(hairpins_of(plan, nftables_profile()).size(), 1U) << "in both pools, but one endpoint";
}

}  // namespace
}  // namespace ghostip::plan
