// What destinations of a plan and the node's rules become.
#include "dataplane/ipvs/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/dataplane_testing.h"
#include "dataplane/ipvs/sighting.h"
#include "dataplane/ipvs/supported.h"
#include "kernel/iptables/rule_text.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using net::Family;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(IpvsNames, AreThoseOfKubeProxy) {
    EXPECT_EQ(set_name(Set::kClusterIp, Family::kIpv4), "KUBE-CLUSTER-IP");
    EXPECT_EQ(set_name(Set::kClusterIp, Family::kIpv6), "KUBE-6-CLUSTER-IP");
    EXPECT_EQ(set_name(Set::kLoadBalancerSourceCidr, Family::kIpv6), "KUBE-6-LOAD-BALANCER-SOURCE-CID");
    EXPECT_EQ(set_name(Set::kNodePortLocalSctp, Family::kIpv6), "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS");
    EXPECT_EQ(set_name(Set::kDrop, Family::kIpv6), "GHOSTIP-6-DROP");
    for (const auto& row : set_rows()) EXPECT_EQ(&ipvs::row(row.set), &row) << row.name;
}

// What the kernel gives back is compared byte by byte.
TEST(IpvsRules, AreInTheFormInWhichTheyAreSaved) {
    for (const auto family : net::kFamilies) {
        for (const auto kind : {plan::LocalDetector::Kind::kNone, plan::LocalDetector::Kind::kCidr,
                                plan::LocalDetector::Kind::kInterface, plan::LocalDetector::Kind::kInterfacePrefix}) {
            plan::NodeRules node;
            node.detector = {kind, cidr(family == Family::kIpv4 ? "10.0.0.0/8" : "fd00:10::/64"), "cni"};
            for (const auto& chain : render_chains({node, family}, "")) {
                std::string_view rest = chain.rules;
                while (!rest.empty()) {
                    const auto line = rest.substr(0, rest.find('\n'));
                    rest.remove_prefix(line.size() + 1);
                    EXPECT_EQ(kernel::iptables::canonical(line, family), line);
                }
            }
        }
    }
}

TEST(IpvsRules, ClusterIpsAreMasqueradedAsTheNodeSays) {
    struct Case {
        plan::LocalDetector detector;
        bool all;
        const char* match;
    };
    for (const auto& c :
         {Case{{plan::LocalDetector::Kind::kCidr, cidr("10.0.0.0/8"), ""}, false, "! -s 10.0.0.0/8 "},
          Case{{plan::LocalDetector::Kind::kInterfacePrefix, {}, "cni"}, false, "! -i cni+ "},
          Case{{plan::LocalDetector::Kind::kCidr, cidr("10.0.0.0/8"), ""}, true, "KUBE-CLUSTER-IP dst,dst "},
          Case{{}, false, "KUBE-CLUSTER-IP src,dst "}}) {
        plan::NodeRules node;
        node.detector = c.detector;
        node.masquerade_all = c.all;
        std::string line;
        for (const auto& chain : render_chains({node, Family::kIpv4}, ""))
            if (chain.name == chains::kServices) {
                const auto at = chain.rules.find("cluster ip + port for masquerade purpose");
                const auto begin = chain.rules.rfind('\n', at) + 1;
                line = chain.rules.substr(begin, chain.rules.find('\n', at) - begin);
            }
        EXPECT_THAT(line, HasSubstr(c.match));
        EXPECT_THAT(line, HasSubstr("-j KUBE-MARK-MASQ"));
    }
}

TEST(IpvsRender, IsReadable) {
    IpvsPlanner planner;
    auto object = plan::testing::service("web", "172.30.0.1", {service_port("p", 80)});
    static_cast<void>(planner.apply({put(object), put(slice("web", "web", {slice_port("p", 8080)}, {{"10.0.0.1"}}))}));
    const auto text = render(planner.plan());
    for (const auto* part : {"-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n",
                             "create KUBE-CLUSTER-IP hash:ip,port\nadd KUBE-CLUSTER-IP 172.30.0.1,tcp:80\n",
                             "address add 172.30.0.1/32 dev kube-ipvs0\n", "*nat\n", ":KUBE-SERVICES - [0:0]\n",
                             "-I INPUT -m comment --comment \"kubernetes ipvs access filter\" -j KUBE-IPVS-FILTER\n"})
        EXPECT_THAT(text, HasSubstr(part));
}

