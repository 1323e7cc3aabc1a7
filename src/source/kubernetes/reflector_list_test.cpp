// How a reflector comes to know all that exists.
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
using testing::modified;
using testing::Scene;
using testing::service;
using testing::status;
using testing::too_large;
using testing::undecodable;

constexpr auto kNotOffered = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";

// A scene in which the streaming list has been refused.
void refuse_stream(Scene& scene) { scene.answer(422, status(422, "Invalid", kNotOffered)); }

TEST(ReflectorList, StreamsAllAndThenWatchesOnTheSameStream) {
    Scene scene;
    scene.reflector.start();
    EXPECT_FALSE(scene.asks("resourceVersion="));
    EXPECT_FALSE(scene.open().request.rate_limited);
    EXPECT_EQ(scene.open().request.accept, "application/vnd.kubernetes.protobuf, */*");
    scene.head();
    scene.send(added(service("a"), "3") + added(service("b"), "4") + modified(service("a", 81), "5"));
    scene.send(deleted(service("b"), "6") + added(service("c"), "7"));
    EXPECT_EQ(scene.folded.deliveries, 0) << "nothing is handed on before all is there";
    scene.send(bookmark("7", true));
    EXPECT_EQ(scene.folded.names(), "a c");
    EXPECT_EQ(scene.folded.port_of("a"), 81);
    EXPECT_EQ(scene.folded.deliveries, 1);
    EXPECT_EQ(scene.folded.syncs, 1);
    scene.send(added(service("d"), "8"));
    EXPECT_EQ(scene.folded.names(), "a c d");
    EXPECT_EQ(scene.server.sent_count(), 1U);
    EXPECT_TRUE(scene.folded.lines.empty()) << scene.folded.lines.front();
}

TEST(ReflectorList, AnEmptyClusterIsInSyncToo) {
    Scene scene;
    scene.start({}, "1");
    EXPECT_EQ(scene.folded.syncs, 1);
    EXPECT_EQ(scene.folded.deliveries, 0);
}

TEST(ReflectorList, ListsInPagesWhereNoStreamIsOffered) {
    Scene scene;
    scene.reflector.start();
    refuse_stream(scene);
    EXPECT_TRUE(scene.asks("limit=500&resourceVersion=0")) << scene.target();
    EXPECT_TRUE(scene.open().request.rate_limited);
    scene.answer(200, list({json(service("a"), "3")}, "7", "next"));
    EXPECT_TRUE(scene.asks("continue=next")) << scene.target();
    EXPECT_FALSE(scene.asks("resourceVersion")) << scene.target();
    EXPECT_EQ(scene.folded.deliveries, 0);
    scene.answer(200, list({json(service("b"), "4")}, "9"));
    EXPECT_EQ(scene.folded.names(), "a b");
    EXPECT_EQ(scene.folded.deliveries, 1);
    EXPECT_TRUE(scene.asks("resourceVersion=7&")) << "the first page's: " << scene.target();
    EXPECT_FALSE(scene.asks("sendInitialEvents"));
    scene.head();
    scene.send(deleted(service("a"), "8"));
    EXPECT_EQ(scene.folded.names(), "b");
    EXPECT_EQ(scene.folded.said("listing in pages"), 1);
}

TEST(ReflectorList, ListsAtOnceWhenPagesExpire) {
    Scene scene;
    scene.reflector.start();
    refuse_stream(scene);
    scene.answer(200, list({json(service("gone"), "3")}, "7", "next"));
    scene.answer(410, status(410, "Expired"));
    EXPECT_TRUE(scene.asks("resourceVersion=0")) << scene.target();
    EXPECT_FALSE(scene.asks("limit")) << scene.target();
    scene.answer(200, list({json(service("a"), "8")}, "9"));
    EXPECT_EQ(scene.folded.names(), "a");
}

TEST(ReflectorList, AStreamThatIsCutStartsOver) {
    Scene scene;
    scene.start({service("a"), service("b")}, "5");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    for (int cut = 0; cut < 3; ++cut) {
        ASSERT_TRUE(scene.asks("sendInitialEvents")) << "try " << cut;
        EXPECT_TRUE(scene.asks("resourceVersion=5&")) << scene.target();
        scene.head();
        scene.body(added(service("a"), "3"));
        scene.fail(TransportError::Kind::kBroken);
        scene.run();
        // At once the first time, after a pause the second.
        if (cut == 1) {
            EXPECT_TRUE(scene.server.open_requests().empty());
            scene.pass(4s);
        }
        EXPECT_EQ(scene.folded.names(), "a b") << "half a state must not be seen";
    }
    // Pages get through better.
    EXPECT_TRUE(scene.asks("resourceVersion=5")) << scene.target();
    EXPECT_FALSE(scene.asks("watch=true"));
    scene.answer(200, list({json(service("b"), "4")}, "6"));
    EXPECT_EQ(scene.folded.names(), "b");
    EXPECT_EQ(scene.folded.deliveries, 2);
}

