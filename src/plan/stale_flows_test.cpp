#include "plan/stale_flows.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "plan/planner.h"
#include "plan/world_testing.h"

namespace ghostip::plan {
namespace {

using namespace testing;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using ::testing::UnorderedElementsAreArray;

// `10.0.0.1:53`; IPv4 will do.
AddressPort end(std::string_view text) {
    const auto colon = text.rfind(':');
    return {ip(text.substr(0, colon)), static_cast<std::uint16_t>(std::stoi(std::string(text.substr(colon + 1))))};
}

// `172.30.0.1:53 -> 10.180.0.1:53 10.180.0.2:53`
std::vector<std::string> lines(const StaleFlows& stale) {
    std::vector<std::string> result;
    for (const auto& [dialled, answerers] : stale.destinations()) {
        std::string line = net::host_port(dialled.address, dialled.port) + " ->";
        for (const auto& answerer : *answerers) line += " " + net::host_port(answerer.address, answerer.port);
        result.push_back(line);
    }
    return result;
}

api::Service dns(std::uint16_t node_port = 0) {
    auto s = service("dns", "172.30.0.1", {service_port("p", 53, net::Protocol::kUdp, node_port)});
    if (node_port != 0) s.type = api::ServiceType::kNodePort;
    return s;
}
api::EndpointSlice dns_slice(const std::vector<Ep>& endpoints) {
    return slice("dns-1", "dns", {slice_port("p", 5353, net::Protocol::kUdp)}, endpoints);
}

// A planner and the finder behind it, which has seen what the planner was told so far.
struct Follower {
    NodePlanner planner;
    StaleFlowFinder finder;

