// What a change writes, and what happens when the kernel or somebody else is in the way.
#include "dataplane/ipvs/dataplane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/dataplane_testing.h"
#include "dataplane/ipvs/sets.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using kernel::ipvs::Verb;
using net::Protocol;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

api::Service web() { return plan::testing::service("web", "172.30.0.1", {service_port("p", 80)}); }
api::EndpointSlice web_slice(const std::vector<Ep>& endpoints, Protocol protocol = Protocol::kTcp) {
    return slice("web", "web", {slice_port("p", 8080, protocol)}, endpoints);
}
api::Service balanced() {
    auto object = web();
    object.type = api::ServiceType::kLoadBalancer;
    object.ports.front().node_port = 30080;
    object.load_balancer_vips = {ip("1.2.3.4")};
    object.external_ips = {ip("5.6.7.8")};
    return object;
}
kernel::ipvs::ServiceKey key(std::string_view address, std::uint16_t port = 80, Protocol protocol = Protocol::kTcp) {
    return {ip(address), protocol, port, 0};
}

kernel::ipset::Element element(std::string_view address) { return {ip(address), Protocol::kTcp, 80, {}}; }

// A planner, a machine and a process on it.
struct Scene {
    Result<Outcome> change(const std::vector<api::Change>& changes) { return process.apply(planner.apply(changes)); }

    explicit Scene(IpvsOptions options = {}) : process(machine, std::move(options)) {
        EXPECT_TRUE(process.reconcile(planner.plan()).has_value());
    }
    IpvsPlanner planner;
    Machine machine;
    OnMachine process;
};

TEST(IpvsDataplane, AServiceWithAllThatItCanHave) {
    Scene scene;
    auto object = balanced();
    object.affinity_seconds = 100;
    object.load_balancer_source_ranges = cidrs({"203.0.113.0/24"});
    ASSERT_TRUE(scene.change({put(object), put(web_slice({{"10.0.0.1", "r", "test-node"}}))}));
    EXPECT_THAT(scene.machine.servers(),
                ElementsAre("-A -t 1.2.3.4:80 -s rr -p 100\n-a -t 1.2.3.4:80 -r 10.0.0.1:8080 -m -w 1\n",
                            "-A -t 172.30.0.1:80 -s rr -p 100\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n",
                            "-A -t 192.168.0.2:30080 -s rr -p 100\n-a -t 192.168.0.2:30080 -r 10.0.0.1:8080 -m -w 1\n",
                            "-A -t 192.168.1.2:30080 -s rr -p 100\n-a -t 192.168.1.2:30080 -r 10.0.0.1:8080 -m -w 1\n",
                            "-A -t 192.168.99.11:30080 -s rr -p 100\n"
                            "-a -t 192.168.99.11:30080 -r 10.0.0.1:8080 -m -w 1\n",
                            "-A -t 5.6.7.8:80 -s rr -p 100\n-a -t 5.6.7.8:80 -r 10.0.0.1:8080 -m -w 1\n"));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("1.2.3.4", "172.30.0.1", "5.6.7.8"));
    EXPECT_THAT(scene.machine.elements(),
                ElementsAre("GHOSTIP-NODE-PORTS 192.168.0.2,tcp:30080", "GHOSTIP-NODE-PORTS 192.168.1.2,tcp:30080",
                            "GHOSTIP-NODE-PORTS 192.168.99.11,tcp:30080", "KUBE-CLUSTER-IP 172.30.0.1,tcp:80",
                            "KUBE-EXTERNAL-IP 5.6.7.8,tcp:80", "KUBE-IPVS-IPS 1.2.3.4", "KUBE-IPVS-IPS 172.30.0.1",
                            "KUBE-IPVS-IPS 5.6.7.8", "KUBE-LOAD-BALANCER 1.2.3.4,tcp:80",
                            "KUBE-LOAD-BALANCER-FW 1.2.3.4,tcp:80",
                            "KUBE-LOAD-BALANCER-SOURCE-CIDR 1.2.3.4,tcp:80,203.0.113.0/24",
                            "KUBE-LOOP-BACK 10.0.0.1,tcp:8080,10.0.0.1", "KUBE-NODE-PORT-TCP 30080"));
}

TEST(IpvsDataplane, OneEndpointReplacedIsOneBatchEachWay) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))}));
    scene.machine.ipvs.clear_log();
    const auto restores = scene.machine.iptables.restores();
    const auto saves = scene.machine.iptables.saves();
    const auto done = scene.change({put(web_slice({{"10.0.0.1"}, {"10.0.0.3"}}))});
    ASSERT_TRUE(done);
    std::vector<std::string> commands;
    for (const auto& one : scene.machine.ipvs.log())
        commands.push_back(fmt::format("{} weight {}", text(one), one.destination.weight));
    EXPECT_THAT(commands, ElementsAre("add destination 10.0.0.3:8080 to TCP 172.30.0.1:80 weight 1",
                                      "change destination 10.0.0.2:8080 of TCP 172.30.0.1:80 weight 0",
                                      "delete destination 10.0.0.2:8080 of TCP 172.30.0.1:80 weight 0"));
    EXPECT_LE(done->transactions, 3U);
    EXPECT_EQ(scene.machine.iptables.restores(), restores);
    EXPECT_EQ(scene.machine.iptables.saves(), saves);
}

