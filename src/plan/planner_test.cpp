#include "plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Family;
using net::Protocol;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

api::Service web(std::string name = "web", std::string_view cluster_ip = "172.30.0.41") {
    return service(std::move(name), cluster_ip, {service_port("p", 80)});
}
api::EndpointSlice web_slice(const std::vector<Ep>& endpoints, std::string service_name = "web",
                             std::string name = "web-1") {
    return slice(std::move(name), std::move(service_name), {slice_port("p", 8080)}, endpoints);
}

ServicePortPlanPtr find(const Plan& plan, std::string_view text) {
    for (const auto& [name, service_port] : plan.service_ports)
        if (name.text() == text) return service_port;
    return nullptr;
}

// `web: 172.30.0.41:80/TCP`, for every destination that somebody owns.
std::vector<std::string> owners(const Plan& plan) {
    std::vector<std::string> result;
    for (const auto& [name, service_port] : plan.service_ports)
        for (const auto& destination : service_port->destinations)
            result.push_back(name.service.name + ": " + destination.key.text());
    return result;
}

std::vector<std::string> hairpins(const std::vector<Hairpin>& all) {
    std::vector<std::string> result;
    for (const auto& hairpin : all) result.push_back(net::host_port(hairpin.address, hairpin.port));
    return result;
}

TEST(Planner, TheFirstCallYieldsTheNodeRules) {
    Planner planner(Family::kIpv4, node_settings(), nftables_profile(), host_facts());
    const auto first = planner.apply({});
    ASSERT_TRUE(first.node_rules);
    EXPECT_EQ(first.node_rules->after.detector.cidr.text(), "10.0.0.0/8");
    EXPECT_TRUE(planner.apply({}).empty());
}

TEST(Planner, ExternalIpsGetNothingWhereTheyAreSwitchedOff) {
    auto object = web();
    object.external_ips = ips({"1.2.3.4"});
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    object.internal_traffic_policy = api::TrafficPolicy::kLocal;
    const auto endpoints = web_slice({{"10.180.0.1", "r", "test-node"}, {"10.180.2.1", "r", "other"}});
    for (const bool served : {true, false}) {
        auto settings = node_settings();
        settings.serve_external_ips = served;
        Planner planner(Family::kIpv4, settings, nftables_profile(), host_facts());
        (void)planner.apply({put(object), put(endpoints)});
        const auto plan = planner.plan();
        if (served)
            EXPECT_THAT(owners(plan), UnorderedElementsAre("web: 172.30.0.41:80/TCP", "web: 1.2.3.4:80/TCP"));
        else
            EXPECT_THAT(owners(plan), ElementsAre("web: 172.30.0.41:80/TCP"));
        // It counts as reachable from outside all the same, for which the endpoints elsewhere are kept.
        EXPECT_EQ(find(plan, "ns/web:p")->cluster.size(), 2U) << served;
    }
}

TEST(Planner, OneServiceComesChangesAndGoes) {
    NodePlanner planner;
    const auto came =
        planner.apply({put(web()), put(web_slice({{"10.180.0.1", "r", "test-node"}, {"10.180.2.1", "r", "other"}}))});
    ASSERT_EQ(came.service_ports.size(), 1U);
    EXPECT_EQ(came.service_ports[0].before, nullptr);
    EXPECT_THAT(texts(came.service_ports[0].after->cluster), ElementsAre("10.180.0.1:8080", "10.180.2.1:8080"));
    EXPECT_THAT(texts(came.cluster_ips_added), ElementsAre("172.30.0.41"));
    EXPECT_THAT(hairpins(came.hairpins_added), ElementsAre("10.180.0.1:8080"));
    EXPECT_FALSE(came.node_rules);

    const auto changed =
        planner.apply({put(web_slice({{"10.180.0.2", "r", "test-node"}, {"10.180.2.1", "r", "other"}}))});
    ASSERT_EQ(changed.service_ports.size(), 1U);
    EXPECT_THAT(changed.destinations(), IsEmpty());
    ASSERT_EQ(changed.pools().size(), 1U);
    EXPECT_EQ(changed.pools()[0].scope, PoolScope::kCluster);
    EXPECT_THAT(hairpins(changed.hairpins_added), ElementsAre("10.180.0.2:8080"));
    EXPECT_THAT(hairpins(changed.hairpins_removed), ElementsAre("10.180.0.1:8080"));
    EXPECT_THAT(changed.cluster_ips_added, IsEmpty());
    EXPECT_THAT(changed.cluster_ips_removed, IsEmpty());

    const auto went = planner.apply({gone(web())});
    ASSERT_EQ(went.service_ports.size(), 1U);
    EXPECT_EQ(went.service_ports[0].after, nullptr);
    EXPECT_THAT(texts(went.cluster_ips_removed), ElementsAre("172.30.0.41"));
    EXPECT_THAT(hairpins(went.hairpins_removed), ElementsAre("10.180.0.2:8080"));

    EXPECT_TRUE(planner.apply({gone(web_slice({}))}).empty());
    EXPECT_EQ(planner.plan().service_ports.size(), 0U);
}

