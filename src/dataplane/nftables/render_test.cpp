#include "dataplane/nftables/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using ::testing::HasSubstr;
using ::testing::Not;

// For reviewers: the whole ruleset of one small service. That packets experience what it says is tested with packets.
TEST(Render, OneService) {
    NodePlanner planner;
    auto object = plan::testing::service("web", "172.30.0.41", {service_port("p", 80)});
    static_cast<void>(planner.apply(
        {put(object), put(slice("s", "web", {slice_port("p", 8080)}, {{"10.180.0.1", "r", "test-node"}}))}));
    EXPECT_EQ(render(planner.plan()), R"(table ip ghostip {
	comment "Kubernetes Services, by ghostip"

	set cluster-ips {
		type ipv4_addr
		elements = { 172.30.0.41 }
	}

	set hairpins {
		type ipv4_addr . ipv4_addr . inet_proto . inet_service
		elements = { 10.180.0.1 . 10.180.0.1 . tcp . 8080 }
	}

	set nodeport-ips {
		type ipv4_addr
		elements = { 192.168.0.2 }
	}

	set external-policy-cluster {
		type ipv4_addr . inet_proto . inet_service
	}

	set external-policy-local {
		type ipv4_addr . inet_proto . inet_service
	}

	set no-endpoints-reject {
		type ipv4_addr . inet_proto . inet_service
	}

	set no-endpoints-drop {
		type ipv4_addr . inet_proto . inet_service
	}

	set same-as-endpoint {
		type ipv4_addr . inet_proto . inet_service
	}

	set nodeport-policy-cluster {
		type inet_proto . inet_service
	}

	set nodeport-policy-local {
		type inet_proto . inet_service
	}

	set nodeport-no-endpoints-reject {
		type inet_proto . inet_service
	}

	set nodeport-no-endpoints-drop {
		type inet_proto . inet_service
	}

	set nodeport-same-as-endpoint {
		type inet_proto . inet_service
	}

	map endpoints {
		typeof ip daddr . meta l4proto . th dport . numgen random mod 1 : ip daddr . th dport
		elements = { 172.30.0.41 . tcp . 80 . 0 : 10.180.0.1 . 8080 }
	}

	set upto-1 {
		type ipv4_addr . inet_proto . inet_service
		elements = { 172.30.0.41 . tcp . 80 }
	}

	chain pick-1 {
		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
	}

	chain pick {
		ip daddr . meta l4proto . th dport @upto-1 goto pick-1
		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
	}

	chain local-pick {
	}

	chain nodeport-pick {
	}

	chain nodeport-local-pick {
	}

	chain untranslated {
		ct status dnat return
		ip daddr . meta l4proto . th dport @no-endpoints-reject reject
		ip daddr . meta l4proto . th dport @same-as-endpoint ip saddr 10.0.0.0/8 return
		ip daddr . meta l4proto . th dport @same-as-endpoint fib saddr type local return
		ip daddr . meta l4proto . th dport @no-endpoints-drop drop
		ip daddr . meta l4proto . th dport @same-as-endpoint return
		ip daddr . meta l4proto . th dport @external-policy-cluster drop comment "between two commits"
		ip daddr . meta l4proto . th dport @external-policy-local drop comment "between two commits"
	}

	chain untranslated-nodeports {
		ct status dnat return
		meta l4proto . th dport @nodeport-no-endpoints-reject reject
		meta l4proto . th dport @nodeport-same-as-endpoint ip saddr 10.0.0.0/8 return
		meta l4proto . th dport @nodeport-same-as-endpoint fib saddr type local return
		meta l4proto . th dport @nodeport-no-endpoints-drop drop
		meta l4proto . th dport @nodeport-same-as-endpoint return
		meta l4proto . th dport @nodeport-policy-cluster drop comment "between two commits"
		meta l4proto . th dport @nodeport-policy-local drop comment "between two commits"
	}

	chain unknown-cluster-ips {
		ct status dnat return
		ip daddr @cluster-ips reject comment "a cluster IP, but no port of it"
	}

	chain policy-local {
		ip saddr 10.0.0.0/8 goto pick comment "pods reach every endpoint"
		fib saddr type local meta mark set meta mark | 0x00004000 goto pick comment "so does the node itself"
		goto local-pick
	}

	chain nodeport-policy-local {
		ip saddr 10.0.0.0/8 goto nodeport-pick comment "pods reach every endpoint"
		fib saddr type local meta mark set meta mark | 0x00004000 goto nodeport-pick comment "so does the node itself"
		goto nodeport-local-pick
	}

	chain nodeports {
		meta l4proto . th dport @nodeport-policy-local goto nodeport-policy-local
		meta l4proto . th dport @nodeport-policy-cluster meta mark set meta mark | 0x00004000 goto nodeport-pick
		meta l4proto . th dport @nodeport-policy-local goto nodeport-policy-local comment "between two commits"
	}

	chain services {
		ip daddr . meta l4proto . th dport @external-policy-local goto policy-local
		ip daddr . meta l4proto . th dport @external-policy-cluster meta mark set meta mark | 0x00004000 goto pick
		ip daddr @cluster-ips ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00004000 comment "masquerade"
		ip daddr @cluster-ips goto pick
		ip daddr . meta l4proto . th dport @external-policy-local goto policy-local comment "between two commits"
		ip daddr @nodeport-ips goto nodeports
	}

	chain filter-input {
		type filter hook input priority 1; policy accept;
		ct state new jump untranslated
		ct state new ip daddr @nodeport-ips jump untranslated-nodeports
	}

	chain filter-forward {
		type filter hook forward priority 1; policy accept;
		ct state new jump untranslated
		ct state new jump unknown-cluster-ips
	}

	chain filter-output {
		type filter hook output priority 1; policy accept;
		ct state new jump untranslated
		ct state new jump unknown-cluster-ips
	}

	chain nat-postrouting {
		type nat hook postrouting priority 101; policy accept;
		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark & 0xffffbfff masquerade fully-random
		ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpins masquerade fully-random comment "an endpoint that dialled itself"
	}

	chain nat-prerouting {
		type nat hook prerouting priority -99; policy accept;
		jump services
	}

	chain nat-output {
		type nat hook output priority -99; policy accept;
		jump services
	}
}
)");
}