TEST(IpvsDataplane, NothingChangedNothingWritten) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    const auto looked = scene.process.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked);
    EXPECT_EQ(looked->transactions, 0U);
    OnMachine successor(scene.machine);
    const auto taken = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->transactions, 0U);
    EXPECT_EQ(taken->differences, 0U);
}

TEST(IpvsDataplane, ConnectionsAreLetFinish) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))}));
    const kernel::ipvs::DestinationKey second{ip("10.0.0.2"), 8080};
    ASSERT_TRUE(scene.machine.ipvs.set_connections(key("172.30.0.1"), second, {1, 0, 0}));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}}))}));
    const std::string kDraining =
        "-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"
        "-a -t 172.30.0.1:80 -r 10.0.0.2:8080 -m -w 0\n";
    EXPECT_THAT(scene.machine.servers(), ElementsAre(kDraining));
    EXPECT_EQ(scene.process.dataplane.draining(), 1U);

    // Also by who comes after a restart, which changes nothing.
    OnMachine successor(scene.machine);
    const auto taken = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->transactions, 0U);
    EXPECT_EQ(successor.dataplane.draining(), 1U);
    const auto checked = successor.look_and_check(scene.planner.plan());
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->differences, 0U);
    EXPECT_THAT(scene.machine.servers(), ElementsAre(kDraining));

    ASSERT_TRUE(scene.machine.ipvs.set_connections(key("172.30.0.1"), second, {}));
    ASSERT_TRUE(successor.look_and_check(scene.planner.plan()));
    EXPECT_THAT(scene.machine.servers(),
                ElementsAre("-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"));
    EXPECT_EQ(successor.dataplane.draining(), 0U);
}

TEST(IpvsDataplane, OneThatComesBackGetsConnectionsAgain) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))}));
    ASSERT_TRUE(scene.machine.ipvs.set_connections(key("172.30.0.1"), {ip("10.0.0.2"), 8080}, {0, 3, 0}));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))}));
    EXPECT_THAT(scene.machine.servers().front(), HasSubstr("10.0.0.2:8080 -m -w 1"));
    EXPECT_EQ(scene.process.dataplane.draining(), 0U);
    ASSERT_TRUE(scene.process.look_and_check(scene.planner.plan()));
    EXPECT_THAT(scene.machine.servers().front(), HasSubstr("10.0.0.2:8080 -m -w 1"));
}

TEST(IpvsDataplane, UdpGoesAtOnce) {
    Scene scene;
    auto object = web();
    object.ports.front().protocol = Protocol::kUdp;
    ASSERT_TRUE(scene.change({put(object), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}, Protocol::kUdp))}));
    ASSERT_TRUE(
        scene.machine.ipvs.set_connections(key("172.30.0.1", 80, Protocol::kUdp), {ip("10.0.0.2"), 8080}, {0, 3, 0}));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}}, Protocol::kUdp))}));
    EXPECT_THAT(scene.machine.servers().front(), Not(HasSubstr("10.0.0.2")));
}

TEST(IpvsDataplane, ForeignVirtualServersStay) {
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
TEST(IpvsDataplane, ForeignVirtualServersAtNodeAddressesStay) {
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
TEST(IpvsDataplane, NodePortsOfKubeProxyAreTakenOver) {
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

TEST(IpvsDataplane, WhatWasSetAsideComesWhenItCan) {
    Machine machine;
    kernel::ipvs::Service foreign;
    foreign.key = key("172.30.0.1");
    machine.ipvs.add_foreign({foreign, {}});
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(process.apply(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}}))})));
    EXPECT_THAT(process.dataplane.set_aside(), SizeIs(1));
    const kernel::ipvs::Command gone{Verb::kDeleteService, foreign, {}};
    ASSERT_TRUE(machine.ipvs.apply({&gone, 1}));
    ASSERT_TRUE(process.look_and_check(planner.plan()));
    EXPECT_THAT(process.dataplane.set_aside(), IsEmpty());
    EXPECT_THAT(machine.servers().front(), HasSubstr("10.0.0.1:8080"));
    EXPECT_THAT(machine.bound(), ElementsAre("172.30.0.1"));
}

TEST(IpvsDataplane, ExcludedAddressesAreNobodysBusiness) {
    IpvsOptions options;
    options.exclude_cidrs = cidrs({"172.30.0.0/24", "192.168.1.0/24"});
    Scene scene(options);
    const auto applied = scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))});
    ASSERT_TRUE(applied);
    EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(1));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("1.2.3.4", "5.6.7.8"));
    for (const auto& line : scene.machine.servers()) {
        EXPECT_THAT(line, Not(HasSubstr("172.30.0.1:80")));
        EXPECT_THAT(line, Not(HasSubstr("192.168.1.2:30080")));
    }
}

