// Which virtual servers are ours, and that nobody else's are touched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/rules.h"
#include "dataplane/ipvs/scene_testing.h"
#include "dataplane/ipvs/sets.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using net::Protocol;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// `ipset flush`, of one set or of all.
void flush(Machine& machine, std::string_view only = "") {
    const auto headers = machine.sets.headers().value();
    for (const auto& header : headers) {
        if (!only.empty() && header.name != only) continue;
        const auto held = machine.sets.contents(header.name).value();
        ASSERT_THAT(machine.sets.remove(header.name, *header.type, held->elements).value(), IsEmpty());
    }
}

TEST(IpvsOwnership, ForeignVirtualServersStay) {
    Machine machine;
    kernel::ipvs::Service foreign;
    foreign.key = key("203.0.113.80");
    machine.ipvs.add_foreign({foreign, {}});
    foreign.key = key("172.30.0.1");
    foreign.scheduler = "wlc";
    machine.ipvs.add_foreign({foreign, {}});
    kernel::ipvs::Service marked;
    marked.key.mark = 7;
    machine.ipvs.add_foreign({marked, {}});
    const auto before = machine.servers();
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    // Also where a Service asks for one of them.
    const auto applied = process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_TRUE(applied);
    ASSERT_THAT(applied->set_aside, SizeIs(1));
    EXPECT_EQ(applied->set_aside.front().object, "ns/web:p");
    EXPECT_THAT(applied->set_aside.front().reason, HasSubstr("TCP 172.30.0.1:80 is there already and not ours"));
    EXPECT_THAT(machine.servers(), Contains("-A -t 172.30.0.1:80 -s wlc\n"));
    EXPECT_THAT(machine.elements(), Not(Contains("KUBE-CLUSTER-IP 172.30.0.1,tcp:80")));
    EXPECT_THAT(machine.bound(), ElementsAre("1.2.3.4", "5.6.7.8")) << "the rest goes on";
    OnMachine successor(machine);
    ASSERT_TRUE(successor.reconcile(planner.plan()));
    EXPECT_THAT(successor.dataplane.set_aside(), SizeIs(1));
    ASSERT_TRUE(clean_servers(machine.ipvs, machine.sets, machine.links));
    EXPECT_EQ(machine.servers(), before);
}

// One of somebody else's at an address of the node, with the port of a node port that is served at others.
TEST(IpvsOwnership, ForeignVirtualServersAtNodeAddressesStay) {
    auto settings = node_settings();
    settings.node_port_ranges = cidrs({"192.168.0.0/24"});
    IpvsPlanner planner(settings);
    Machine machine;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    kernel::ipvs::Service foreign;
    foreign.key = key("192.168.99.11", 30080);
    foreign.scheduler = "wlc";
    machine.ipvs.add_foreign({foreign, {}});
    foreign.key = key("192.168.99.11", 30080, Protocol::kUdp);
    machine.ipvs.add_foreign({foreign, {}});
    const auto applied = process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_TRUE(applied);
    EXPECT_THAT(applied->set_aside, IsEmpty());
    const auto there = machine.all();
    EXPECT_THAT(machine.servers(), Contains("-A -t 192.168.99.11:30080 -s wlc\n"));
    EXPECT_THAT(machine.servers(), Contains(HasSubstr("192.168.0.2:30080 -r 10.0.0.1:8080")));
    const auto looked = process.look_and_check(planner.plan());
    ASSERT_TRUE(looked);
    EXPECT_EQ(looked->differences, 0U);
    OnMachine successor(machine);
    ASSERT_TRUE(successor.reconcile(planner.plan()));
    EXPECT_EQ(machine.all(), there);
    ASSERT_TRUE(clean_servers(machine.ipvs, machine.sets, machine.links));
    EXPECT_THAT(machine.servers(),
                ElementsAre("-A -t 192.168.99.11:30080 -s wlc\n", "-A -u 192.168.99.11:30080 -s wlc\n"));
}

