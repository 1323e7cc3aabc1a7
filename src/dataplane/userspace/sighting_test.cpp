#include "dataplane/userspace/sighting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "plan/plan_testing.h"

namespace ghostip::dataplane::userspace {
namespace {

using namespace plan::testing;
using net::Protocol;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kOutside = "203.0.113.2";
constexpr std::uint16_t kRelayPort = 40000;

// A node whose rules and sockets are what a test says.
struct Scene {
    Scene() {
        auto web = service("web", "172.30.0.41",
                           {service_port("p", 80, Protocol::kTcp, 30080), service_port("u", 53, Protocol::kUdp, 30053),
                            service_port("s", 90, Protocol::kSctp)});
        web.type = api::ServiceType::kNodePort;
        web.external_traffic_policy = api::TrafficPolicy::kLocal;
        const auto ports = {slice_port("p", 8080), slice_port("u", 5353, Protocol::kUdp),
                            slice_port("s", 90, Protocol::kSctp)};
        static_cast<void>(planner.apply(
            {put(web), put(slice("web", "web", ports, {{"10.180.0.1", "r", "test-node"}, {"10.180.0.2"}})),
             put(service("empty", "172.30.0.44", {service_port("p", 80, Protocol::kTcp, 30081)}))}));
        plan = planner.plan();
        eyes.leads = [this](net::Family, const plan::Destination* destination) -> Result<Leads> {
            if (refused) return errno_error(EPERM, "ask");
            Leads found;
            found.rules = rules;
            if (destination != nullptr && rules) found.leads = leads;
            return found;
        };
        eyes.rules = [this](const plan::Plan& redirected, const plan::Journey& journey) -> Result<Sighting> {
            asked = {redirected, journey};
            return Sighting{{"rules"}, {}};
        };
        eyes.rules_profile = plan::nftables_profile;
        eyes.listeners_at = [this](const net::IpAddress& address, Protocol,
                                   std::uint16_t port) -> Result<std::vector<kernel::sockets::Listener>> {
            std::vector<kernel::sockets::Listener> there;
            for (const auto& one : listeners)
                if (one.port == port && (one.address == address || one.address.is_unspecified())) there.push_back(one);
            return there;
        };
        eyes.addresses = host_facts().addresses;
        std::sort(eyes.addresses.begin(), eyes.addresses.end());
        eyes.relay_mark = 0x10;
    }
    Result<Sighting> seen(std::string_view to, std::uint16_t port, Protocol protocol = Protocol::kTcp) {
        const plan::Explainer explainer(plan, plan::userspace_profile());
        return sight(eyes, plan, explainer.explain({ip(kOutside), ip(to), protocol, port, ""}));
    }
    Sighting of(std::string_view to, std::uint16_t port, Protocol protocol = Protocol::kTcp) {
        auto result = seen(to, port, protocol);
        return result ? *result : Sighting{{}, {result.error().message}};
    }