TEST(IpvsDataplane, WhatOthersChangedIsPutBackAndCounted) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    const auto before = scene.machine.all();
    kernel::ipvs::Service own;
    own.key = key("172.30.0.1");
    own.scheduler = "lc";
    kernel::ipvs::Service lost;
    lost.key = key("1.2.3.4");
    std::vector<kernel::ipvs::Command> commands{{Verb::kSetService, own, {}}, {Verb::kDeleteService, lost, {}}};
    ASSERT_TRUE(scene.machine.ipvs.apply(commands));
    ASSERT_TRUE(
        scene.machine.sets.remove("KUBE-CLUSTER-IP", kernel::ipset::Type::kIpPort, std::vector{element("172.30.0.1")}));
    ASSERT_TRUE(scene.machine.links.remove_addresses(kDevice, ips({"5.6.7.8"})));
    ASSERT_TRUE(scene.machine.iptables.delete_chain("nat", "KUBE-NODE-PORT"));
    const auto looked = scene.process.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked);
    EXPECT_GE(looked->differences, 4U);
    EXPECT_THAT(looked->examples, Not(IsEmpty()));
    EXPECT_THAT(scene.process.dataplane.set_aside(), IsEmpty()) << "what this process wrote is ours";
    EXPECT_EQ(scene.machine.all(), before);
}

// `ipset flush`, of one set or of all.
void flush(Machine& machine, std::string_view only = "") {
    const auto headers = machine.sets.headers().value();
    for (const auto& header : headers) {
        if (!only.empty() && header.name != only) continue;
        const auto held = machine.sets.contents(header.name).value();
        ASSERT_THAT(machine.sets.remove(header.name, *header.type, held->elements).value(), IsEmpty());
    }
}

TEST(IpvsDataplane, LostElementsOfSetsComeBack) {
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

TEST(IpvsDataplane, AVirtualServerThatAListingLeftOutStaysOurs) {
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
TEST(IpvsDataplane, AForeignPortOfABoundAddressStays) {
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

TEST(IpvsDataplane, PolicyLocal) {
    Scene scene;
    auto object = balanced();
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    ASSERT_TRUE(scene.change({put(object), put(web_slice({{"10.0.0.1", "r", "other"}}))}));
    EXPECT_THAT(scene.machine.servers(), Contains("-A -t 1.2.3.4:80 -s rr\n"));
    EXPECT_THAT(scene.machine.servers(),
                Contains("-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"));
    EXPECT_THAT(scene.machine.elements(), Contains("GHOSTIP-DROP 1.2.3.4,tcp:80"));
    EXPECT_THAT(scene.machine.elements(), Contains("GHOSTIP-DROP 192.168.0.2,tcp:30080"));
    EXPECT_THAT(scene.machine.elements(), Not(Contains("GHOSTIP-DROP-OWN 1.2.3.4,tcp:80")));
    const std::string kRule =
        "nat: -A GHOSTIP-SHORT-CIRCUIT -d 1.2.3.4/32 -p tcp -m comment --comment \"ns/web:p\" -m tcp --dport 80 -j "
        "DNAT "
        "--to-destination 172.30.0.1:80";
    EXPECT_THAT(scene.machine.rules(), Contains(kRule));
    EXPECT_THAT(scene.machine.rules(),
                Contains("nat: -A GHOSTIP-SHORT-CIRCUIT -p tcp -m comment --comment \"ns/web:p\" -m set --match-set "
                         "GHOSTIP-NODE-PORTS dst,dst -m tcp --dport 30080 -j DNAT --to-destination 172.30.0.1:80"));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1", "r", "other"}, {"10.0.0.2", "r", "test-node"}}))}));
    EXPECT_THAT(scene.machine.elements(), Not(Contains("GHOSTIP-DROP 1.2.3.4,tcp:80")));
    EXPECT_THAT(scene.machine.servers(),
                Contains("-A -t 1.2.3.4:80 -s rr\n-a -t 1.2.3.4:80 -r 10.0.0.2:8080 -m -w 1\n"));
    ASSERT_TRUE(scene.change({put(balanced())}));
    EXPECT_THAT(scene.machine.rules(), Not(Contains(kRule)));
    EXPECT_THAT(scene.machine.elements(), Contains("KUBE-EXTERNAL-IP 5.6.7.8,tcp:80"));
    EXPECT_THAT(scene.machine.elements(), Not(Contains("KUBE-EXTERNAL-IP-LOCAL 5.6.7.8,tcp:80")));
}

// One service port's plan with a scheduler of its own and weights.
plan::Delta with_scheduler(const plan::Delta& from, const std::string& scheduler,
                           std::vector<plan::EndpointWeight> weights = {}) {
    auto delta = from;
    for (auto& change : delta.service_ports) {
        auto own = *change.after;
        own.scheduler = scheduler;
        own.weights = weights;
        change.after = std::make_shared<const plan::ServicePortPlan>(own);
    }
    return delta;
}

TEST(IpvsDataplane, SchedulersAndWeights) {
    Scene scene;
    const auto delta = scene.planner.apply({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))});
    ASSERT_TRUE(scene.process.apply(with_scheduler(delta, "mh", {{ip("10.0.0.2"), 5}})));
    EXPECT_THAT(
        scene.machine.servers(),
        ElementsAre("-A -t 172.30.0.1:80 -s mh -b mh-fallback,mh-port\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"
                    "-a -t 172.30.0.1:80 -r 10.0.0.2:8080 -m -w 5\n"));
}

// What hashes to one that leaves goes to another one: sh and mh are told to fall back, dh cannot be.
TEST(IpvsDataplane, HashingSchedulersDoNotKeepThePlaceOfOneThatLeaves) {
    for (const std::string scheduler : {"sh", "mh", "dh"}) {
        SCOPED_TRACE(scheduler);
        Scene scene;
        auto object = web();
        object.scheduler = scheduler;
        object.endpoint_weights = {{ip("10.0.0.3"), 0}};
        ASSERT_TRUE(scene.change({put(object), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}, {"10.0.0.3"}}))}));
        const auto there = scene.machine.ipvs.services().value();
        ASSERT_THAT(there, SizeIs(1));
        EXPECT_EQ((there.front().flags & kernel::ipvs::kScheduler1) != 0, scheduler != "dh");
        const bool stays = scheduler != "dh";
        const auto server = [&] { return scene.machine.servers().front(); };
        EXPECT_EQ(server().find("10.0.0.3:8080 -m -w 0") != std::string::npos, stays);

        ASSERT_TRUE(scene.machine.ipvs.set_connections(key("172.30.0.1"), {ip("10.0.0.2"), 8080}, {1, 0, 0}));
        ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}, {"10.0.0.3"}}))}));
        EXPECT_EQ(server().find("10.0.0.2:8080 -m -w 0") != std::string::npos, stays);
        EXPECT_EQ(server().find("10.0.0.2") != std::string::npos, stays);
        EXPECT_EQ(scene.process.dataplane.draining(), stays ? 1U : 0U);
    }
}

