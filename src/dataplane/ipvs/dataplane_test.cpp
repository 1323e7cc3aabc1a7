// What a change writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/scene_testing.h"
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

TEST(IpvsDataplane, NodeAddressesComeAndGo) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    plan::HostFacts host{ips({"127.0.0.1", "192.168.0.2", "5.6.7.8"})};
    ASSERT_TRUE(scene.process.apply(scene.planner.set_host(host)));
    EXPECT_THAT(scene.machine.bound(), ElementsAre("1.2.3.4", "172.30.0.1")) << "5.6.7.8 is the node's own now";
    EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("192.168.1.2:30080"))));
    EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("5.6.7.8:30080")));
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