    // NodePlanner has taken the node's delta for itself: an empty change gives nothing, so the plan makes up for it.
    Follower() { static_cast<void>(finder.next(everything(planner.plan()))); }
    std::vector<std::string> operator()(const std::vector<api::Change>& changes) {
        return lines(finder.next(planner.apply(changes)));
    }
};

TEST(StaleFlows, EndpointsComeAndGo) {
    Follower follow;
    EXPECT_THAT(follow({put(dns()), put(dns_slice({{"10.180.0.1"}, {"10.180.0.2"}}))}),
                UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.1:5353 10.180.0.2:5353"));
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.2"}, {"10.180.0.3"}}))}),
                UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.2:5353 10.180.0.3:5353"))
        << "one left";
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.2", "st"}, {"10.180.0.3"}}))}), IsEmpty())
        << "one gets no new flows, but serves";
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.2", "st", "other"}, {"10.180.0.3", "r", "test-node"}}))}), IsEmpty())
        << "where they are does not matter";
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.2", "t"}, {"10.180.0.3"}}))}),
                UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.3:5353"))
        << "one serves no more";
    EXPECT_THAT(follow({gone(dns_slice({}))}), UnorderedElementsAre("172.30.0.1:53 ->")) << "to zero";
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.3"}}))}), UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.3:5353"))
        << "back from zero";
    EXPECT_THAT(follow({gone(dns())}), UnorderedElementsAre("172.30.0.1:53 ->")) << "the Service goes, its slice stays";
}

TEST(StaleFlows, PoliciesAndAffinityChangeNothing) {
    Follower follow;
    auto s = dns(30053);
    s.external_ips = ips({"1.2.3.4"});
    static_cast<void>(
        follow({put(s), put(dns_slice({{"10.180.0.1", "r", "other"}, {"10.180.0.2", "r", "test-node"}}))}));
    s.external_traffic_policy = api::TrafficPolicy::kLocal;
    s.internal_traffic_policy = api::TrafficPolicy::kLocal;
    s.affinity_seconds = 100;
    EXPECT_THAT(follow({put(s)}), IsEmpty());
}

TEST(StaleFlows, OtherProtocolsAreNotMentioned) {
    Follower follow;
    const auto both = [](const std::vector<Ep>& endpoints) {
        return slice("web-1", "web", {slice_port("t", 8080), slice_port("s", 8080, net::Protocol::kSctp)}, endpoints);
    };
    EXPECT_THAT(
        follow({put(service("web", "172.30.0.2", {service_port("t", 80), service_port("s", 80, net::Protocol::kSctp)})),
                put(both({{"10.180.0.1"}}))}),
        IsEmpty());
    EXPECT_THAT(follow({put(both({{"10.180.0.2"}}))}), IsEmpty());
    for (const auto& [name, planned] : follow.planner.plan().service_ports) EXPECT_THAT(planned->serving, IsEmpty());
}

TEST(StaleFlows, AddressesAndNodePortsChange) {
    Follower follow;
    auto s = dns(30053);
    s.external_ips = ips({"1.2.3.4"});
    static_cast<void>(follow({put(s), put(dns_slice({{"10.180.0.1"}}))}));
    s.external_ips = ips({"1.2.3.5"});
    EXPECT_THAT(follow({put(s)}), UnorderedElementsAre("1.2.3.4:53 ->", "1.2.3.5:53 -> 10.180.0.1:5353"));
    s.ports[0].node_port = 30054;
    EXPECT_THAT(follow({put(s)}), UnorderedElementsAre("192.168.0.2:30053 ->", "192.168.0.2:30054 -> 10.180.0.1:5353"))
        << "on the one address that accepts node ports";
    s.ports[0].port = 54;
    EXPECT_THAT(follow({put(s)}), UnorderedElementsAre("172.30.0.1:53 ->", "172.30.0.1:54 -> 10.180.0.1:5353",
                                                       "1.2.3.5:53 ->", "1.2.3.5:54 -> 10.180.0.1:5353"));
}

TEST(StaleFlows, ADestinationIsTakenOver) {
    Follower follow;
    auto s = dns();
    s.external_ips = ips({"1.2.3.4"});
    auto heir = service("heir", "172.30.0.9", {service_port("p", 53, net::Protocol::kUdp)});
    heir.external_ips = ips({"1.2.3.4"});
    const auto heir_slice = slice("heir-1", "heir", {slice_port("p", 5353, net::Protocol::kUdp)}, {{"10.180.0.7"}});
    static_cast<void>(follow({put(s), put(dns_slice({{"10.180.0.1"}})), put(heir), put(heir_slice)}));
    EXPECT_THAT(follow({gone(s)}), UnorderedElementsAre("172.30.0.1:53 ->", "1.2.3.4:53 -> 10.180.0.7:5353"));
}

TEST(StaleFlows, AnAddressOfItsOwnComesBeforeANodePort) {
    Follower follow;
    auto owner = service("owner", "172.30.0.9", {service_port("p", 30053, net::Protocol::kUdp)});
    owner.external_ips = ips({"192.168.0.2"});
    const auto owner_slice = slice("owner-1", "owner", {slice_port("p", 5353, net::Protocol::kUdp)}, {{"10.180.0.7"}});
    static_cast<void>(follow({put(owner), put(owner_slice), put(dns(30053)), put(dns_slice({{"10.180.0.1"}}))}));
    EXPECT_THAT(follow({put(dns_slice({{"10.180.0.2"}}))}), UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.2:5353"));
    EXPECT_THAT(follow({gone(owner)}),
                UnorderedElementsAre("172.30.0.9:30053 ->", "192.168.0.2:30053 -> 10.180.0.2:5353"));
}

TEST(StaleFlows, AddressesOfTheNodeComeAndGo) {
    auto settings = node_settings();
    settings.node_port_ranges = cidrs({"0.0.0.0/0"});
    Planner planner(net::Family::kIpv4, settings, nftables_profile(), HostFacts{ips({"127.0.0.1", "192.168.0.2"})});
    StaleFlowFinder finder;
    EXPECT_THAT(lines(finder.next(planner.apply({put(dns(30053)), put(dns_slice({{"10.180.0.1"}}))}))),
                UnorderedElementsAre("172.30.0.1:53 -> 10.180.0.1:5353", "192.168.0.2:30053 -> 10.180.0.1:5353"))
        << "not on loopback";
    EXPECT_THAT(lines(finder.next(planner.set_host({ips({"127.0.0.1", "192.168.0.2", "192.168.7.7"})}))),
                UnorderedElementsAre("192.168.7.7:30053 -> 10.180.0.1:5353"));
    EXPECT_THAT(lines(finder.next(planner.set_host({ips({"127.0.0.1", "192.168.7.7"})}))),
                UnorderedElementsAre("192.168.0.2:30053 ->"));
    EXPECT_THAT(lines(finder.next(planner.apply({gone(dns())}))),
                UnorderedElementsAre("172.30.0.1:53 ->", "192.168.7.7:30053 ->"));
}

TEST(StaleFlows, JudgesAFlowByWhoAnswers) {
    Follower follow;
    static_cast<void>(follow({put(dns()), put(dns_slice({{"10.180.0.1"}, {"172.30.0.1"}}))}));
    const auto stale = check_everything(follow.planner.plan());
    EXPECT_FALSE(stale.contains(end("172.30.0.1:53"), end("10.180.0.1:5353")));
    EXPECT_TRUE(stale.contains(end("172.30.0.1:53"), end("10.180.0.1:53"))) << "another port";
    EXPECT_TRUE(stale.contains(end("172.30.0.1:53"), end("10.180.0.2:5353"))) << "none of ours";
    EXPECT_TRUE(stale.contains(end("172.30.0.1:53"), end("172.30.0.1:53"))) << "never translated";
    EXPECT_FALSE(stale.contains(end("172.30.0.1:54"), end("10.180.0.2:5353"))) << "not a destination of ours";
    EXPECT_FALSE(stale.contains(end("8.8.8.8:53"), end("8.8.8.8:53")));
}

TEST(StaleFlows, AnEndpointMayBeTheDestinationItself) {
    Follower follow;
    auto s = dns();
    s.ports[0].port = 5353;
    s.external_ips = ips({"10.180.0.1"});
    static_cast<void>(follow({put(s), put(dns_slice({{"10.180.0.1"}}))}));
    EXPECT_FALSE(check_everything(follow.planner.plan()).contains(end("10.180.0.1:5353"), end("10.180.0.1:5353")));
}

TEST(StaleFlows, MergingKeepsTheLaterWord) {
    const auto answerers = [](std::vector<AddressPort> ends) {
        return std::make_shared<const std::vector<AddressPort>>(std::move(ends));
    };
    StaleFlows stale;
    stale.set(end("1.1.1.1:53"), answerers({end("10.0.0.1:53")}));
    stale.set(end("2.2.2.2:53"), answerers({}));
    StaleFlows later;
    later.set(end("2.2.2.2:53"), answerers({end("10.0.0.2:53")}));
    later.set(end("3.3.3.3:53"), answerers({}));
    stale.merge(later);
    EXPECT_THAT(lines(stale),
                UnorderedElementsAre("1.1.1.1:53 -> 10.0.0.1:53", "2.2.2.2:53 -> 10.0.0.2:53", "3.3.3.3:53 ->"));
    StaleFlows empty;
    empty.merge(stale);
    EXPECT_THAT(lines(empty), UnorderedElementsAreArray(lines(stale)));
}

// --- the same, counted the slow way ---

using Truth = std::map<AddressPort, std::set<AddressPort>>;

// Who may answer at each destination of a whole plan.
Truth truth_of(const Plan& plan) {
    std::vector<net::IpAddress> addresses = plan.node.node_ports.addresses;
    if (plan.node.node_ports.all)
        for (const auto& address : plan.node.addresses)
            if (!address.is_loopback()) addresses.push_back(address);
    Truth truth;
    for (const bool node_ports : {true, false})  // an address of its own has the last word
        for (const auto& [name, port] : plan.service_ports)
            for (const auto& destination : port->destinations) {
                const auto& key = destination.key;
                if (key.protocol != net::Protocol::kUdp || key.node_port != node_ports) continue;
                const std::set<AddressPort> answerers(port->serving.begin(), port->serving.end());
                if (!node_ports) truth[{key.address, key.port}] = answerers;
                if (node_ports)
                    for (const auto& address : addresses) truth[{address, key.port}] = answerers;
            }
    return truth;
}

Truth as_truth(const StaleFlows& stale) {
    Truth truth;
    for (const auto& [dialled, answerers] : stale.destinations()) {
        RC_ASSERT(std::is_sorted(answerers->begin(), answerers->end()));
        truth[dialled] = {answerers->begin(), answerers->end()};
        RC_ASSERT(truth[dialled].size() == answerers->size());  // each once
    }
    return truth;
}

// What differs between two plans, with what holds after.
Truth difference(const Truth& before, const Truth& after) {
    Truth result;
    for (const auto& [dialled, answerers] : before)
        if (!after.contains(dialled)) result[dialled] = {};
    for (const auto& [dialled, answerers] : after)
        if (const auto was = before.find(dialled); was == before.end() || was->second != answerers)
            result[dialled] = answerers;
    return result;
}

RC_GTEST_PROP(StaleFlowsProperties, EachDeltaNamesWhatDiffers,
              (const std::vector<Command>& commands, std::uint32_t seed)) {
    World world(*rc::gen::element(net::Family::kIpv4, net::Family::kIpv6), seed);
    Planner planner(world.family(), world.settings(), nftables_profile(), world.host());
    StaleFlowFinder finder;
    StaleFlows merged;
    Truth before;
    const auto step = [&](const Delta& delta) {
        auto stale = finder.next(delta);
        const Plan plan = planner.plan();
        const Truth after = truth_of(plan);
        RC_ASSERT(as_truth(stale) == difference(before, after));
        RC_ASSERT(as_truth(check_everything(plan)) == after);
        // Whatever a slow worker has not done yet says what holds now, and nobody of those who left.
        merged.merge(std::move(stale));
        for (const auto& [dialled, answerers] : as_truth(merged)) {
            const auto now = after.find(dialled);
            RC_ASSERT(answerers == (now == after.end() ? std::set<AddressPort>{} : now->second));
        }
        before = after;
    };
    std::vector<api::Change> batch;
    for (const auto& command : commands) {
        if (auto change = world.change(command))
            batch.push_back(std::move(*change));
        else
            step(planner.set_host(world.host()));
        if (command.ends_batch) step(planner.apply(std::exchange(batch, {})));
    }
    step(planner.apply(batch));
}

// What `serving` is made of: every endpoint of the service port that has the condition.
RC_GTEST_PROP(StaleFlowsProperties, ServingIsAllThatServe, (const std::vector<Command>& commands, std::uint32_t seed)) {
    World world(*rc::gen::element(net::Family::kIpv4, net::Family::kIpv6), seed);
    Planner planner(world.family(), world.settings(), nftables_profile(), world.host());
    std::vector<api::Change> changes;
    for (const auto& command : commands)
        if (auto change = world.change(command)) changes.push_back(std::move(*change));
    static_cast<void>(planner.apply(changes));
    for (const auto& [name, port] : planner.plan().service_ports) {
        Slices slices;
        for (const auto& [key, object] : world.objects())
            if (const auto* found = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object))
                if ((*found)->namespace_ == name.service.namespace_ && (*found)->service_name == name.service.name &&
                    (*found)->address_type ==
                        (world.family() == net::Family::kIpv4 ? api::AddressType::kIpv4 : api::AddressType::kIpv6))
                    slices.push_back(*found);
        std::vector<AddressPort> expected;
        if (name.protocol == net::Protocol::kUdp)
            for (const auto& candidate : candidates(slices, name.port, name.protocol, "test-node"))
                if (candidate.serving) expected.push_back({candidate.endpoint.address, candidate.endpoint.port});
        std::sort(expected.begin(), expected.end());
        RC_ASSERT(port->serving == expected);
    }
}

}  // namespace
}  // namespace ghostip::plan