// One began to leave under a scheduler that passes it over.
TEST(IpvsDataplane, ASchedulerThatKeepsPlacesEndsTheWaiting) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}))}));
    ASSERT_TRUE(scene.machine.ipvs.set_connections(key("172.30.0.1"), {ip("10.0.0.2"), 8080}, {1, 0, 0}));
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_EQ(scene.process.dataplane.draining(), 1U);
    auto object = web();
    object.scheduler = "dh";
    ASSERT_TRUE(scene.change({put(object)}));
    EXPECT_THAT(scene.machine.servers(),
                ElementsAre("-A -t 172.30.0.1:80 -s dh\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"));
    EXPECT_EQ(scene.process.dataplane.draining(), 0U);
    // Also where another process finds it so.
    kernel::ipvs::Service service;
    service.key = key("172.30.0.1");
    kernel::ipvs::Destination leaving;
    leaving.key = {ip("10.0.0.2"), 8080};
    leaving.weight = 0;
    const kernel::ipvs::Command put_back{Verb::kNewDestination, service, leaving};
    ASSERT_THAT(scene.machine.ipvs.apply({&put_back, 1}).value(), IsEmpty());
    OnMachine successor(scene.machine);
    ASSERT_TRUE(successor.reconcile(scene.planner.plan()));
    EXPECT_THAT(scene.machine.servers().front(), Not(HasSubstr("10.0.0.2")));
}

TEST(IpvsDataplane, AnUnknownSchedulerIsToldAndTheDefaultServes) {
    Scene scene;
    scene.machine.ipvs.set_schedulers({"rr", "wrr"});
    auto object = balanced();
    const auto delta = scene.planner.apply({put(object), put(web_slice({{"10.0.0.1"}}))});
    const auto applied = scene.process.apply(with_scheduler(delta, "mh"));
    ASSERT_TRUE(applied);
    EXPECT_THAT(scene.machine.servers(), SizeIs(6));
    EXPECT_THAT(scene.machine.servers(),
                Contains("-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r 10.0.0.1:8080 -m -w 1\n"));
    const auto aside = scene.process.dataplane.set_aside();
    ASSERT_THAT(aside, SizeIs(1));
    EXPECT_EQ(aside.front().reason, "the kernel knows no scheduler mh; rr serves instead");
}

