#include "dataplane/nftables/counts.h"

#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/drift.h"
#include "dataplane/nftables/render.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace plan::testing;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

api::Service web(std::string name = "web", std::string_view cluster_ip = "172.30.0.41") {
    auto object =
        plan::testing::service(std::move(name), cluster_ip, {service_port("p", 80, net::Protocol::kTcp, 30080)});
    object.type = api::ServiceType::kNodePort;
    return object;
}
api::EndpointSlice endpoints(const std::vector<Ep>& addresses) {
    return slice("web", "web", {slice_port("p", 8080)}, addresses);
}
const Ep kOne{"10.180.0.1", "r", "test-node"};
const Ep kTwo{"10.180.0.2", "r", "test-node"};

Bytes key_of(const plan::DestinationKey& key) {
    const KeyBytes bytes = KeyBytes().destination(key);
    return {bytes.bytes().begin(), bytes.bytes().end()};
}
const plan::DestinationKey kAddress{false, ip("172.30.0.41"), net::Protocol::kTcp, 80};
const plan::DestinationKey kNodePort{true, net::IpAddress(net::Family::kIpv4), net::Protocol::kTcp, 30080};

// A dataplane that counts, with one Service.
struct Scene {
    Scene() { sync({put(web()), put(endpoints({kOne}))}); }
    void sync(const std::vector<api::Change>& changes) {
        const auto delta = planner.apply(changes);
        const auto done =
            place.dataplane.count_reader() && started ? place.apply(delta) : place.reconcile(planner.plan());
        ASSERT_TRUE(done) << done.error().message;
        started = true;
    }
    void meet(const plan::DestinationKey& key, kernel::nft::Count count) const {
        place.twin.packets_met(place.table, key.node_port ? "nodeport-counted" : "counted", key_of(key), count);
    }
    [[nodiscard]] std::vector<std::pair<std::string, std::pair<std::uint64_t, std::uint64_t>>> counts() const {
        const auto read = place.dataplane.count_reader()();
        if (!read) ADD_FAILURE() << read.error().message;
        std::vector<std::pair<std::string, std::pair<std::uint64_t, std::uint64_t>>> result;
        for (const auto& one : read->counts) result.push_back({one.key.text(), {one.packets, one.bytes}});
        return result;
    }
    NodePlanner planner;
    OnTwin place{net::Family::kIpv4, Limits{}, Counting::kOn};
    bool started = false;
};

TEST(Counts, OfEveryDestination) {
    const Scene scene;
    scene.meet(kAddress, {3, 300});
    scene.meet(kNodePort, {2, 120});
    EXPECT_THAT(scene.counts(), UnorderedElementsAre(Pair("172.30.0.41:80/TCP", Pair(3, 300)),
                                                     Pair("node port 30080/TCP", Pair(2, 120))));
}

TEST(Counts, StayWhileTheDestinationDoes) {
    Scene scene;
    scene.meet(kAddress, {3, 300});
    const auto expect = [&](std::uint64_t packets, const char* when) {
        EXPECT_THAT(scene.counts(), ::testing::Contains(Pair("172.30.0.41:80/TCP", Pair(packets, packets * 100))))
            << when;
    };
    scene.sync({put(endpoints({kOne, kTwo}))});
    expect(3, "another endpoint");
    scene.sync({put(endpoints({}))});
    expect(3, "no endpoint");
    auto object = web();
    object.affinity_seconds = 100;
    scene.sync({put(object), put(endpoints({kTwo}))});
    expect(3, "affinity");
    scene.sync({gone(object), put(web("heir"))});
    expect(3, "another owner");
    ASSERT_TRUE(scene.place.reconcile(scene.planner.plan()));
    expect(3, "a look at everything");
    scene.sync({gone(web("heir"))});
    EXPECT_THAT(scene.counts(), IsEmpty());
    scene.sync({put(web())});
    expect(0, "removed and added");
}

TEST(Counts, AForeignRemovalIsRepaired) {
    Scene scene;
    const auto& elements = scene.place.state().sets.at("counted").elements;
    ASSERT_EQ(elements.size(), 1U);
    const Bytes key = elements.begin()->first;
    const kernel::nft::Elements one{"counted", static_cast<std::uint16_t>(key.size()), 0, key};
    ASSERT_TRUE(scene.place.twin.written_by_another({scene.place.table, {kernel::nft::DeleteElements{one}}}));
    kernel::nft::ForeignWrite write;
    write.family = net::Family::kIpv4;
    write.elements.push_back({"counted", key, kernel::nft::Touched::How::kDeleted});
    const ForeignWrite told{net::Family::kIpv4, 1, "nft", "", std::make_shared<const kernel::nft::ForeignWrite>(write)};
    const auto repaired = scene.place.dataplane.repair(scene.planner.plan(), {&told, 1});
    ASSERT_TRUE(repaired) << repaired.error().message;
    EXPECT_THAT(repaired->examples, ElementsAre("counted lacks 172.30.0.41 . tcp . 80"));
    EXPECT_EQ(scene.counts().size(), 2U);
}

