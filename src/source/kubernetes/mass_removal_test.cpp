#include "source/kubernetes/mass_removal.h"

#include <gmock/gmock.h>

#include "source/kubernetes/reflector_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using testing::added;
using testing::bookmark;
using testing::deleted;
using testing::event;
using testing::json;
using testing::list;
using testing::Scene;
using testing::service;
using testing::status;

api::Object slice_of(std::string_view name, int endpoints, int ports = 1) {
    api::EndpointSlice slice;
    slice.namespace_ = "default";
    slice.name = name;
    slice.service_name = "web";
    for (int i = 0; i < ports; ++i) {
        const auto port = static_cast<std::uint16_t>(8080 + i);
        slice.ports.push_back({fmt::format("p{}", i), net::Protocol::kTcp, port});
    }
    for (int i = 0; i < endpoints; ++i)
        slice.endpoints.push_back({*net::IpAddress::parse(fmt::format("10.0.0.{}", i + 1))});
    return std::make_shared<const api::EndpointSlice>(slice);
}

TEST(MassRemoval, CountsWhatCanBeDialledAndWhoAnswers) {
    api::Service service;
    service.cluster_ips = {*net::IpAddress::parse("10.96.0.1"), *net::IpAddress::parse("fd00::1")};
    service.external_ips = {*net::IpAddress::parse("192.0.2.1")};
    service.load_balancer_vips = {*net::IpAddress::parse("192.0.2.2")};
    service.ports = {{"a", net::Protocol::kTcp, 80, 30080}, {"b", net::Protocol::kTcp, 81, 0}};
    EXPECT_EQ(destinations_of(std::make_shared<const api::Service>(service)), 2U * 4 + 1);
    EXPECT_EQ(destinations_of(std::make_shared<const api::Service>()), 0U);
    EXPECT_EQ(destinations_of(slice_of("x", 7, 3)), 21U);
    EXPECT_EQ(destinations_of(std::make_shared<const api::Node>()), 0U);
}

struct Case {
    const char* name;
    MassRemovalLimits limits;
    Removal removal;
    bool mass;
};

class Limits : public ::testing::TestWithParam<Case> {};

TEST_P(Limits, Decide) { EXPECT_EQ(is_mass_removal(GetParam().limits, GetParam().removal), GetParam().mass); }

INSTANTIATE_TEST_SUITE_P(MassRemoval, Limits,
                         ::testing::Values(Case{"AShare", {}, {31, 100}, true},                   //
                                           Case{"NotMoreThanTheShare", {}, {30, 100}, false},     //
                                           Case{"AFew", {}, {20, 20}, false},                     //
                                           Case{"NotSoFew", {}, {21, 21}, true},                  //
                                           Case{"OffByZero", {.share = 0}, {1000, 1000}, false},  //
                                           Case{"OffByAll", {.share = 1}, {1000, 1000}, false},   //
                                           Case{"OwnShare", {.share = 0.9}, {890, 1000}, false},  //
                                           Case{"OwnCount", {.more_than = 5}, {6, 10}, true},     //
                                           Case{"NothingThere", {}, {0, 0}, false}),
                         [](const auto& test) { return test.param.name; });

// ---- In a reflector: 30 services with one destination each.

std::vector<api::Object> thirty() {
    std::vector<api::Object> objects;
    objects.reserve(30);
    for (int i = 0; i < 30; ++i) objects.push_back(service(fmt::format("s{:02}", i)));
    return objects;
}

// The watch has expired, and the new state has nothing but `objects`.
void relist(Scene& scene, const std::vector<api::Object>& objects, std::string_view version = "50") {
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.stream(objects, version);
}

std::string list_of(const std::vector<api::Object>& objects, std::string_view version) {
    std::vector<std::string> items;
    items.reserve(objects.size());
    for (const auto& object : objects) items.push_back(json(object, "1"));
    return list(items, version);
}

TEST(MassRemoval, IsHeldAndAskedAboutPastAllCaches) {
    Scene scene;
    scene.start(thirty(), "5");
    relist(scene, {});
    EXPECT_EQ(scene.folded.objects.size(), 30U);
    ASSERT_EQ(scene.folded.alarms.size(), 1U);
    EXPECT_EQ(scene.folded.alarms[0].resource, "services");
    EXPECT_EQ(scene.folded.alarms[0].removal.removed, 30U);
    EXPECT_EQ(scene.folded.alarms[0].removal.of, 30U);
    EXPECT_TRUE(scene.reflector.stats().holding);
    EXPECT_EQ(scene.reflector.stats().held_removals, 1U);
    EXPECT_EQ(scene.folded.said("lacks 30 of 30 destinations"), 1);
    EXPECT_TRUE(scene.asks("watch=true")) << "watching goes on";
    scene.pass(5s);
    EXPECT_FALSE(scene.asks("watch=true")) << scene.target();
    EXPECT_FALSE(scene.asks("resourceVersion")) << "a quorum's answer: " << scene.target();
    EXPECT_EQ(scene.folded.objects.size(), 30U);
    scene.answer(200, list_of({service("s00")}, "51"));
    EXPECT_EQ(scene.folded.names(), "s00");
    EXPECT_EQ(scene.folded.said("a second list agrees"), 1);
    EXPECT_FALSE(scene.reflector.stats().holding);
    EXPECT_TRUE(scene.asks("watch=true&") || scene.asks("resourceVersion=51&")) << scene.target();
}