TEST(IpvsDataplane, WhatTheSetsNameIsOursAlsoWhereKubeProxyWroteThem) {
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
TEST(IpvsDataplane, AVirtualServerOfKubeProxysWithMaglevGetsItsOtherFlagOnce) {
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

// Of 65,536 elements, or kube-proxy would not start beside them.
TEST(IpvsDataplane, SetsAreKubeProxysUntilTheyAreFull) {
    Machine machine;
    const auto set = definition(Set::kIpvsIps, net::Family::kIpv4);
    EXPECT_EQ(set.most_elements, 65536U);
    // Of another size: exchanged, as long as that leaves nothing out.
    auto other = definition(Set::kClusterIp, net::Family::kIpv4);
    other.most_elements = 1000;
    ASSERT_TRUE(machine.sets.create(other));
    std::vector<kernel::ipset::Element> many;
    for (std::uint32_t i = 0; i < set.most_elements; ++i)
        many.push_back(address_entry(Set::kIpvsIps, ip(fmt::format("10.1.{}.{}", i / 256, i % 256))).element);
    ASSERT_TRUE(machine.sets.create(set));
    ASSERT_THAT(machine.sets.add(set.name, set.type, many).value(), IsEmpty());

    IpvsPlanner planner;
    OnMachine process(machine);
    const auto most = [&](Set which) {
        return machine.sets.contents(set_name(which, net::Family::kIpv4)).value()->header.most_elements;
    };
    static_cast<void>(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}}))}));
    ASSERT_TRUE(process.reconcile(planner.plan()));
    EXPECT_EQ(most(Set::kClusterIp), 65536U);
    EXPECT_EQ(most(Set::kIpvsIps), 1U << 20) << "what comes was written before what nobody wants went";
    EXPECT_THAT(machine.elements(), Contains("KUBE-IPVS-IPS 172.30.0.1"));
    EXPECT_THAT(machine.elements(), Not(Contains("KUBE-IPVS-IPS 10.1.0.0")));
    OnMachine successor(machine);
    ASSERT_TRUE(successor.reconcile(planner.plan()));
    EXPECT_EQ(most(Set::kIpvsIps), 65536U);
    EXPECT_THAT(machine.elements(), Contains("KUBE-IPVS-IPS 172.30.0.1"));
    const auto headers = machine.sets.headers().value();
    for (const auto& header : headers) EXPECT_NE(header.name, "GHOSTIP-WIDER");
}

// One address that the kernel does not take is no reason to stop for all.
TEST(IpvsDataplane, AnAddressThatTheDeviceDoesNotTakeIsSetAside) {
    Scene scene;
    scene.machine.links.refuse_address(ip("1.2.3.4"));
    auto object = balanced();
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    const auto applied = scene.change({put(object), put(web_slice({{"10.0.0.1", "r", "test-node"}}))});
    ASSERT_TRUE(applied) << applied.error().message;
    ASSERT_THAT(applied->set_aside, SizeIs(1));
    EXPECT_EQ(applied->set_aside.front().object, "ns/web:p");
    EXPECT_THAT(applied->set_aside.front().reason, HasSubstr("1.2.3.4:80/TCP: add addresses to device kube-ipvs0"));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("172.30.0.1", "5.6.7.8"));
    EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("1.2.3.4:80"))));
    EXPECT_THAT(scene.machine.elements(), Not(Contains(HasSubstr("1.2.3.4"))));
    EXPECT_THAT(scene.machine.rules(), Not(Contains(HasSubstr("1.2.3.4"))));
    EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(1));

    // Known from then on: neither a look nor a change writes anything for it.
    scene.machine.ipvs.clear_log();
    const auto looked = scene.process.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked);
    EXPECT_EQ(looked->differences, 0U);
    EXPECT_EQ(looked->transactions, 0U);
    ASSERT_TRUE(scene.change({put(web_slice({{"10.0.0.2", "r", "test-node"}}))}));
    EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("1.2.3.4:80"))));

    // A process that starts meets it anew.
    OnMachine successor(scene.machine);
    const auto taken = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_THAT(taken->set_aside, SizeIs(1));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("172.30.0.1", "5.6.7.8"));
    EXPECT_THAT(scene.machine.elements(), Not(Contains(HasSubstr("1.2.3.4"))));

    scene.machine.links.accept_address(ip("1.2.3.4"));
    ASSERT_TRUE(successor.look_and_check(scene.planner.plan()));
    EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
    EXPECT_THAT(scene.machine.bound(), ElementsAre("1.2.3.4", "172.30.0.1", "5.6.7.8"));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("1.2.3.4:80 -r 10.0.0.2:8080")));
    EXPECT_THAT(scene.machine.rules(), Contains(HasSubstr("1.2.3.4")));
}