// What occurs in no service has no chain and no set.
TEST(Render, OnlyWhatOccurs) {
    NodePlanner planner;
    const auto nothing = render(planner.plan());
    for (const auto* absent : {"endpoints {", "stuck-", "affinity-", "allowed-sources", "upto-", "numgen"})
        EXPECT_THAT(nothing, Not(HasSubstr(absent)));

    auto object = plan::testing::service("web", "172.30.0.41", {service_port("p", 80)});
    object.type = api::ServiceType::kLoadBalancer;
    object.load_balancer_vips = {ip("1.2.3.4")};
    object.load_balancer_source_ranges = plan::testing::cidrs({"203.0.113.0/25"});
    object.affinity_seconds = 10800;
    static_cast<void>(planner.apply({put(object), put(slice("s", "web", {slice_port("p", 8080)},
                                                            {{"10.180.0.1"}, {"10.180.0.2"}, {"10.180.0.3"}}))}));
    const auto all = render(planner.plan());
    for (const auto* present :
         {"1.2.3.4 . tcp . 80 . 203.0.113.0",
          "ip daddr . meta l4proto . th dport . ip saddr & 255.255.255.128 @allowed-sources-25 return",
          "172.30.0.41 . tcp . 80 . 2 : 10.180.0.3 . 8080", "numgen random mod 4 map @endpoints",
          "@affinity-10800 jump stuck-10800",
          "update @stuck-10800 { ct original ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst : "
          "ip daddr . tcp dport }"})
        EXPECT_THAT(all, HasSubstr(present));
}

TEST(Render, NodeWideRules) {
    struct Case {
        const char* name;
        void (*set)(plan::NodeSettings&);
        const char* line;
    };
    const Case cases[] = {
        {"pods by range", [](plan::NodeSettings&) {},
         "ip daddr @cluster-ips ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00004000"},
        {"pods by bridge",
         [](plan::NodeSettings& s) {
             s.detect_local_mode = plan::DetectLocalMode::kBridgeInterface;
             s.pod_interface = "cni0";
         },
         "ip daddr @cluster-ips iifname != \"cni0\" meta mark set"},
        {"pods by prefix",
         [](plan::NodeSettings& s) {
             s.detect_local_mode = plan::DetectLocalMode::kInterfaceNamePrefix;
             s.pod_interface = "veth";
         },
         "ip daddr @cluster-ips iifname != \"veth*\" meta mark set"},
        {"masquerade all", [](plan::NodeSettings& s) { s.masquerade_all = true; },
         "ip daddr @cluster-ips meta mark set meta mark | 0x00004000"},
        {"another bit, set", [](plan::NodeSettings& s) { s.masquerade_bit = 31; },
         "meta mark set meta mark | 0x80000000"},
        {"another bit, cleared", [](plan::NodeSettings& s) { s.masquerade_bit = 31; },
         "meta mark & 0x80000000 != 0x00000000 meta mark set meta mark & 0x7fffffff masquerade fully-random"},
        {"node ports on one address", [](plan::NodeSettings&) {}, "ip daddr @nodeport-ips goto nodeports"},
        {"node ports on all", [](plan::NodeSettings& s) { s.node_port_ranges = plan::testing::cidrs({"0.0.0.0/0"}); },
         "fib daddr type local ip daddr != 127.0.0.0/8 goto nodeports"},
    };
    for (const auto& c : cases) {
        auto settings = node_settings();
        c.set(settings);
        EXPECT_THAT(render(NodePlanner(net::Family::kIpv4, settings).plan()), HasSubstr(c.line)) << c.name;
    }
    NodePlanner planner;
    static_cast<void>(
        planner.apply({put(api::ServiceCidr{"c", plan::testing::cidrs({"172.30.0.0/16", "10.96.0.0/12"})})}));
    EXPECT_THAT(render(planner.plan()), HasSubstr("\t\tip daddr 10.96.0.0/12 drop comment \"no Service has this "
                                                  "cluster IP\"\n\t\tip daddr 172.30.0.0/16 drop"));
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