// Each start finds what the last one left, with the option or without.
TEST(Counts, ComeAndGoWithTheOption) {
    const Scene scene;
    scene.meet(kAddress, {3, 300});
    const auto plan = scene.planner.plan();
    const auto restart = [&](const OnTwin& before, Counting counting) {
        OnTwin place(net::Family::kIpv4, before.twin, Limits{}, counting);
        place.twin.reset_counters();
        EXPECT_TRUE(place.reconcile(plan));
        return place.twin;
    };
    OnTwin same(net::Family::kIpv4, restart(scene.place, Counting::kOn), Limits{}, Counting::kOn);
    EXPECT_EQ(same.state(), scene.place.state()) << "counts and all";
    OnTwin off(net::Family::kIpv4, restart(same, Counting::kOff));
    EXPECT_EQ(off.state(), freshly_replaced(plan)) << "no trace is left";
    EXPECT_FALSE(off.dataplane.count_reader());
    OnTwin on(net::Family::kIpv4, restart(off, Counting::kOn), Limits{}, Counting::kOn);
    EXPECT_EQ(on.state(), freshly_replaced(plan, Counting::kOn));
}

// KEP-6032: refused at localhost, counted by protocol, over starts.
TEST(Counts, NodePortsAtLocalhostThatAreNotRelayed) {
    auto settings = node_settings();
    settings.relayed_localhost = true;
    NodePlanner planner(net::Family::kIpv4, settings);
    static_cast<void>(planner.apply({put(web())}));
    OnTwin place(net::Family::kIpv4);
    ASSERT_TRUE(place.reconcile(planner.plan()));
    const auto& refused = place.state().sets.at("not-relayed").elements;
    ASSERT_EQ(refused.size(), 1U);
    place.twin.packets_met(place.table, "not-relayed", refused.begin()->first, {3, 300});
    OnTwin next(net::Family::kIpv4, place.twin);
    ASSERT_TRUE(next.reconcile(planner.plan()));
    const auto counts = read_packet_counts(next.twin, net::Family::kIpv4);
    ASSERT_TRUE(counts) << counts.error().message;
    ASSERT_EQ(counts->size(), 1U);
    EXPECT_EQ(counts->front().name, kLocalhostNodePortsRejected);
    EXPECT_EQ(counts->front().packets, 3U);
    EXPECT_EQ(counts->front().family, net::Family::kIpv4);
    EXPECT_EQ(counts->front().protocol, net::Protocol::kSctp);

    OnTwin without(net::Family::kIpv4);
    ASSERT_TRUE(without.reconcile(NodePlanner(net::Family::kIpv4).plan()));
    EXPECT_FALSE(without.state().sets.contains("not-relayed"));
    EXPECT_FALSE(read_packet_counts(without.twin, net::Family::kIpv4));
}

TEST(Counts, WhatCannotBeRead) {
    const OnTwin empty(net::Family::kIpv4, Limits{}, Counting::kOn);
    const auto before = empty.dataplane.count_reader()();
    ASSERT_TRUE(before) << before.error().message;
    EXPECT_THAT(before->counts, IsEmpty());
    EXPECT_FALSE(before->complete);

    const Scene scene;
    EXPECT_TRUE(scene.place.dataplane.count_reader()()->complete);
    scene.place.twin.interrupt_dumps(true);
    EXPECT_FALSE(scene.place.dataplane.count_reader()()->complete);
    scene.place.twin.interrupt_dumps(false);
    scene.place.twin.fail_call(2, ENOBUFS);
    const auto failed = scene.place.dataplane.count_reader()();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, ENOBUFS);
}

TEST(Counts, Rules) {
    NodePlanner planner;
    const auto text = render(planner.plan(), Counting::kOn);
    EXPECT_THAT(text, HasSubstr(R"(	chain count-nodeports {
		tcp sport != 0 meta l4proto . ct original proto-dst @nodeport-counted return
		udp length != 0 meta l4proto . ct original proto-dst @nodeport-counted return
		sctp sport != 0 meta l4proto . ct original proto-dst @nodeport-counted return
	}

	chain count-packets {
		tcp sport != 0 ct original ip daddr . meta l4proto . ct original proto-dst @counted return
		udp length != 0 ct original ip daddr . meta l4proto . ct original proto-dst @counted return
		sctp sport != 0 ct original ip daddr . meta l4proto . ct original proto-dst @counted return
		ct original ip daddr @nodeport-ips goto count-nodeports
	}
)"));
    EXPECT_THAT(text, HasSubstr(R"(	chain count-postrouting {
		type filter hook postrouting priority 102; policy accept;
		ct status dnat jump count-packets
	}

	chain count-input {
		type filter hook input priority 102; policy accept;
		ct status dnat iifname != "lo" jump count-packets
	}
)"));
    EXPECT_THAT(text, HasSubstr("\tset counted {\n\t\ttype ipv4_addr . inet_proto . inet_service\n\t\tcounter\n"));
    EXPECT_THAT(render(planner.plan()), Not(HasSubstr("count")));
    for (const auto& [family, line] :
         {std::pair(net::Family::kIpv4, "ct original ip daddr != 127.0.0.0/8 goto count-nodeports"),
          std::pair(net::Family::kIpv6, "ct original ip6 daddr != ::1 goto count-nodeports")}) {
        auto settings = node_settings();
        settings.node_port_ranges = plan::testing::cidrs({"0.0.0.0/0", "::/0"});
        EXPECT_THAT(render(NodePlanner(family, settings).plan(), Counting::kOn), HasSubstr(line));
    }
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