// A Service can have it: only some special ranges are refused by the API server.
TEST(IpvsDataplane, AnEndpointThatIpvsDoesNotTakeIsLeftOutAlone) {
    Scene scene;
    scene.machine.ipvs.refuse_destination(ip("192.168.0.255"));
    const auto applied =
        scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}, {"192.168.0.255"}, {"255.255.255.255"}}))});
    ASSERT_TRUE(applied) << applied.error().message;
    EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(2));
    EXPECT_EQ(scene.process.dataplane.set_aside().front().object, "ns/web:p");
    EXPECT_THAT(scene.process.dataplane.set_aside().front().reason,
                HasSubstr("endpoint 192.168.0.255: add destination"));
    const std::string kWeb = "-A -t 172.30.0.1:80 -s rr\n-a -t 172.30.0.1:80 -r {} -m -w 1\n";
    EXPECT_THAT(scene.machine.servers(), Contains(fmt::format(fmt::runtime(kWeb), "10.0.0.1:8080")));

    // A change costs what a change costs, and who leaves leaves.
    scene.machine.ipvs.clear_log();
    const auto lists = scene.machine.ipvs.counters().lists;
    const auto changed = scene.change({put(web_slice({{"10.0.0.2"}, {"192.168.0.255"}, {"255.255.255.255"}}))});
    ASSERT_TRUE(changed) << changed.error().message;
    EXPECT_THAT(changed->set_aside, IsEmpty());
    EXPECT_EQ(scene.machine.ipvs.counters().lists - lists, 6U) << "only for connections";
    EXPECT_THAT(scene.machine.servers(), Contains(fmt::format(fmt::runtime(kWeb), "10.0.0.2:8080")));
    EXPECT_EQ(scene.machine.ipvs.log().size(), 3 * 6U) << "in, weight 0, out, of six virtual servers";

    // Also where another process finds it.
    OnMachine successor(scene.machine);
    const auto taken = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(successor.dataplane.set_aside().size(), 2U);
    auto looked = successor.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked) << looked.error().message;
    EXPECT_EQ(looked->differences, 0U);

    // It is tried again.
    scene.machine.ipvs.accept_destination(ip("192.168.0.255"));
    looked = successor.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked) << looked.error().message;
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.99.11:30080 -r 192.168.0.255:8080")));
    EXPECT_EQ(successor.dataplane.set_aside().size(), 1U);
}

// What the kernel refuses keeps nobody who left: another pod may have the address by now.
TEST(IpvsDataplane, WhoLeftLeavesAlsoWhereSomethingElseIsRefused) {
    for (const std::uint64_t command : {1U, 2U}) {
        SCOPED_TRACE(command);
        Scene scene;
        ASSERT_TRUE(scene.change({put(web()), put(web_slice({{"10.0.0.1"}}))}));
        auto sticky = web();
        sticky.affinity_seconds = 100;
        static_cast<void>(scene.planner.apply({put(sticky), put(web_slice({{"10.0.0.2"}, {"10.0.0.3"}}))}));
        OnMachine successor(scene.machine);
        scene.machine.ipvs.refuse_command(command, ENOMEM);
        const auto taken = successor.reconcile(scene.planner.plan());
        ASSERT_TRUE(taken) << taken.error().message;
        ASSERT_THAT(taken->set_aside, SizeIs(1));
        EXPECT_THAT(scene.machine.servers().front(), Not(HasSubstr("10.0.0.1")));
        EXPECT_THAT(scene.machine.servers().front(), HasSubstr("10.0.0.3"));
        ASSERT_TRUE(successor.look_and_check(scene.planner.plan()));
        EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
        EXPECT_THAT(scene.machine.servers().front(), HasSubstr("-p 100\n"));
        EXPECT_THAT(scene.machine.servers().front(), HasSubstr("10.0.0.2"));
    }
}

// An external IP that is the node's own, at a port that is another Service's node port: the external IP's there, while
// it is there. Both ways in the call that brings the change.
TEST(IpvsDataplane, ANodePortGivesWayAndComesBack) {
    Scene scene;
    auto other = plan::testing::service("other", "172.30.0.2", {service_port("p", 30080)});
    other.external_ips = ips({"192.168.1.2"});
    const auto other_slice = slice("other", "other", {slice_port("p", 9090)}, {{"10.0.0.9"}});
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    const auto before = scene.machine.all();
    const auto came = scene.change({put(other), put(other_slice)});
    ASSERT_TRUE(came) << came.error().message;
    ASSERT_THAT(came->set_aside, SizeIs(1));
    EXPECT_EQ(came->set_aside.front().object, "ns/web:p");
    EXPECT_THAT(came->set_aside.front().reason, HasSubstr("another Service has the virtual server"));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.1.2:30080 -r 10.0.0.9:9090")));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.0.2:30080 -r 10.0.0.1:8080")));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.99.11:30080 -r 10.0.0.1:8080")));
    EXPECT_THAT(scene.machine.elements(), Not(Contains("GHOSTIP-NODE-PORTS 192.168.1.2,tcp:30080")));
    EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(1));
    const auto there = scene.machine.all();
    const auto looked = scene.process.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked);
    EXPECT_EQ(looked->differences, 0U);
    EXPECT_EQ(scene.machine.all(), there) << "as a look at everything has it";

    const auto went = scene.change({gone(other), gone(other_slice)});
    ASSERT_TRUE(went) << went.error().message;
    EXPECT_THAT(scene.process.dataplane.set_aside(), IsEmpty());
    EXPECT_EQ(scene.machine.all(), before);
}

