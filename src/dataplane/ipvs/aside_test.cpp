// What the kernel does not take, or somebody else has: left out alone, named, and tried again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/scene_testing.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using kernel::ipvs::Verb;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(IpvsAside, WhatWasSetAsideComesWhenItCan) {
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

TEST(IpvsAside, ExcludedAddressesAreNobodysBusiness) {
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

// One address that the kernel does not take is no reason to stop for all.
TEST(IpvsAside, AnAddressThatTheDeviceDoesNotTakeIsSetAside) {
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
TEST(IpvsAside, AnEndpointThatIpvsDoesNotTakeIsLeftOutAlone) {
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
TEST(IpvsAside, WhoLeftLeavesAlsoWhereSomethingElseIsRefused) {
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
TEST(IpvsAside, ANodePortGivesWayAndComesBack) {
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
TEST(IpvsAside, ANodePortComesWhereAnExternalIpIs) {
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
TEST(IpvsAside, ANodePortGoesWithoutTheAddressThatSomebodyElseHas) {
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

// It came between our look and our write: the node port has been at another address all the time.
TEST(IpvsAside, WhatSomebodyElseMadeMeanwhileGetsNothingOfOurs) {
    Scene scene;
    ASSERT_TRUE(scene.change({put(balanced()), put(web_slice({{"10.0.0.1"}}))}));
    plan::HostFacts host{ips({"127.0.0.1", "192.168.0.2", "192.168.50.1"})};
    scene.machine.links.add_address({"eth0", ip("192.168.50.1"), 32});
    static_cast<void>(scene.planner.set_host(host));
    kernel::ipvs::Service foreign;
    foreign.key = key("192.168.50.1", 30080);
    foreign.scheduler = "wlc";
    scene.machine.ipvs.add_foreign({foreign, {}});
    scene.machine.ipvs.leave_out(foreign.key, 2);
    OnMachine successor(scene.machine);
    const auto outcome = successor.reconcile(scene.planner.plan());
    ASSERT_TRUE(outcome) << outcome.error().message;
    ASSERT_THAT(outcome->set_aside, SizeIs(1));
    EXPECT_THAT(outcome->set_aside.front().reason, HasSubstr("192.168.50.1:30080 is there already and not ours"));
    const auto untouched = [&] {
        EXPECT_THAT(scene.machine.servers(), Contains("-A -t 192.168.50.1:30080 -s wlc\n"));
        EXPECT_THAT(scene.machine.servers(), Not(Contains(HasSubstr("192.168.50.1:30080 -r"))));
        EXPECT_THAT(scene.machine.servers(), Contains(HasSubstr("192.168.0.2:30080 -r 10.0.0.1:8080")));
    };
    untouched();
    const auto looked = successor.look_and_check(scene.planner.plan());
    ASSERT_TRUE(looked) << looked.error().message;
    EXPECT_EQ(looked->differences, 0U);
    untouched();
    OnMachine third(scene.machine);
    ASSERT_TRUE(third.reconcile(scene.planner.plan()));
    untouched();
    EXPECT_THAT(third.dataplane.set_aside(), SizeIs(1));
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