// Its sets have ports only, and it has all of them at all addresses of the node.
TEST(IpvsOwnership, NodePortsOfKubeProxyAreTakenOver) {
    Machine machine;
    IpvsPlanner planner;
    static_cast<void>(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    OnMachine fresh(machine);
    ASSERT_TRUE(fresh.reconcile(planner.plan()));
    const auto before = machine.all();
    // As kube-proxy would have left it: without our set, or with an old one that lacks the port.
    for (const bool old : {false, true}) {
        const auto set = definition(Set::kNodePorts, net::Family::kIpv4);
        ASSERT_TRUE(machine.sets.destroy(set.name));
        if (old) {
            ASSERT_TRUE(machine.sets.create(set));
            const kernel::ipset::Element other{ip("192.168.0.2"), Protocol::kTcp, 30081, {}};
            ASSERT_TRUE(machine.sets.add(set.name, set.type, {&other, 1}));
        }
        kernel::ipvs::Service unwanted;
        unwanted.key = key("192.168.99.11", 30085);
        machine.ipvs.add_foreign({unwanted, {}});
        kernel::ipset::Element port;
        port.port = 30085;
        ASSERT_TRUE(machine.sets.add("KUBE-NODE-PORT-TCP", kernel::ipset::Type::kPort, {&port, 1}));
        machine.ipvs.clear_log();
        OnMachine successor(machine);
        ASSERT_TRUE(successor.reconcile(planner.plan()));
        EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
        EXPECT_EQ(machine.all(), before);
        ASSERT_THAT(machine.ipvs.log(), SizeIs(1));
        EXPECT_EQ(text(machine.ipvs.log().front()), "delete service TCP 192.168.99.11:30085");
    }
}

// It had served the node again, by rules of its own, and there was an address more when we came back.
TEST(IpvsOwnership, NodePortsThatKubeProxyMadeSinceAreTakenOver) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    constexpr std::string_view kRules =
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODE-PORT - [0:0]\n"
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\nCOMMIT\n";
    ASSERT_TRUE(restore(scene.machine.iptables, std::string(kRules)));
    scene.machine.links.add_address({"eth0", ip("192.168.50.1"), 32});
    kernel::ipvs::Service theirs;
    theirs.key = key("192.168.50.1", 30080);
    theirs.scheduler = "wlc";
    scene.machine.ipvs.add_foreign({theirs, {}});
    static_cast<void>(scene.planner.set_host(plan::HostFacts{ips({"127.0.0.1", "192.168.0.2", "192.168.50.1"})}));
    OnMachine successor(scene.machine);
    ASSERT_TRUE(successor.reconcile(scene.planner.plan()));
    EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.50.1:30080 -r 10.0.0.1:8080")));
    EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("-s wlc"))));
}

TEST(IpvsOwnership, LostElementsOfSetsComeBack) {
    Scene scene;
    auto empty = plan::testing::service("empty", "172.30.0.2", {service_port("p", 80)});
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}})), put(empty)}));
    const auto before = scene.machine.all();
    for (const std::string only : {"", "KUBE-CLUSTER-IP", "KUBE-IPVS-IPS", "KUBE-NODE-PORT-TCP"}) {
        SCOPED_TRACE(only);
        flush(scene.machine, only);
        ASSERT_NE(scene.machine.all(), before);
        const auto looked = scene.process.look_and_check(scene.planner.plan());
        ASSERT_TRUE(looked) << looked.error().message;
        EXPECT_GE(looked->differences, 1U);
        EXPECT_THAT(looked->set_aside, IsEmpty());
        EXPECT_EQ(scene.machine.all(), before);
        // A process that starts remembers nothing, and finds the device's addresses.
        flush(scene.machine, only);
        OnMachine successor(scene.machine);
        const auto taken = successor.reconcile(scene.planner.plan());
        ASSERT_TRUE(taken) << taken.error().message;
        EXPECT_THAT(taken->set_aside, IsEmpty());
        EXPECT_EQ(scene.machine.all(), before);
    }
}

TEST(IpvsOwnership, AVirtualServerThatAListingLeftOutStaysOurs) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    const auto before = scene.machine.all();
    scene.machine.ipvs.leave_out(key("172.30.0.1"), 1);
    OnMachine successor(scene.machine);
    const auto taken = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(taken->transactions, 0U);
    EXPECT_EQ(scene.machine.all(), before);
    // Nor when two listings in a row lack it: what the sets name is not given up.
    scene.machine.ipvs.leave_out(key("172.30.0.1"), 2);
    const auto missed = successor.reconcile(scene.planner.plan());
    ASSERT_FALSE(missed);
    EXPECT_THAT(missed.error().message, HasSubstr("TCP 172.30.0.1:80 was not seen, and is there"));
    EXPECT_EQ(scene.machine.all(), before);
    ASSERT_TRUE(successor.reconcile(scene.planner.plan()));
    EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
    EXPECT_EQ(scene.machine.all(), before);
}

// What the sets do not name and nothing else tells is somebody else's, also beside what is ours.
TEST(IpvsOwnership, AForeignPortOfABoundAddressStays) {
    Machine machine;
    kernel::ipvs::Service foreign;
    foreign.key = key("172.30.0.1", 443);
    foreign.scheduler = "wlc";
    machine.ipvs.add_foreign({foreign, {}});
    IpvsPlanner planner;
    auto object = plan::testing::service("web", "172.30.0.1", {service_port("p", 80), service_port("q", 443)});
    static_cast<void>(planner.apply(
        {put(object), put(slice("web", "web", {slice_port("p", 8080), slice_port("q", 8443)}, {{"10.0.0.1"}}))}));
    for (int starts = 0; starts < 2; ++starts) {
        OnMachine process(machine);
        ASSERT_TRUE(process.reconcile(planner.plan()));
        EXPECT_THAT(process.dataplane.set_aside(), SizeIs(1));
        EXPECT_THAT(machine.servers(), Contains("-A -t 172.30.0.1:443 -s wlc\n"));
        EXPECT_THAT(machine.bound(), ElementsAre("172.30.0.1"));
    }
}