// Both in one change, and the node port after the external IP.
TEST(IpvsDataplane, ANodePortComesWhereAnExternalIpIs) {
    auto other = plan::testing::service("other", "172.30.0.2", {service_port("p", 30080)});
    other.external_ips = ips({"192.168.1.2", "192.168.0.2"});
    const auto other_slice = slice("other", "other", {slice_port("p", 9090)}, {{"10.0.0.9"}});
    for (const bool together : {true, false}) {
        SCOPED_TRACE(together);
        Scene scene;
        std::vector<api::Change> changes{put(other), put(other_slice)};
        if (!together) {
            ASSERT_TRUE(scene.change(changes));
            changes.clear();
        }
        changes.push_back(put(balanced()));
        changes.push_back(put(web_slice({{"10.0.0.1"}})));
        const auto came = scene.change(changes);
        ASSERT_TRUE(came) << came.error().message;
        EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(2));
        for (const auto* address : {"192.168.1.2", "192.168.0.2"})
            EXPECT_THAT(scene.machine.servers(),
                        Contains(HasSubstr(fmt::format("{}:30080 -r 10.0.0.9:9090", address))));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.99.11:30080 -r 10.0.0.1:8080")));
        const auto there = scene.machine.all();
        ASSERT_TRUE(scene.process.look_and_check(scene.planner.plan()));
        EXPECT_EQ(scene.machine.all(), there) << "as a look at everything has it";
        // One of the two, while the node port's endpoints change.
        other.external_ips = ips({"192.168.0.2"});
        ASSERT_TRUE(scene.change({put(other), put(web_slice({{"10.0.0.2"}}))}));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.1.2:30080 -r 10.0.0.2:8080")));
        EXPECT_THAT(scene.process.dataplane.set_aside(), SizeIs(1));
        other.external_ips = ips({"192.168.1.2", "192.168.0.2"});
    }
}

// A virtual address with a virtual server of keepalived's comes to the node, or its server alone.
TEST(IpvsDataplane, ANodePortGoesWithoutTheAddressThatSomebodyElseHas) {
    kernel::ipvs::Service foreign;
    foreign.key = key("192.168.50.1", 30080);
    foreign.scheduler = "wlc";
    const std::string kForeign = "-A -t 192.168.50.1:30080 -s wlc\n";
    for (const bool address_first : {true, false}) {
        SCOPED_TRACE(address_first);
        Scene scene;
        plan::HostFacts host{ips({"127.0.0.1", "192.168.0.2", "192.168.50.1"})};
        if (address_first) {
            scene.machine.links.add_address({"eth0", ip("192.168.50.1"), 32});
            ASSERT_TRUE(scene.process.apply(scene.planner.set_host(host)));
        } else {
            ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
        }
        scene.machine.ipvs.add_foreign({foreign, {}});
        const auto applied = address_first ? scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))})
                                           : scene.process.apply(scene.planner.set_host(host));
        ASSERT_TRUE(applied) << applied.error().message;
        ASSERT_THAT(applied->set_aside, SizeIs(1));
        EXPECT_EQ(applied->set_aside.front().object, "ns/web:p");
        EXPECT_THAT(applied->set_aside.front().reason,
                    HasSubstr("TCP 192.168.50.1:30080 is there already and not ours"));
        EXPECT_THAT(scene.machine.servers(), Contains(kForeign));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.0.2:30080 -r 10.0.0.1:8080")));
        const auto there = scene.machine.all();
        const auto looked = scene.process.look_and_check(scene.planner.plan());
        ASSERT_TRUE(looked);
        EXPECT_EQ(looked->differences, 0U);
        OnMachine successor(scene.machine);
        ASSERT_TRUE(successor.reconcile(scene.planner.plan()));
        EXPECT_EQ(scene.machine.all(), there);
        // It is tried again when that one is gone.
        const kernel::ipvs::Command gone{Verb::kDeleteService, foreign, {}};
        ASSERT_TRUE(scene.machine.ipvs.apply({&gone, 1}));
        ASSERT_TRUE(successor.look_and_check(scene.planner.plan()));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.50.1:30080 -r 10.0.0.1:8080")));
        EXPECT_THAT(successor.dataplane.set_aside(), IsEmpty());
    }
}

// An element of ours at somebody else's virtual server would make it ours at the next look.
TEST(IpvsDataplane, AFailureLeavesNoElementAtWhatIsForeign) {
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
TEST(IpvsDataplane, WhatWasServedBeforeItWasExcludedGoes) {
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

TEST(IpvsDataplane, NodeAddressesComeAndGo) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    plan::HostFacts host{ips({"127.0.0.1", "192.168.0.2", "5.6.7.8"})};
    ASSERT_TRUE(scene.process.apply(scene.planner.set_host(host)));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("1.2.3.4", "172.30.0.1")) << "5.6.7.8 is the node's own now";
    EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("192.168.1.2:30080"))));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("5.6.7.8:30080")));
}

void never(std::chrono::milliseconds /*time*/) { FAIL() << "nothing is busy"; }