// Case 43 and its like: what does not change the plan yields nothing, what does yields just that.
TEST(Planner, DeltasHoldOnlyWhatChanged) {
    const api::EndpointSlice before =
        slice("s", "web", {slice_port("p", 80), slice_port("q", 443)}, {{"10.0.0.1"}, {"10.0.0.2"}});
    struct Case {
        const char* name;
        std::function<api::Change()> change;
        std::vector<std::string> changed;
    };
    const auto altered = [&](const std::function<void(api::EndpointSlice&)>& alter) {
        return [before, alter] {
            api::EndpointSlice copy = before;
            alter(copy);
            return put(copy);
        };
    };
    const Case cases[] = {
        {"identical", altered([](auto&) {}), {}},
        {"ports reordered", altered([](auto& s) { std::swap(s.ports[0], s.ports[1]); }), {}},
        {"endpoints reordered", altered([](auto& s) { std::swap(s.endpoints[0], s.endpoints[1]); }), {}},
        {"a port removed", altered([](auto& s) { s.ports.pop_back(); }), {"ns/web:q"}},
        {"a port that nobody asks for", altered([](auto& s) { s.ports.push_back(slice_port("r", 99)); }), {}},
        {"a port renumbered", altered([](auto& s) { s.ports[0].port = 81; }), {"ns/web:p"}},
        {"an endpoint added",
         altered([](auto& s) { s.endpoints.push_back({ip("10.0.0.3")}); }),
         {"ns/web:p", "ns/web:q"}},
        {"an endpoint unready", altered([](auto& s) { s.endpoints[0].ready = false; }), {"ns/web:p", "ns/web:q"}},
        {"a hint that changes nothing here",
         altered([](auto& s) {
             s.hints = {{{"zone"}, {}}};
             s.endpoints[0].hints = 0;
         }),
         {}},
        {"a slice of another type",
         altered([](auto& s) { s.address_type = api::AddressType::kOther; }),
         {"ns/web:p", "ns/web:q"}},
        {"a slice that belongs to nobody any more",
         altered([](auto& s) { s.service_name.clear(); }),
         {"ns/web:p", "ns/web:q"}},
        {"a slice of another service",
         altered([](auto& s) { s.service_name = "mail"; }),
         {"ns/mail:p", "ns/web:p", "ns/web:q"}},
        {"an unknown slice removed", [] { return gone(slice("unknown", "web", {}, {})); }, {}},
        {"an unknown service removed", [] { return gone(service("unknown", "172.30.0.99", {})); }, {}},
    };
    for (const auto& c : cases) {
        NodePlanner planner;
        static_cast<void>(
            planner.apply({put(service("web", "172.30.0.41", {service_port("p", 80), service_port("q", 443)})),
                           put(service("mail", "172.30.0.42", {service_port("p", 25)})), put(before)}));
        const Delta delta = planner.apply({c.change()});
        std::vector<std::string> changed;
        for (const auto& change : delta.service_ports)
            changed.push_back((change.after ? change.after : change.before)->name.text());
        std::sort(changed.begin(), changed.end());
        EXPECT_EQ(changed, c.changed) << c.name;
        EXPECT_EQ(delta.empty(), c.changed.empty()) << c.name;
    }
}

// Cases 35, 39 and 61 as far as they show here.
TEST(Planner, TheLaterVersionCounts) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}, {"10.0.0.3"}})),
                                     put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}, {"10.0.0.3"}, {"10.0.0.4"}})),
                                     put(slice("other", "mail", {slice_port("p", 8080)}, {{"10.0.0.9"}}))}));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->cluster.size(), 4U);
    EXPECT_TRUE(
        planner.apply({put(web_slice({})), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}, {"10.0.0.3"}, {"10.0.0.4"}}))})
            .empty())
        << "gone and back before anybody looked";
}