TEST(IpvsRender, WhatOnlyLocalEndpointsMayAnswer) {
    IpvsPlanner planner;
    auto object = plan::testing::service("web", "172.30.0.1", {service_port("p", 80)});
    object.internal_traffic_policy = api::TrafficPolicy::kLocal;
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    object.type = api::ServiceType::kLoadBalancer;
    object.load_balancer_vips = {ip("1.2.3.4")};
    static_cast<void>(
        planner.apply({put(object), put(slice("web", "web", {slice_port("p", 8080)}, {{"10.0.0.1", "r", "other"}}))}));
    const auto text = render(planner.plan());
    EXPECT_THAT(text, HasSubstr("add GHOSTIP-DROP 172.30.0.1,tcp:80\n"));
    EXPECT_THAT(text, HasSubstr("add GHOSTIP-DROP-OWN 172.30.0.1,tcp:80\n"));
    EXPECT_THAT(text, HasSubstr("add GHOSTIP-DROP 1.2.3.4,tcp:80\n"));
    EXPECT_THAT(text, Not(HasSubstr("DNAT"))) << "the cluster IP has no other pool to lead to";
}

// --- whether a host can do it ---

TEST(IpvsSupported, OneSentenceForEachThing) {
    Machine machine;
    EXPECT_EQ(lacks_scheduler(machine.ipvs, Family::kIpv4, "rr"), std::nullopt);
    EXPECT_EQ(lacks_scheduler(machine.ipvs, Family::kIpv6, "mh"), std::nullopt);
    EXPECT_EQ(lacks_scheduler(machine.ipvs, Family::kIpv4, "none-such"),
              "IPv4: this kernel has no IPVS scheduler none-such (module ip_vs_none-such)");
    EXPECT_THAT(lacks_sets(machine.sets, Family::kIpv6), IsEmpty());
    EXPECT_EQ(lacks_device(machine.links), std::nullopt);
    EXPECT_THAT(lacks_rules(machine.iptables, machine.sets), IsEmpty());
    EXPECT_THAT(machine.servers(), IsEmpty());
    EXPECT_THAT(machine.sets.headers().value(), IsEmpty());
    EXPECT_THAT(machine.rules(), Not(Contains(HasSubstr("TRIAL"))));
    EXPECT_FALSE(machine.links.find("ghostip-trial").value());

    machine.iptables.refuse_rules_with("--match-set");
    EXPECT_THAT(lacks_rules(machine.iptables, machine.sets),
                ElementsAre(HasSubstr("iptables-legacy cannot do asking IP sets (xt_set)")));
    machine.ipvs.set_absent(true);
    EXPECT_THAT(lacks_scheduler(machine.ipvs, Family::kIpv4, "rr").value_or(""), HasSubstr("no IPVS"));
    machine.sets.set_absent(true);
    EXPECT_THAT(lacks_sets(machine.sets, Family::kIpv4), Contains(HasSubstr("no IP sets")));
    machine.links.add_device({kDevice, "veth", true});
    EXPECT_THAT(lacks_device(machine.links).value_or(""), HasSubstr("kube-ipvs0"));
}

// --- what is held for one packet ---

TEST(IpvsSighting, FindsAndDiffers) {
    IpvsPlanner planner;
    Machine machine;
    OnMachine process(machine);
    auto object = plan::testing::service("web", "172.30.0.1", {service_port("p", 80)});
    static_cast<void>(planner.apply({put(object), put(slice("web", "web", {slice_port("p", 8080)}, {{"10.0.0.1"}}))}));
    const auto plan = planner.plan();
    ASSERT_TRUE(process.reconcile(plan));
    const plan::Explainer explainer(plan, plan::ipvs_profile());
    const auto journey = explainer.explain({ip("10.0.0.9"), ip("172.30.0.1"), net::Protocol::kTcp, 80, ""});
    const auto kernel = machine.open();
    const auto good = sight(kernel, plan, journey, {});
    ASSERT_TRUE(good);
    EXPECT_THAT(good->differences, IsEmpty());
    EXPECT_THAT(good->found,
                ElementsAre("172.30.0.1,tcp:80 in set KUBE-CLUSTER-IP", "virtual server TCP 172.30.0.1:80 scheduler rr",
                            "  -> 10.0.0.1:8080 weight 1, connections 0 active, 0 inactive"));
    kernel::ipvs::Service service;
    service.key = {ip("172.30.0.1"), net::Protocol::kTcp, 80, 0};
    const kernel::ipvs::Command gone{kernel::ipvs::Verb::kDeleteService, service, {}};
    ASSERT_TRUE(machine.ipvs.apply({&gone, 1}));
    ASSERT_TRUE(machine.links.remove_addresses(kDevice, ips({"172.30.0.1"})));
    const auto bad = sight(kernel, plan, journey, {});
    ASSERT_TRUE(bad);
    EXPECT_THAT(bad->differences, Contains("the virtual server TCP 172.30.0.1:80 is missing"));
    const auto unknown = explainer.explain({ip("10.0.0.9"), ip("8.8.8.8"), net::Protocol::kTcp, 80, ""});
    const auto nothing = sight(kernel, plan, unknown, {});
    ASSERT_TRUE(nothing);
    EXPECT_THAT(nothing->found, IsEmpty());
    EXPECT_THAT(nothing->differences, IsEmpty());
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