TEST(ReflectorList, WhatACutStreamHadIsForgotten) {
    Scene scene;
    scene.reflector.start();
    scene.head();
    scene.body(added(service("gone-meanwhile"), "3"));
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    scene.stream({service("a")}, "5");
    EXPECT_EQ(scene.folded.names(), "a");
}

TEST(ReflectorList, AVersionThatIsTooLargeIsForgotten) {
    Scene scene;
    scene.start({service("a")}, "99");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.answer(504, too_large());
    EXPECT_TRUE(scene.asks("sendInitialEvents"));
    EXPECT_FALSE(scene.asks("resourceVersion=")) << scene.target();
    scene.stream({service("b")}, "5");
    EXPECT_EQ(scene.folded.names(), "b");
    scene.end();
    scene.pass(2s);
    EXPECT_TRUE(scene.asks("resourceVersion=5&")) << scene.target();
}

TEST(ReflectorList, AVersionThatExpiredIsForgotten) {
    Scene scene;
    scene.start({service("a")}, "2");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.answer(422, status(422, "Invalid", kNotOffered));
    EXPECT_TRUE(scene.asks("resourceVersion=2"));
    scene.answer(410, status(410, "Expired"));
    EXPECT_FALSE(scene.asks("resourceVersion")) << scene.target();
    EXPECT_TRUE(scene.asks("limit=500"));
    // Expired although nothing was asked for: no busy loop.
    scene.answer(410, status(410, "Expired"));
    EXPECT_TRUE(scene.server.open_requests().empty());
}

TEST(ReflectorList, AListFromThePastIsNotBelieved) {
    Scene scene;
    scene.start({service("a"), service("b")}, "500");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.stream({}, "400");
    EXPECT_EQ(scene.folded.names(), "a b");
    EXPECT_FALSE(scene.asks("resourceVersion=")) << "the newest: " << scene.target();
    // There it is the truth.
    scene.stream({service("a")}, "401");
    EXPECT_EQ(scene.folded.names(), "a");
    scene.send(added(service("c"), "402"));
    EXPECT_EQ(scene.folded.names(), "a c");
}

TEST(ReflectorList, AsksForJsonAloneWhereProtobufIsRefused) {
    for (const int code : {406, 415}) {
        Scene scene;
        scene.reflector.start();
        scene.answer(code, status(code, "NotAcceptable"));
        EXPECT_EQ(scene.open().request.accept, "application/json");
        EXPECT_TRUE(scene.asks("sendInitialEvents"));
        scene.stream({service("a")}, "3");
        EXPECT_EQ(scene.folded.names(), "a");
        EXPECT_EQ(scene.folded.said("asking for JSON"), 1);
    }
}

TEST(ReflectorList, ADroppingListOnceAndForAll) {
    Scene scene;
    scene.reflector.start();
    // One byte a second is life, but not for ever.
    scene.head();
    for (int i = 0; i < 601 && scene.asks("sendInitialEvents"); ++i) {
        scene.body(" ");
        scene.pass(1s);
    }
    EXPECT_FALSE(scene.asks("watch=true")) << scene.target();
    scene.head();
    for (int i = 0; i < 601 && !scene.server.open_requests().empty(); ++i) {
        scene.body(" ");
        scene.pass(1s);
    }
    EXPECT_EQ(scene.folded.said("not all has come within 600 s"), 2);
    EXPECT_EQ(scene.reflector.stats().stalls, 2U);
    scene.pass(3s);
    scene.stream({service("a")}, "3");
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_EQ(scene.folded.said("listed after 1 failed try"), 1);
}

TEST(ReflectorList, ATrickleThatEndsInTimeIsAList) {
    Scene scene;
    scene.reflector.start();
    scene.head();
    const std::string all = added(service("a"), "3") + bookmark("3", true);
    ASSERT_LT(all.size(), 600U * 2);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        scene.body(all.substr(i, 2));
        scene.pass(1s);
    }
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_EQ(scene.server.sent_count(), 1U);
}

// ---- What does not decode.

TEST(ReflectorList, KeepsTheLastGoodStateOfWhatDoesNotDecode) {
    Scene scene;
    scene.start({service("a", 80), service("b")}, "5");
    scene.send(event("MODIFIED", undecodable("a", "6")));
    EXPECT_EQ(scene.folded.port_of("a"), 80);
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.head();
    scene.send(event("ADDED", undecodable("a", "6")) + event("ADDED", undecodable("never-good", "7")) +
               bookmark("8", true));
    EXPECT_EQ(scene.folded.names(), "a") << "b is gone, a is as it was";
    EXPECT_EQ(scene.folded.port_of("a"), 80);
    EXPECT_EQ(scene.folded.said("Service default/a"), 1) << "named once";
    EXPECT_EQ(scene.folded.said("Service default/never-good"), 1);
    EXPECT_EQ(scene.reflector.stats().decode_failures, 3U);
    scene.send(modified(service("a", 81), "9"));
    EXPECT_EQ(scene.folded.port_of("a"), 81);
    scene.send(event("DELETED", undecodable("a", "10")));
    EXPECT_EQ(scene.folded.names(), "") << "that it is gone needs no decoding";
}

}  // namespace
}  // namespace ghostip::source::kubernetes