TEST(Planner, HealthChecksComeAndGoWithThePolicy) {
    auto load_balancer = service("web", "172.30.0.41", {service_port("p", 80), service_port("q", 81)});
    load_balancer.type = api::ServiceType::kLoadBalancer;
    load_balancer.load_balancer_vips = {ip("1.2.3.4")};
    load_balancer.external_traffic_policy = api::TrafficPolicy::kLocal;
    load_balancer.health_check_node_port = 345;
    const auto cluster_ip = service("web", "172.30.0.41", {service_port("p", 80), service_port("q", 81)});

    NodePlanner planner;
    const auto checks = [&](const api::Change& change) {
        const Delta delta = planner.apply({change});
        EXPECT_EQ(planner.plan().service_ports.size(), 2U);
        return delta.health_checks.size();
    };
    EXPECT_EQ(checks(put(cluster_ip)), 0U);
    EXPECT_EQ(checks(put(load_balancer)), 1U);
    EXPECT_EQ(checks(put(load_balancer)), 0U) << "the same again";
    EXPECT_EQ(planner.plan().health_checks.size(), 1U);
    EXPECT_EQ(checks(put(cluster_ip)), 1U);
    EXPECT_EQ(planner.plan().health_checks.size(), 0U);
}

// Case 51 and 90: distinct addresses, ready, on this node, over all ports.
TEST(Planner, HealthChecksCountLocalReadyAddresses) {
    struct Case {
        const char* name;
        std::vector<Ep> endpoints;
        std::uint32_t count;
    };
    const Case cases[] = {
        {"nobody", {}, 0},
        {"remote only", {{"10.0.0.1", "r", "other"}}, 0},
        {"one here", {{"10.0.0.1", "r", "test-node"}}, 1},
        {"two here, one there",
         {{"10.0.0.1", "r", "test-node"}, {"10.0.0.2", "r", "test-node"}, {"10.0.0.3", "r", "other"}},
         2},
        {"unready and terminating do not count",
         {{"10.0.0.1", "u", "test-node"}, {"10.0.0.2", "st", "test-node"}, {"10.0.0.3", "t", "test-node"}},
         0},
    };
    for (const auto& c : cases) {
        auto object = service("web", "172.30.0.41", {service_port("p", 80), service_port("q", 81)});
        object.type = api::ServiceType::kLoadBalancer;
        object.external_traffic_policy = api::TrafficPolicy::kLocal;
        object.health_check_node_port = 345;
        NodePlanner planner;
        static_cast<void>(planner.apply(
            {put(object), put(slice("s", "web", {slice_port("p", 80), slice_port("q", 81)}, c.endpoints))}));
        const auto checks = planner.plan().health_checks;
        ASSERT_EQ(checks.size(), 1U) << c.name;
        EXPECT_EQ(checks.begin()->second, (HealthCheck{345, c.count})) << c.name;
    }
}

TEST(Planner, CountsChangesAndKnowsWhoseASliceIs) {
    NodePlanner planner;
    const auto six = slice("six", "web", {slice_port("p", 80)}, {{"fd00::1"}});
    const auto four = slice("four", "web", {slice_port("p", 80)}, {{"10.0.0.1"}});
    static_cast<void>(planner.apply({put(web()), put(four), put(six), put(node_object())}));
    EXPECT_EQ(planner.stats().service_changes, 1U);
    EXPECT_EQ(planner.stats().endpoint_changes, 1U) << "the other family's are not ours";
    EXPECT_EQ(planner.service_of(put(four).key), (ServiceName{"ns", "web"}));
    EXPECT_EQ(planner.service_of(put(six).key), std::nullopt);
    static_cast<void>(planner.apply({gone(four), gone(six), gone(web())}));
    EXPECT_EQ(planner.stats().service_changes, 2U);
    EXPECT_EQ(planner.stats().endpoint_changes, 2U);
    EXPECT_EQ(planner.service_of(put(four).key), std::nullopt);
}