TEST(MassRemoval, IsForgottenIfTheSecondListHasThemAgain) {
    Scene scene;
    scene.start(thirty(), "5");
    relist(scene, {});
    scene.pass(5s);
    auto objects = thirty();
    objects.pop_back();
    scene.answer(200, list_of(objects, "51"));
    EXPECT_EQ(scene.folded.objects.size(), 29U);
    EXPECT_EQ(scene.folded.said("does not agree"), 1);
    EXPECT_FALSE(scene.reflector.stats().holding);
    scene.pass(10min);
    EXPECT_EQ(scene.folded.objects.size(), 29U);
}

TEST(MassRemoval, IsBelievedAfterAStatedTime) {
    Scene scene;
    scene.start(thirty(), "5");
    relist(scene, {});
    const auto began = scene.now;
    scene.pass(5s);
    while (scene.now - began < 299s) {
        if (!scene.server.open_requests().empty()) scene.fail(TransportError::Kind::kRefused);
        scene.pass(1s);
        ASSERT_EQ(scene.folded.objects.size(), 30U);
    }
    scene.pass(2s);
    EXPECT_EQ(scene.folded.objects.size(), 0U);
    EXPECT_EQ(scene.folded.said("no second list could be had for 300 s"), 1);
}

TEST(MassRemoval, LetsAdditionsAndChangesThrough) {
    Scene scene;
    scene.start(thirty(), "5");
    relist(scene, {service("s00", 81), service("new")});
    EXPECT_EQ(scene.folded.objects.size(), 31U);
    EXPECT_EQ(scene.folded.port_of("s00"), 81);
    EXPECT_EQ(scene.folded.port_of("new"), 80);
}

TEST(MassRemoval, EmptySlicesAreARemovalToo) {
    Scene scene({}, endpoint_slices());
    scene.start({slice_of("a", 30), slice_of("b", 5)}, "5");
    const auto endpoints = [&](const char* name) {
        const auto& object = scene.folded.objects.at({api::Kind::kEndpointSlice, "default", name});
        return std::get<std::shared_ptr<const api::EndpointSlice>>(object)->endpoints.size();
    };
    relist(scene, {slice_of("a", 0), slice_of("b", 6)});
    EXPECT_EQ(endpoints("a"), 30U);
    EXPECT_EQ(endpoints("b"), 6U);
    ASSERT_EQ(scene.folded.alarms.size(), 1U);
    EXPECT_EQ(scene.folded.alarms[0].removal.removed, 30U);
    // A second list that cannot be had: what was held is the first one's state, not its absence.
    scene.pass(5s);
    scene.fail(TransportError::Kind::kRefused);
    scene.pass(5min);
    EXPECT_EQ(endpoints("a"), 0U);
}

TEST(MassRemoval, EventsAreTheServersWord) {
    Scene scene;
    scene.start(thirty(), "5");
    std::string all;
    for (int i = 0; i < 30; ++i) all += deleted(service(fmt::format("s{:02}", i)), fmt::to_string(6 + i));
    scene.send(all);
    EXPECT_EQ(scene.folded.objects.size(), 0U);
    EXPECT_TRUE(scene.folded.alarms.empty());
}

TEST(MassRemoval, AnEventEndsTheDoubtAboutItsObject) {
    Scene scene;
    scene.start(thirty(), "5");
    relist(scene, {});
    scene.send(added(service("s00", 81), "51") + deleted(service("s01"), "52"));
    EXPECT_EQ(scene.folded.port_of("s00"), 81);
    EXPECT_EQ(scene.folded.objects.size(), 29U);
    // No second list can be had: what the first lacks goes, but not what has been heard of since.
    scene.pass(5s);
    scene.fail(TransportError::Kind::kRefused);
    scene.pass(5min);
    EXPECT_EQ(scene.folded.names(), "s00");
}

// Load balancers leave a node whose Node object is gone.
TEST(MassRemoval, ANodeIsNotGoneBecauseOfOneAnswer) {
    for (const bool held : {true, false}) {
        testing::Folded folded;
        Replica replica("nodes", held ? MassRemovalLimits{} : MassRemovalLimits{.share = 0}, folded);
        auto node = std::make_shared<api::Node>();
        node->name = "n1";
        api::Received there;
        there.object = std::shared_ptr<const api::Node>(node);
        there.key = api::key_of(*there.object);
        const auto empty = [&](Replica::Answer answer) {
            replica.begin();
            replica.take_over(answer, {});
        };
        replica.begin();
        replica.collect(there);
        replica.take_over(Replica::Answer::kAny, {});
        ASSERT_EQ(folded.objects.size(), 1U);
        empty(Replica::Answer::kAny);
        EXPECT_EQ(folded.objects.size(), held ? 1U : 0U);
        EXPECT_EQ(replica.holding(), held);
        EXPECT_EQ(folded.said("lacks 1 objects"), held ? 1 : 0);
        empty(Replica::Answer::kAsked);
        EXPECT_EQ(folded.objects.size(), 0U);
    }
}

TEST(MassRemoval, CanBeSwitchedOff) {
    Scene scene({.mass_removal = {.share = 0}});
    scene.start(thirty(), "5");
    relist(scene, {});
    EXPECT_EQ(scene.folded.objects.size(), 0U);
    EXPECT_TRUE(scene.folded.alarms.empty());
}

TEST(MassRemoval, AnObjectThatCannotBeToldMayBeAnyOfTheMissing) {
    Scene scene;
    scene.start({service("a"), service("b")}, "5");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.head();
    scene.send(added(service("a"), "1") + event("ADDED", R"({"kind":"Service","apiVersion":"v1","metadata":{}})") +
               bookmark("9", true));
    EXPECT_EQ(scene.folded.names(), "a b");
    EXPECT_TRUE(scene.reflector.stats().holding);
    scene.pass(5s);
    scene.answer(200, list_of({service("a")}, "10"));
    EXPECT_EQ(scene.folded.names(), "a");
}

}  // namespace
}  // namespace ghostip::source::kubernetes