    struct Asked {
        plan::Plan plan;
        plan::Journey journey;
    };
    NodePlanner planner{net::Family::kIpv4, node_settings(), plan::userspace_profile()};
    plan::Plan plan;
    Eyes eyes;
    bool rules = true;
    bool refused = false;
    std::vector<Lead> leads{{plan::PoolScope::kCluster, ip("192.168.0.2"), kRelayPort},
                            {plan::PoolScope::kLocal, ip("192.168.0.2"), kRelayPort + 1}};
    std::vector<kernel::sockets::Listener> listeners{{ip("0.0.0.0"), kRelayPort, {{7, "ghostip"}}},
                                                     {ip("0.0.0.0"), kRelayPort + 1, {{7, "ghostip"}, {1, "systemd"}}}};
    Asked asked;
};

TEST(Sighting, FollowsTheRulesToAListener) {
    Scene scene;
    const auto cluster_ip = scene.of("172.30.0.41", 80);
    EXPECT_THAT(cluster_ip.differences, IsEmpty());
    EXPECT_THAT(cluster_ip.found,
                ElementsAre("rules", "0.0.0.0:40000/TCP: process 7 (ghostip) listens",
                            "so it is led to the listener \"redirected IPv4 TCP cluster\", as a client of ns/web:p"));
    const auto node_port = scene.of("192.168.0.2", 30053, Protocol::kUdp);
    EXPECT_THAT(node_port.differences, IsEmpty());
    EXPECT_THAT(node_port.found,
                ElementsAre("rules", "0.0.0.0:40001/UDP: process 7 (ghostip), process 1 (systemd) listens",
                            "so it is led to the listener \"redirected IPv4 UDP ns/web:u local\", as a client of "
                            "ns/web:u"));
}

// What the rules are compared with is what the dataplane would have them be, with the ports that they have.
TEST(Sighting, HoldsTheRulesAgainstThoseThatLeadToTheRelay) {
    Scene scene;
    static_cast<void>(scene.of("172.30.0.41", 80));
    EXPECT_EQ(scene.asked.plan.node.relay_mark, 0x10U);
    EXPECT_THAT(texts(scene.asked.journey.pool), ElementsAre("192.168.0.2:40000"));
    scene.leads.clear();
    static_cast<void>(scene.of("172.30.0.41", 80));
    EXPECT_THAT(texts(scene.asked.journey.pool), ElementsAre("192.168.0.2:0")) << "no port can be right";
    scene.leads = {{plan::PoolScope::kCluster, ip("192.168.0.2"), kRelayPort}};
    static_cast<void>(scene.of("172.30.0.41", 53, Protocol::kUdp));
    EXPECT_THAT(texts(scene.asked.journey.service_port->cluster), ElementsAre("192.168.0.2:40000"));
    EXPECT_THAT(scene.asked.journey.service_port->local, IsEmpty()) << "its port nobody can know from here";
    static_cast<void>(scene.of("172.30.0.41", 90, Protocol::kSctp));
    EXPECT_EQ(scene.asked.journey.pool.size(), 2U) << "the kernel's own";
}

TEST(Sighting, MissesTheRelay) {
    Scene scene;
    scene.listeners.clear();
    EXPECT_THAT(scene.of("172.30.0.41", 80).differences, ElementsAre(HasSubstr("where nobody listens")));
    EXPECT_THAT(scene.of("172.30.0.41", 90, Protocol::kSctp).differences, IsEmpty());
    EXPECT_THAT(scene.of("172.30.0.44", 80).differences, IsEmpty()) << "is refused by rules";
    scene.leads = {{plan::PoolScope::kCluster, ip("10.180.0.1"), 8080}};
    EXPECT_THAT(scene.of("172.30.0.41", 80).differences, ElementsAre(HasSubstr("no relay of this node")));
}

TEST(Sighting, WithoutRulesIsOfWhoeverListens) {
    Scene scene;
    scene.rules = false;
    EXPECT_THAT(scene.of("172.30.0.41", 80).differences, ElementsAre(HasSubstr("no rule for 172.30.0.41:80/TCP")));
    EXPECT_THAT(scene.of("192.168.0.2", 30080).differences, ElementsAre("nobody listens at 192.168.0.2:30080/TCP"));
    EXPECT_THAT(scene.of("192.168.0.2", 30081).differences, IsEmpty()) << "refused by the kernel itself";
    EXPECT_THAT(scene.of("172.30.0.41", 90, Protocol::kSctp).differences, ElementsAre(HasSubstr("SCTP")));
    EXPECT_THAT(scene.of("198.51.100.1", 80).differences, IsEmpty()) << "nobody's";
    scene.listeners = {{ip("192.168.0.2"), 30080, {{7, "ghostip"}}}, {ip("0.0.0.0"), 80, {{8, "other"}}}};
    const auto there = scene.of("192.168.0.2", 30080);
    EXPECT_THAT(there.differences, IsEmpty());
    EXPECT_THAT(there.found[1], "192.168.0.2:30080/TCP: process 7 (ghostip) listens");
    EXPECT_THAT(scene.of("198.51.100.1", 80).found, ElementsAre(HasSubstr("no rules")))
        << "not an address of this host";
}

// Who may not ask for rules sees sockets all the same; what they cannot tell is an error.
TEST(Sighting, ByAnOrdinaryUser) {
    Scene scene;
    scene.refused = true;
    EXPECT_EQ(scene.seen("172.30.0.41", 80).error().code, EPERM);
    EXPECT_THAT(scene.seen("192.168.0.2", 30080).error().message, HasSubstr("nobody listens"));
    scene.listeners = {{ip("0.0.0.0"), 30080, {}}};
    EXPECT_THAT(scene.seen("192.168.0.2", 30080).error().message, HasSubstr("another user's"));
    scene.listeners.front().processes = {{7, "ghostip"}};
    const auto there = scene.of("192.168.0.2", 30080);
    EXPECT_THAT(there.differences, IsEmpty());
    EXPECT_THAT(there.found, ElementsAre(HasSubstr("may not be looked at"), HasSubstr("process 7 (ghostip)")));
}

TEST(Sighting, OfLocalhostIsOfItsListener) {
    auto settings = node_settings();
    settings.relayed_localhost = true;
    Scene scene;
    NodePlanner planner(net::Family::kIpv4, settings, plan::userspace_profile());
    auto svc = service("svc", "172.30.0.1", {service_port("p", 80, Protocol::kTcp, 30080)});
    svc.type = api::ServiceType::kNodePort;
    static_cast<void>(planner.apply({put(svc), put(slice("svc", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}}))}));
    scene.plan = planner.plan();
    EXPECT_THAT(scene.of("127.0.0.1", 30080).differences, ElementsAre("nobody listens at 127.0.0.1:30080/TCP"));
    scene.listeners = {{ip("127.0.0.1"), 30080, {{7, "ghostip"}}}};
    EXPECT_THAT(scene.of("127.0.0.1", 30080).found, ElementsAre("127.0.0.1:30080/TCP: process 7 (ghostip) listens"));
}

}  // namespace
}  // namespace ghostip::dataplane::userspace