TEST(Planner, OneChangedSlicePlansOneService) {
    NodePlanner planner;
    std::vector<api::Change> changes;
    for (int i = 1; i <= 100; ++i) {
        const auto name = "s" + std::to_string(i);
        changes.push_back(put(web(name, "172.30.1." + std::to_string(i))));
        changes.push_back(put(web_slice({{"10.0.0.1"}}, name, name + "-1")));
    }
    static_cast<void>(planner.apply(changes));
    EXPECT_EQ(planner.stats().services_planned, 100U);
    EXPECT_EQ(planner.apply({put(web_slice({{"10.0.0.2"}}, "s7", "s7-1"))}).service_ports.size(), 1U);
    EXPECT_EQ(planner.stats().services_planned, 101U);
    static_cast<void>(
        planner.apply({put(web_slice({{"10.0.0.3"}}, "s7", "s7-1")), put(web_slice({{"10.0.0.4"}}, "s7", "s7-2"))}));
    EXPECT_EQ(planner.stats().services_planned, 102U) << "two slices of one service";
    static_cast<void>(planner.apply({gone(web_slice({}, "s7", "s7-2"))}));
    EXPECT_EQ(planner.stats().services_planned, 103U);
    api::Node elsewhere;
    elsewhere.name = "other";
    EXPECT_TRUE(planner.apply({put(elsewhere)}).empty());
    EXPECT_EQ(planner.stats().services_planned, 103U) << "another node is nothing to us";
}

TEST(Planner, OverlappingSlices) {
    NodePlanner planner;
    static_cast<void>(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}, {"10.0.0.2"}}, "web", "a")),
                                     put(web_slice({{"10.0.0.2"}, {"10.0.0.3"}}, "web", "b"))}));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->cluster.size(), 3U);
    static_cast<void>(planner.apply({gone(web_slice({}, "web", "a"))}));
    EXPECT_THAT(texts(find(planner.plan(), "ns/web:p")->cluster), ElementsAre("10.0.0.2:8080", "10.0.0.3:8080"));
}

// A hairpin or a cluster IP that two service ports need stays until the last one goes.
TEST(Planner, SharedThingsAreCounted) {
    NodePlanner planner;
    const std::vector<Ep> here{{"10.0.0.1", "r", "test-node"}};
    static_cast<void>(
        planner.apply({put(web("a", "172.30.0.1")), put(web("b", "172.30.0.2")), put(web_slice(here, "a", "a-1"))}));
    EXPECT_TRUE(planner.apply({put(web_slice(here, "b", "b-1"))}).hairpins_added.empty());
    EXPECT_TRUE(planner.apply({gone(web_slice(here, "a", "a-1"))}).hairpins_removed.empty());
    EXPECT_EQ(planner.apply({gone(web_slice(here, "b", "b-1"))}).hairpins_removed.size(), 1U);

    // The endpoint moves from one service to the other in one step.
    static_cast<void>(planner.apply({put(web_slice(here, "a", "a-1"))}));
    const auto moved = planner.apply({gone(web_slice(here, "a", "a-1")), put(web_slice(here, "b", "b-1"))});
    EXPECT_EQ(moved.service_ports.size(), 2U);
    EXPECT_TRUE(moved.hairpins_added.empty());
    EXPECT_TRUE(moved.hairpins_removed.empty());
}

// --- the node ---

TEST(Planner, AZoneDecidesAnew) {
    NodePlanner planner;
    static_cast<void>(
        planner.apply({put(web()), put(web_slice({{"10.0.0.1", "r", "", {"a"}}, {"10.0.0.2", "r", "", {"b"}}}))}));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->cluster.size(), 2U);
    auto node = node_object();
    node.zone = "b";
    const auto delta = planner.apply({put(node)});
    EXPECT_EQ(delta.service_ports.size(), 1U);
    EXPECT_FALSE(delta.node_rules) << "a zone is nothing that rules know of";
    EXPECT_THAT(texts(find(planner.plan(), "ns/web:p")->cluster), ElementsAre("10.0.0.2:8080"));
    static_cast<void>(planner.apply({gone(node)}));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->cluster.size(), 2U);
}

TEST(Planner, HostAddressesAreNodeRules) {
    auto settings = node_settings();
    settings.node_port_ranges = cidrs({"192.168.0.0/16"});
    NodePlanner planner(Family::kIpv4, settings);
    static_cast<void>(planner.apply({put(web())}));
    const auto planned = planner.stats().services_planned;
    EXPECT_TRUE(planner.set_host(host_facts()).empty());
    auto host = host_facts();
    host.addresses.push_back(ip("192.168.7.7"));
    const auto delta = planner.set_host(host);
    ASSERT_TRUE(delta.node_rules);
    EXPECT_THAT(texts(delta.node_rules->after.node_ports.addresses),
                ElementsAre("192.168.0.2", "192.168.1.2", "192.168.7.7", "192.168.99.11"));
    EXPECT_TRUE(delta.service_ports.empty());
    EXPECT_EQ(planner.stats().services_planned, planned) << "addresses decide nothing about a service";
}