// A rule of somebody else's keeps a chain, and that one a set: until it is gone, the rest is still known for ours.
TEST(IpvsCleanup, WhatTellsThatSetsAreOursGoesLast) {
    Machine machine;
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(
        machine.sets.create({spare_set_name(net::Family::kIpv6), kernel::ipset::Type::kIp, net::Family::kIpv6}));
    ASSERT_FALSE(
        machine.iptables.restore("*nat\n:CNI-CHAIN - [0:0]\n-A CNI-CHAIN -j KUBE-POSTROUTING\nCOMMIT\n").value());
    std::vector<std::string> kept;
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_THAT(kept, ElementsAre("table nat: chain KUBE-POSTROUTING stays, because a rule of chain CNI-CHAIN leads "
                                  "into it"));
    machine.sets.set_references("KUBE-LOOP-BACK", 1);
    int pauses = 0;
    const auto busy = clean_sets(machine.sets, WhichSets::kAll, [&](auto) { ++pauses; });
    ASSERT_FALSE(busy);
    EXPECT_THAT(busy.error().message, HasSubstr("KUBE-LOOP-BACK"));
    EXPECT_GT(pauses, 1);
    EXPECT_THAT(machine.sets.headers().value(), SizeIs(2));
    EXPECT_TRUE(are_ours(machine.sets).value());
    // Of a rule that nf_tables lets go of a moment later.
    EXPECT_TRUE(
        clean_sets(machine.sets, WhichSets::kAll, [&](auto) { machine.sets.set_references("KUBE-LOOP-BACK", 0); }));
    EXPECT_THAT(machine.sets.headers().value(), IsEmpty());
}

TEST(IpvsCleanup, TakesAwayAllThatIsOurs) {
    std::vector<std::string> kept;
    Machine machine;
    ASSERT_FALSE(machine.iptables.restore("*nat\n:CNI-CHAIN - [0:0]\n-A POSTROUTING -j CNI-CHAIN\nCOMMIT\n").value());
    const auto rules = machine.rules();
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))})));
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    const auto left = machine.rules();
    for (const auto& line : rules) EXPECT_THAT(left, Contains(line));
    for (const auto& line : left) {
        EXPECT_THAT(line, Not(HasSubstr("KUBE-")));
        EXPECT_THAT(line, Not(HasSubstr("GHOSTIP-")));
    }
    ASSERT_TRUE(clean_servers(machine.ipvs, machine.sets, machine.links));
    EXPECT_THAT(machine.servers(), IsEmpty());
    ASSERT_TRUE(clean_sets(machine.sets, WhichSets::kAll, never));
    EXPECT_THAT(machine.sets.headers().value(), IsEmpty());
}

// It writes the chains that it knows anew, and ours stand beside them.
TEST(IpvsCleanup, LeavesWhatKubeProxyTookBack) {
    std::vector<std::string> kept;
    Machine machine;
    IpvsPlanner planner;
    OnMachine process(machine);
    ASSERT_TRUE(process.reconcile(planner.plan()));
    ASSERT_TRUE(process.apply(planner.apply({put(balanced()), put(web_slice({{"10.0.0.1"}}))})));
    EXPECT_FALSE(is_kube_proxys(machine.iptables).value());
    ASSERT_FALSE(machine.iptables
                     .restore("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODE-PORT - [0:0]\n"
                              "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\nCOMMIT\n"
                              "*filter\n:KUBE-PROXY-FIREWALL - [0:0]\nCOMMIT\n")
                     .value());
    EXPECT_TRUE(is_kube_proxys(machine.iptables).value());
    auto expected = machine.rules();
    std::erase_if(expected, [](const auto& line) { return line.find("GHOSTIP-") != std::string::npos; });
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_EQ(machine.rules(), expected);
    EXPECT_TRUE(is_kube_proxys(machine.iptables).value()) << "also when it is run again";
    auto elements = machine.elements();
    std::erase_if(elements, [](const auto& line) { return line.starts_with("GHOSTIP-"); });
    ASSERT_TRUE(clean_sets(machine.sets, WhichSets::kOnlyOurs, never));
    EXPECT_EQ(machine.elements(), elements);
    EXPECT_FALSE(are_ours(machine.sets).value());
}

// kube-proxy's rules and sets have the same names.
TEST(IpvsCleanup, LeavesWhatIsKubeProxys) {
    std::vector<std::string> kept;
    Machine machine;
    ASSERT_FALSE(machine.iptables
                     .restore("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-LOAD-BALANCER - [0:0]\n"
                              "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -j KUBE-LOAD-BALANCER\nCOMMIT\n")
                     .value());
    const auto rules = machine.rules();
    ASSERT_TRUE(clean_rules(machine.iptables, kept));
    EXPECT_EQ(machine.rules(), rules);
    for (const auto set : {Set::kClusterIp, Set::kNodePortTcp, Set::kIpvsIps})
        ASSERT_TRUE(machine.sets.create(definition(set, net::Family::kIpv4)));
    EXPECT_FALSE(are_ours(machine.sets).value());
    ASSERT_TRUE(machine.sets.create(definition(Set::kNodePorts, net::Family::kIpv6)));
    EXPECT_TRUE(are_ours(machine.sets).value());
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
