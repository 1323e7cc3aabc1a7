#include "dataplane/userspace/redirects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "plan/world_testing.h"

namespace ghostip::dataplane::userspace {
namespace {

using namespace plan::testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::uint32_t kMark = 0x10;

// TCP shares two; UDP has one of its own for each name.
std::optional<RelayPorts> ports(const plan::ServicePortPlan& plan) {
    if (plan.name.protocol == net::Protocol::kTcp) return RelayPorts{1, 2};
    const auto own = static_cast<std::uint16_t>(1000 + std::hash<plan::ServicePortName>{}(plan.name) % 10000);
    return RelayPorts{own, static_cast<std::uint16_t>(own + 10000)};
}

struct Scene {
    Scene() { redirects.reset(planner.plan()); }
    plan::Delta change(const std::vector<api::Change>& changes) { return redirects.apply(planner.apply(changes)); }
    const plan::ServicePortPlan& only() const { return *redirects.plan().service_ports.begin()->second; }

    NodePlanner planner{net::Family::kIpv4, node_settings(), plan::userspace_profile()};
    Redirects redirects{net::Family::kIpv4, kMark, ports};
};

TEST(Redirects, PutOneAddressInThePlaceOfAPool) {
    Scene scene;
    auto svc = service("web", "172.30.0.41", {service_port("p", 80, net::Protocol::kTcp, 30080)});
    svc.type = api::ServiceType::kNodePort;
    svc.external_traffic_policy = api::TrafficPolicy::kLocal;
    static_cast<void>(scene.change({put(svc), put(slice("s", "web", {slice_port("p", 8080)},
                                                        {{"10.180.0.1", "r", "test-node"}, {"10.180.2.1"}}))}));
    const auto& one = scene.only();
    EXPECT_THAT(texts(one.cluster), ElementsAre("192.168.0.2:1"));
    EXPECT_THAT(texts(one.local), ElementsAre("192.168.0.2:2"));
    ASSERT_EQ(one.destinations.size(), 2U);
    for (const auto& destination : one.destinations)
        for (const auto& treatment : destination.treatments) {
            EXPECT_EQ(treatment.action, plan::Action::kBalance);
            EXPECT_FALSE(treatment.masquerade) << destination.key.text();
        }
    EXPECT_EQ(one.destinations[1].treatment(plan::SourceClass::kOutside).pool, plan::PoolScope::kLocal);
    EXPECT_EQ(scene.redirects.plan().node.relay_mark, kMark);
    EXPECT_THAT(scene.redirects.plan().hairpins, IsEmpty());
}

TEST(Redirects, AreNotChangedByEndpointsThatComeAndGo) {
    Scene scene;
    const auto with = [](const std::vector<Ep>& endpoints) {
        return put(slice("s", "web", {slice_port("p", 8080)}, endpoints));
    };
    static_cast<void>(scene.change(
        {put(service("web", "172.30.0.41", {service_port("p", 80)})), with({{"10.180.0.1"}, {"10.180.2.1"}})}));
    EXPECT_TRUE(scene.change({with({{"10.180.2.1"}, {"10.180.2.2"}, {"10.180.2.3"}})}).empty());
    const auto none = scene.change({with({})});
    ASSERT_EQ(none.service_ports.size(), 1U);
    EXPECT_EQ(none.service_ports[0].after->destinations[0].treatments[0].action, plan::Action::kReject);
    EXPECT_THAT(none.service_ports[0].after->cluster, IsEmpty());
}

TEST(Redirects, LeaveSctpToTheKernel) {
    Scene scene;
    static_cast<void>(scene.change(
        {put(service("web", "172.30.0.41", {service_port("p", 80, net::Protocol::kSctp)})),
         put(slice("s", "web", {slice_port("p", 8080, net::Protocol::kSctp)}, {{"10.180.0.1", "r", "test-node"}}))}));
    EXPECT_THAT(texts(scene.only().cluster), ElementsAre("10.180.0.1:8080"));
    EXPECT_EQ(scene.redirects.plan().hairpins.size(), 1U);
}

TEST(Redirects, OfUdpLeadToAPortOfTheirOwnWhichAnswersForTheirFlows) {
    Scene scene;
    static_cast<void>(
        scene.change({put(service("dns", "172.30.0.10", {service_port("p", 53, net::Protocol::kUdp)})),
                      put(slice("s", "dns", {slice_port("p", 53, net::Protocol::kUdp)}, {{"10.180.0.1"}}))}));
    const auto& one = scene.only();
    ASSERT_EQ(one.cluster.size(), 1U);
    const plan::AddressPort relay{one.cluster[0].address, one.cluster[0].port};
    EXPECT_THAT(one.serving, UnorderedElementsAre(relay, plan::AddressPort{ip("10.180.0.1"), 53}))
        << "what another mode led to the endpoint goes on";
    EXPECT_GE(one.cluster[0].port, 1000);
    EXPECT_TRUE(one.only_translated) << "who was not led there is not served";
}

TEST(Redirects, AreLeftOutWhereNobodyListens) {
    NodePlanner planner(net::Family::kIpv4, node_settings(), plan::userspace_profile());
    bool listens = false;
    Redirects redirects(net::Family::kIpv4, kMark, [&](const auto& plan) -> std::optional<RelayPorts> {
        return listens ? ports(plan) : std::nullopt;
    });
    static_cast<void>(planner.apply({put(service("web", "172.30.0.41", {service_port("p", 80)})),
                                     put(slice("s", "web", {slice_port("p", 8080)}, {{"10.180.0.1"}}))}));
    EXPECT_THAT(redirects.reset(planner.plan()).service_ports, IsEmpty());
    listens = true;
    const auto later = redirects.apply(
        planner.apply({put(slice("s", "web", {slice_port("p", 8080)}, {{"10.180.0.1"}, {"10.180.0.2"}}))}));
    ASSERT_EQ(later.service_ports.size(), 1U);
    EXPECT_EQ(later.service_ports[0].before, nullptr);
}

TEST(Redirects, FollowTheNodesAddress) {
    Scene scene;
    static_cast<void>(scene.change({put(service("web", "172.30.0.41", {service_port("p", 80)})),
                                    put(slice("s", "web", {slice_port("p", 8080)}, {{"10.180.0.1"}}))}));
    auto host = host_facts();
    std::erase(host.addresses, ip("192.168.0.2"));
    const auto moved = scene.redirects.apply(scene.planner.set_host(host));
    ASSERT_EQ(moved.service_ports.size(), 1U);
    EXPECT_THAT(texts(moved.service_ports[0].after->cluster), ElementsAre("192.168.1.2:1"));
}

TEST(Redirects, ChooseAnAddressThatAnInterfaceHas) {
    plan::NodeRules node;
    node.addresses = ips({"127.0.0.1", "169.254.0.7", "192.168.1.2", "192.168.99.11"});
    EXPECT_EQ(redirect_address(node, net::Family::kIpv4), ip("192.168.1.2"));
    node.node_ip = ip("203.0.113.9");  // a cloud's, that no interface has
    EXPECT_EQ(redirect_address(node, net::Family::kIpv4), ip("192.168.1.2"));
    node.node_ip = ip("192.168.99.11");
    EXPECT_EQ(redirect_address(node, net::Family::kIpv4), ip("192.168.99.11"));
    EXPECT_EQ(redirect_address({}, net::Family::kIpv6), ip("::1"));
}

RC_GTEST_PROP(RedirectsProperty, DeltasLeadWhereThePlanDoes, (std::vector<Command> commands, std::uint32_t seed)) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    plan::Planner planner(world.family(), world.settings(), plan::userspace_profile(), world.host());
    static_cast<void>(planner.apply({}));
    Redirects redirects(world.family(), kMark, ports);
    auto followed = redirects.reset(planner.plan());
    for (const auto& command : commands) {
        const auto change = world.change(command);
        const auto delta = redirects.apply(change ? planner.apply({*change}) : planner.set_host(world.host()));
        for (const auto& one : delta.service_ports) {
            const auto& name = one.before ? one.before->name : one.after->name;
            const auto known = followed.service_ports.find(name);
            RC_ASSERT((known == followed.service_ports.end()) == (one.before == nullptr));
            if (one.before) RC_ASSERT(*known->second == *one.before);
        }
        followed.apply(delta);
    }
    Redirects fresh(world.family(), kMark, ports);
    RC_ASSERT(followed == fresh.reset(planner.plan()));
    RC_ASSERT(redirects.plan() == fresh.plan());
}

}  // namespace
}  // namespace ghostip::dataplane::userspace