TEST(Planner, ServiceCidrsAreNodeRules) {
    NodePlanner planner;
    const auto added = planner.apply({put(api::ServiceCidr{"c1", cidrs({"172.30.0.0/16", "fd00:30::/112"})}),
                                      put(api::ServiceCidr{"c2", cidrs({"10.96.0.0/12"})})});
    ASSERT_TRUE(added.node_rules);
    EXPECT_THAT(texts(added.node_rules->after.service_cidrs), ElementsAre("10.96.0.0/12", "172.30.0.0/16"));
    const auto removed = planner.apply({gone(api::ServiceCidr{"c1", {}})});
    ASSERT_TRUE(removed.node_rules);
    EXPECT_THAT(texts(removed.node_rules->after.service_cidrs), ElementsAre("10.96.0.0/12"));
}

TEST(Planner, ADetectorThatComesConcernsEveryService) {
    auto settings = node_settings();
    settings.detect_local_mode = DetectLocalMode::kNodeCidr;
    NodePlanner planner(Family::kIpv4, settings);
    static_cast<void>(planner.apply({put(web()), put(web_slice({{"10.0.0.1"}}))}));
    const auto masquerades = [&] {
        return find(planner.plan(), "ns/web:p")->destinations.front().treatment(SourceClass::kOutside).masquerade;
    };
    EXPECT_FALSE(masquerades());
    auto node = node_object();
    node.pod_cidrs = {cidr("10.1.2.0/24")};
    const auto delta = planner.apply({put(node)});
    EXPECT_TRUE(delta.node_rules.has_value());
    EXPECT_TRUE(masquerades());
}

// --- conflicts ---