TEST(IpvsOwnership, WhatTheSetsNameIsOursAlsoWhereKubeProxyWroteThem) {
    Machine machine;
    const auto set = definition(Set::kClusterIp, net::Family::kIpv4);
    ASSERT_TRUE(machine.sets.create(set));
    const auto old_element = element("172.30.0.9");
    ASSERT_TRUE(machine.sets.add(set.name, set.type, {&old_element, 1}));
    kernel::ipvs::Service old;
    old.key = key("172.30.0.9");
    machine.ipvs.add_foreign({old, {}});
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    EXPECT_THAT(machine.servers(), IsEmpty());
}

// kube-proxy gives mh only the flag for ports.
TEST(IpvsOwnership, AVirtualServerOfKubeProxysWithMaglevGetsItsOtherFlagOnce) {
    Machine machine;
    const auto set = definition(Set::kClusterIp, net::Family::kIpv4);
    ASSERT_TRUE(machine.sets.create(set));
    const auto own = element("172.30.0.1");
    ASSERT_TRUE(machine.sets.add(set.name, set.type, {&own, 1}));
    kernel::ipvs::Service old;
    old.key = key("172.30.0.1");
    old.scheduler = "mh";
    old.flags = kernel::ipvs::kScheduler2;
    kernel::ipvs::Destination behind;
    behind.key = {ip("10.0.0.1"), 8080};
    machine.ipvs.add_foreign({old, {behind}});
    IpvsPlanner planner;
    IpvsOptions options;
    options.scheduler = "mh";
    OnMachine process(machine, options);
    static_cast<void>(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_THAT(machine.ipvs.log(), SizeIs(1));
    EXPECT_EQ(text(machine.ipvs.log().front()), "change service TCP 172.30.0.1:80 (mh)");
    EXPECT_EQ(machine.ipvs.log().front().service.flags, kernel::ipvs::kScheduler1 | kernel::ipvs::kScheduler2);
    OnMachine successor(machine, options);
    ASSERT_TRUE(successor.reconcile(planner.plan()));
    EXPECT_THAT(machine.ipvs.log(), SizeIs(1));
}

// An element of ours at somebody else's virtual server would make it ours at the next look.
TEST(IpvsOwnership, AFailureLeavesNoElementAtWhatIsForeign) {
    kernel::ipvs::Service foreign;
    foreign.key = key("172.30.0.1");
    foreign.scheduler = "wlc";
    for (const std::uint64_t call : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U}) {
        SCOPED_TRACE(call);
        Scene scene;
        scene.machine.ipvs.add_foreign({foreign, {}});
        scene.machine.ipvs.fail_call(call, ENOBUFS);
        const auto delta = scene.planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))});
        static_cast<void>(scene.process.apply(delta));
        EXPECT_THAT(scene.machine.elements(), Not(Contains("KUBE-CLUSTER-IP 172.30.0.1,tcp:80")));
        scene.machine.forget_failures();
        ASSERT_TRUE(scene.process.reconcile(scene.planner.plan()));
        EXPECT_THAT(scene.machine.servers(), Contains("-A -t 172.30.0.1:80 -s wlc\n"));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("1.2.3.4:80 -r 10.0.0.1:8080")));
    }
}

// Its address was excluded while no process was there: nobody would ever take it away.
TEST(IpvsOwnership, WhatWasServedBeforeItWasExcludedGoes) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    kernel::ipvs::Service foreign;
    foreign.key = key("172.30.0.77");
    scene.machine.ipvs.add_foreign({foreign, {}});
    IpvsOptions options;
    options.exclude_cidrs = cidrs({"172.30.0.0/24", "192.168.1.0/24"});
    OnMachine successor(scene.machine, options);
    ASSERT_TRUE(successor.reconcile(scene.planner.plan()));
    for (const auto& line : scene.machine.servers()) {
        EXPECT_THAT(line, Not(HasSubstr("172.30.0.1:80")));
        EXPECT_THAT(line, Not(HasSubstr("192.168.1.2:30080")));
    }
    EXPECT_THAT(scene.machine.servers(), Contains("-A -t 172.30.0.77:80 -s rr\n")) << "no set names it";
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.0.2:30080 -r 10.0.0.1:8080")));
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