TEST(Planner, WhoOwnsAContestedAddress) {
    auto cluster_ip = web("zz-cluster-ip", "172.30.0.41");
    auto by_load_balancer = web("mm-load-balancer", "172.30.0.42");
    by_load_balancer.load_balancer_vips = ips({"172.30.0.41", "1.2.3.4"});
    auto by_external_ip = web("aa-external", "172.30.0.43");
    by_external_ip.external_ips = ips({"172.30.0.41", "1.2.3.4"});
    auto lower = web("bb-external", "172.30.0.44");
    lower.external_ips = ips({"1.2.3.4", "7.7.7.7"});
    auto higher = web("cc-external", "172.30.0.45");
    higher.external_ips = ips({"7.7.7.7"});
    std::vector<api::Service> services{cluster_ip, by_load_balancer, by_external_ip, lower, higher};

    const auto expected = UnorderedElementsAre(
        "zz-cluster-ip: 172.30.0.41:80/TCP", "mm-load-balancer: 172.30.0.42:80/TCP", "mm-load-balancer: 1.2.3.4:80/TCP",
        "aa-external: 172.30.0.43:80/TCP", "bb-external: 172.30.0.44:80/TCP", "bb-external: 7.7.7.7:80/TCP",
        "cc-external: 172.30.0.45:80/TCP");
    std::sort(services.begin(), services.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    do {
        NodePlanner planner;
        for (const auto& object : services) static_cast<void>(planner.apply({put(object)}));
        ASSERT_THAT(owners(planner.plan()), expected);
    } while (std::next_permutation(services.begin(), services.end(),
                                   [](const auto& a, const auto& b) { return a.name < b.name; }));
}

TEST(Planner, TheLoserTakesOverWhenTheWinnerGoes) {
    auto winner = web("a", "172.30.0.1");
    winner.external_ips = ips({"1.2.3.4"});
    auto second = web("b", "172.30.0.2");
    second.external_ips = ips({"1.2.3.4"});
    auto third = web("c", "172.30.0.3");
    third.external_ips = ips({"1.2.3.4"});
    NodePlanner planner;
    static_cast<void>(planner.apply({put(third), put(winner), put(second)}));
    const auto owner = [&] {
        for (const auto& text : owners(planner.plan()))
            if (text.ends_with("1.2.3.4:80/TCP")) return text.substr(0, 1);
        return std::string();
    };
    EXPECT_EQ(owner(), "a");
    const auto delta = planner.apply({gone(winner)});
    EXPECT_EQ(owner(), "b");
    EXPECT_EQ(delta.service_ports.size(), 2U) << "the one that went, and the one that took over; not the third";
    second.external_ips.clear();
    static_cast<void>(planner.apply({put(second)}));
    EXPECT_EQ(owner(), "c") << "no longer asking is as good as going";
    static_cast<void>(planner.apply({put(winner)}));
    EXPECT_EQ(owner(), "a");
    static_cast<void>(planner.apply({gone(third), gone(winner)}));
    EXPECT_EQ(owner(), "");
}

TEST(Planner, ContestedNodePorts) {
    auto a = service("a", "172.30.0.1", {service_port("p", 80, Protocol::kTcp, 30000)});
    auto b = service("b", "172.30.0.2",
                     {service_port("p", 80, Protocol::kTcp, 30000), service_port("u", 80, Protocol::kUdp, 30000)});
    NodePlanner planner;
    static_cast<void>(planner.apply({put(b), put(a)}));
    EXPECT_THAT(owners(planner.plan()),
                UnorderedElementsAre("a: 172.30.0.1:80/TCP", "a: node port 30000/TCP", "b: 172.30.0.2:80/TCP",
                                     "b: 172.30.0.2:80/UDP", "b: node port 30000/UDP"));
}

TEST(Planner, ConflictsAreReportedOnce) {
    auto winner = web("a", "172.30.0.1");
    winner.external_ips = ips({"1.2.3.4"});
    auto loser = web("b", "172.30.0.2");
    loser.external_ips = ips({"1.2.3.4"});
    NodePlanner planner;
    static_cast<void>(planner.apply({put(loser), put(winner)}));
    const auto conflicts = planner.take_conflicts();
    ASSERT_EQ(conflicts.size(), 1U);
    EXPECT_EQ(conflicts[0].key.text(), "1.2.3.4:80/TCP");
    EXPECT_EQ(conflicts[0].winner.name, "a");
    EXPECT_EQ(conflicts[0].loser.name, "b");
    EXPECT_TRUE(planner.take_conflicts().empty());

    loser.affinity_seconds = 100;
    winner.affinity_seconds = 100;
    static_cast<void>(planner.apply({put(loser)}));
    static_cast<void>(planner.apply({put(winner)}));
    EXPECT_TRUE(planner.take_conflicts().empty()) << "it began long ago";
    static_cast<void>(planner.apply({gone(winner)}));
    EXPECT_TRUE(planner.take_conflicts().empty());
    static_cast<void>(planner.apply({put(winner)}));
    EXPECT_EQ(planner.take_conflicts().size(), 1U) << "it begins again";
}

TEST(Planner, AServiceMayNameAnAddressTwice) {
    auto both = web();
    both.load_balancer_vips = ips({"1.2.3.4"});
    both.external_ips = ips({"1.2.3.4"});
    NodePlanner planner;
    static_cast<void>(planner.apply({put(both)}));
    EXPECT_THAT(owners(planner.plan()), UnorderedElementsAre("web: 172.30.0.41:80/TCP", "web: 1.2.3.4:80/TCP"));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->destinations[1].kind, DestinationKind::kLoadBalancerIp);
    EXPECT_TRUE(planner.take_conflicts().empty());
    both.load_balancer_vips.clear();
    static_cast<void>(planner.apply({put(both)}));
    EXPECT_EQ(find(planner.plan(), "ns/web:p")->destinations[1].kind, DestinationKind::kExternalIp);
}

// Case 44.
TEST(Planner, ObjectsAreNeverModified) {
    const auto object = web_slice({{"10.0.0.2", "st"}, {"10.0.0.1"}});
    const auto handed_over = put(object);
    const auto service_handed_over = put(web());
    NodePlanner planner;
    static_cast<void>(planner.apply({handed_over, service_handed_over}));
    static_cast<void>(planner.apply({gone(web())}));
    EXPECT_EQ(*std::get<std::shared_ptr<const api::EndpointSlice>>(*handed_over.object), object);
    EXPECT_EQ(*std::get<std::shared_ptr<const api::Service>>(*service_handed_over.object), web());
}

}  // namespace
}  // namespace ghostip::plan
