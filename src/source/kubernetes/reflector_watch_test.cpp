// How a reflector stays in step, whatever the server and the network do.
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
using testing::kJson;
using testing::list;
using testing::modified;
using testing::Scene;
using testing::service;
using testing::status;

TEST(ReflectorWatch, ReopensAtOnceWhereTheServerClosed) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.send(added(service("b"), "6"));
    scene.pass(60s);
    scene.send(bookmark("9"));
    scene.end();
    scene.run();
    EXPECT_TRUE(scene.asks("resourceVersion=9&")) << scene.target();
    EXPECT_FALSE(scene.asks("sendInitialEvents"));
    EXPECT_TRUE(scene.asks("timeoutSeconds=450&")) << scene.target();
    EXPECT_EQ(scene.folded.deliveries, 2);
    EXPECT_TRUE(scene.folded.lines.empty());
    EXPECT_EQ(scene.reflector.stats().watch_restarts, 1U);
    EXPECT_EQ(scene.reflector.stats().relists, 0U);
}

TEST(ReflectorWatch, TimeoutsAreRandom) {
    Scene scene;
    scene.random = [] { return 0.0; };
    scene.start({}, "5");
    for (const auto& [random, seconds] : {std::pair{0.999, "599"}, {0.0, "300"}, {0.5, "450"}}) {
        scene.random = [r = random] { return r; };
        scene.pass(2s);
        scene.end();
        scene.run();
        EXPECT_TRUE(scene.asks(fmt::format("timeoutSeconds={}&", seconds))) << scene.target();
        scene.head();
    }
}

TEST(ReflectorWatch, ResumesFromTheLastVersionAfterABreak) {
    Scene scene;
    scene.start({service("a")}, "5");
    const std::string whole = added(service("b"), "7");
    scene.body(added(service("c"), "6") + whole.substr(0, whole.size() / 2));
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    EXPECT_EQ(scene.folded.names(), "a c");
    EXPECT_TRUE(scene.asks("resourceVersion=6&")) << scene.target();
    scene.head();
    scene.send(whole);
    EXPECT_EQ(scene.folded.names(), "a b c");
    EXPECT_EQ(scene.reflector.stats().relists, 0U);
}

// A half message also where the connection itself ended well.
TEST(ReflectorWatch, ResumesAfterHalfAMessage) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(2s);
    scene.body(added(service("b"), "7").substr(0, 40));
    scene.end();
    scene.run();
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_TRUE(scene.asks("resourceVersion=5&")) << scene.target();
}

TEST(ReflectorWatch, OneClearMessageWhileTheServerIsAway) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(30s);
    scene.send(bookmark("6"));
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    std::vector<Clock::duration> pauses;
    for (int tries = 0; tries < 12; ++tries) {
        ASSERT_TRUE(scene.asks(tries == 0 ? "resourceVersion=6&" : "limit=1")) << scene.target();
        scene.fail(TransportError::Kind::kRefused);
        scene.run();
        pauses.push_back(scene.reflector.due() - scene.now);
        scene.pass(std::chrono::ceil<std::chrono::milliseconds>(pauses.back()));
    }
    EXPECT_EQ(pauses.front(), 1200ms);
    EXPECT_EQ(pauses[1], 2400ms);
    EXPECT_EQ(pauses.back(), 45s);
    EXPECT_EQ(scene.folded.lines.size(), 1U);
    EXPECT_EQ(scene.folded.said("what is known (1 objects) stays in place"), 1);
    EXPECT_EQ(scene.folded.names(), "a");
    scene.answer(200, list({json(service("a"), "1")}, "7"));
    EXPECT_TRUE(scene.asks("resourceVersion=6&")) << scene.target();
    scene.head();
    scene.send(added(service("b"), "7"));
    EXPECT_EQ(scene.folded.said("the watch delivers again after 12 failed tries"), 1);
    EXPECT_EQ(scene.folded.names(), "a b");
    EXPECT_EQ(scene.reflector.stats().relists, 0U);
}

TEST(ReflectorWatch, EachKindOfTroubleIsToldOnce) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    using enum TransportError::Kind;
    for (const auto kind : {kRefused, kTls, kRefused, kTls, kCredentials, kBroken, kTls}) {
        scene.fail(kind);
        scene.run();
        scene.pass(std::chrono::ceil<std::chrono::milliseconds>(scene.reflector.due() - scene.now));
    }
    EXPECT_EQ(scene.folded.said("cannot watch"), 4) << ::testing::PrintToString(scene.folded.lines);
}

TEST(ReflectorWatch, ASilentRecoveryIsToldToo) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.fail(TransportError::Kind::kBroken);
    scene.pass(2s);
    scene.fail(TransportError::Kind::kRefused);
    scene.pass(2s);
    scene.answer(200, list({}, "5"));
    scene.head();
    scene.pass(9s);
    EXPECT_EQ(scene.folded.said("stands again"), 0);
    scene.pass(2s);
    EXPECT_EQ(scene.folded.said("stands again"), 1);
}

TEST(ReflectorWatch, WaitsForAServerThatIsAwayAtTheStart) {
    Scene scene;
    scene.reflector.start();
    for (int tries = 0; tries < 20; ++tries) {
        scene.fail(TransportError::Kind::kRefused);
        scene.run();
        EXPECT_TRUE(scene.server.open_requests().empty());
        scene.pass(std::chrono::ceil<std::chrono::milliseconds>(scene.reflector.due() - scene.now));
    }
    EXPECT_EQ(scene.folded.lines.size(), 1U);
    EXPECT_EQ(scene.folded.said("nothing has been received yet"), 1);
    EXPECT_FALSE(scene.reflector.stats().synced);
    EXPECT_FALSE(scene.reflector.stats().watch_age_seconds);
    scene.stream({service("a")}, "5");
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_EQ(scene.folded.said("listed after 20 failed tries"), 1);
    EXPECT_TRUE(scene.reflector.stats().synced);
}

TEST(ReflectorWatch, RelistsAnExpiredVersionWithoutAHalfEmptyWorld) {
    for (const bool as_event : {true, false}) {
        Scene scene;
        scene.start({service("a"), service("b"), service("c")}, "5");
        if (as_event) {
            scene.send(event("ERROR", status(410, "Expired", "too old resource version: 5 (99)")));
        } else {
            scene.pass(2s);
            scene.end();
            scene.run();
            scene.answer(410, status(410, "Gone"));
        }
        EXPECT_TRUE(scene.server.open_requests().empty()) << "a pause first";
        scene.pass(1600ms);
        scene.head();
        scene.send(added(service("a"), "3") + added(service("b", 81), "98"));
        EXPECT_EQ(scene.folded.names(), "a b c");
        scene.send(added(service("d"), "99") + bookmark("99", true));
        EXPECT_EQ(scene.folded.names(), "a b d");
        EXPECT_EQ(scene.folded.port_of("b"), 81);
        EXPECT_EQ(scene.folded.deliveries, 2) << "one step";
        EXPECT_EQ(scene.reflector.stats().relists, 1U);
    }
}

TEST(ReflectorWatch, ANewStateHandsOnDifferencesAlone) {
    Scene scene;
    scene.start({service("a"), service("b")}, "5");
    scene.send(event("ERROR", status(410, "Expired")));
    scene.pass(3s);
    scene.stream({service("a"), service("b")}, "9");
    EXPECT_EQ(scene.folded.deliveries, 1);
    scene.send(modified(service("a"), "10"));
    EXPECT_EQ(scene.folded.deliveries, 1) << "nothing that is kept has changed";
    scene.end();
    scene.run();
    scene.pass(2s);
    EXPECT_TRUE(scene.asks("resourceVersion=10&")) << scene.target();
}

// ---- The server was set back to an older state.

TEST(ReflectorWatch, ListsAnewWhenVersionsRunBackwards) {
    for (const auto& line : {added(service("c"), "40"), bookmark("40")}) {
        Scene scene;
        scene.start({service("a"), service("b")}, "500");
        scene.send(line);
        EXPECT_EQ(scene.folded.names(), "a b");
        EXPECT_TRUE(scene.asks("sendInitialEvents")) << scene.target();
        EXPECT_FALSE(scene.asks("resourceVersion=")) << scene.target();
        scene.stream({service("a"), service("c")}, "41");
        EXPECT_EQ(scene.folded.names(), "a c");
        scene.send(added(service("d"), "42"));
        EXPECT_EQ(scene.folded.names(), "a c d");
    }
}

TEST(ReflectorWatch, LooksWhetherAServerThatWasAwayIsStillTheSame) {
    Scene scene;
    scene.start({service("a"), service("b")}, "500");
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    scene.fail(TransportError::Kind::kRefused);
    scene.pass(2s);
    EXPECT_TRUE(scene.asks("limit=1")) << scene.target();
    EXPECT_FALSE(scene.asks("resourceVersion")) << scene.target();
    scene.answer(200, list({json(service("x"), "3")}, "40", "more"));
    EXPECT_EQ(scene.folded.names(), "a b");
    EXPECT_EQ(scene.folded.said("was set back"), 1);
    EXPECT_TRUE(scene.asks("sendInitialEvents")) << scene.target();
    EXPECT_FALSE(scene.asks("resourceVersion=")) << scene.target();
    scene.stream({service("a")}, "41");
    EXPECT_EQ(scene.folded.names(), "a");
}

// The backup was that of an older server, too.
TEST(ReflectorWatch, LooksForThatInJsonWhereNothingElseIsSpokenAnyMore) {
    Scene scene;
    scene.start({service("a"), service("b")}, "500");
    scene.fail(TransportError::Kind::kBroken);
    scene.run();
    scene.fail(TransportError::Kind::kRefused);
    scene.pass(2s);
    scene.answer(406, status(406, "NotAcceptable", "no protobuf"));
    EXPECT_TRUE(scene.asks("limit=1")) << scene.target();
    EXPECT_EQ(scene.open().request.accept, "application/json");
    scene.answer(200, list({json(service("x"), "3")}, "40", "more"));
    EXPECT_EQ(scene.folded.said("was set back"), 1);
    EXPECT_TRUE(scene.asks("sendInitialEvents")) << scene.target();
}

TEST(ReflectorWatch, IsNotStuckWithAVersionOfTheFuture) {
    Scene scene;
    scene.start({service("a"), service("b")}, "500");
    scene.fail(TransportError::Kind::kBroken);
    scene.pass(2s);
    // The server, back at 40, waits for 500 and says nothing.
    scene.head();
    scene.pass(181s);
    EXPECT_TRUE(scene.asks("resourceVersion=500&")) << "once a watch may just have died";
    EXPECT_FALSE(scene.asks("sendInitialEvents"));
    scene.head();
    scene.pass(181s);
    EXPECT_TRUE(scene.asks("sendInitialEvents")) << scene.target();
    EXPECT_FALSE(scene.asks("resourceVersion=")) << scene.target();
    scene.stream({service("a")}, "40");
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_EQ(scene.reflector.stats().stalls, 2U);
}

TEST(ReflectorWatch, LivesWithoutResourceVersions) {
    Scene scene;
    scene.reflector.start();
    scene.answer(422, status(422, "Invalid"));
    scene.answer(200, list({json(service("a"), "")}, ""));
    EXPECT_EQ(scene.folded.names(), "a");
    EXPECT_TRUE(scene.asks("watch=true"));
    EXPECT_FALSE(scene.asks("resourceVersion")) << scene.target();
    scene.head();
    scene.send(added(service("a"), "") + added(service("b"), ""));
    EXPECT_EQ(scene.folded.names(), "a b");
    scene.pass(2s);
    scene.end();
    scene.run();
    EXPECT_TRUE(scene.asks("sendInitialEvents")) << "nobody knows what was missed: " << scene.target();
}

TEST(ReflectorWatch, TakesNoVersionFromTheFirstEventsOfAWatchWithoutOne) {
    Scene scene;
    scene.reflector.start();
    scene.answer(422, status(422, "Invalid"));
    scene.answer(200, list({}, ""));
    scene.head();
    scene.send(added(service("a"), "9") + added(service("b"), "3"));
    EXPECT_EQ(scene.folded.names(), "a b") << "their order is any";
    scene.send(bookmark("10"));
    scene.pass(2s);
    scene.end();
    scene.run();
    EXPECT_TRUE(scene.asks("resourceVersion=10&")) << scene.target();
}

// ---- Dead, short, slow.

TEST(ReflectorWatch, ADeadWatchIsClosedAndResumed) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(60s);
    scene.send(bookmark("8"));
    scene.pass(179s);
    EXPECT_EQ(scene.server.sent_count(), 1U);
    EXPECT_DOUBLE_EQ(*scene.reflector.stats().watch_age_seconds, 179);
    scene.pass(2s);
    EXPECT_EQ(scene.server.sent_count(), 2U);
    EXPECT_TRUE(scene.asks("resourceVersion=8&")) << scene.target();
    EXPECT_EQ(scene.reflector.stats().stalls, 1U);
    EXPECT_EQ(scene.folded.said("open but dead: no event and no bookmark for 180 s"), 1);
    scene.head();
    EXPECT_DOUBLE_EQ(*scene.reflector.stats().watch_age_seconds, 181);
    scene.send(bookmark("9"));
    EXPECT_DOUBLE_EQ(*scene.reflector.stats().watch_age_seconds, 0);
    EXPECT_EQ(scene.folded.said("the watch delivers again"), 1);
}

TEST(ReflectorWatch, BytesWithoutAnEventAreNoLife) {
    Scene scene;
    scene.start({service("a")}, "5");
    const std::string whole = added(service("b"), "7");
    for (int i = 0; i < 200 && scene.server.sent_count() == 1; ++i) {
        scene.body(whole.substr(static_cast<std::size_t>(i), 1));
        scene.pass(1s);
    }
    EXPECT_EQ(scene.server.sent_count(), 2U);
    EXPECT_EQ(scene.reflector.stats().stalls, 1U);
}

TEST(ReflectorWatch, AHeadThatNeverComesIsADeadWatch) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(2s);
    scene.end();
    scene.run();
    const auto sent = scene.server.sent_count();
    scene.pass(181s);
    EXPECT_EQ(scene.server.sent_count(), sent + 1);
    EXPECT_EQ(scene.reflector.stats().stalls, 1U);
}

TEST(ReflectorWatch, AVeryShortWatchIsNoBusyLoop) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(2s);
    scene.end();
    scene.run();
    scene.head();
    scene.end();
    scene.run();
    EXPECT_TRUE(scene.server.open_requests().empty());
    EXPECT_EQ(scene.folded.said("ended as soon as it began"), 1);
    scene.pass(3s);
    EXPECT_TRUE(scene.asks("sendInitialEvents"));
    EXPECT_EQ(scene.folded.names(), "a");
}

TEST(ReflectorWatch, TheSameBookmarkAgainAndAgainIsNoBusyLoop) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(2s);
    scene.end();
    scene.run();
    scene.head();
    scene.body(bookmark("5"));
    scene.end();
    scene.run();
    EXPECT_TRUE(scene.server.open_requests().empty());
}

TEST(ReflectorWatch, WaitsAsLongAsItIsTold) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.pass(2s);
    scene.end();
    scene.run();
    const auto busy = scene.open();
    scene.server.head(busy.id, {429, kJson, 17s, {}});
    scene.server.body(busy.id, status(429, "TooManyRequests", "too many requests"));
    scene.server.end(busy.id);
    scene.run();
    scene.pass(16s);
    EXPECT_TRUE(scene.server.open_requests().empty());
    scene.pass(1s);
    EXPECT_TRUE(scene.asks("resourceVersion=5&")) << scene.target();
    EXPECT_FALSE(scene.asks("sendInitialEvents"));
    EXPECT_EQ(scene.folded.said("429"), 1);
}

TEST(ReflectorWatch, AThrottledStreamKeepsItsVersion) {
    Scene scene;
    scene.start({service("a")}, "5");
    scene.send(event("ERROR", status(429, "TooManyRequests")));
    scene.pass(3s);
    EXPECT_TRUE(scene.asks("resourceVersion=5&")) << scene.target();
    EXPECT_FALSE(scene.asks("sendInitialEvents"));
}

TEST(ReflectorWatch, WarningsAreToldOnce) {
    Scene scene;
    scene.reflector.start();
    scene.server.head(scene.open().id, {200, kJson, {}, {"v1 is old"}});
    scene.send(bookmark("5", true));
    scene.pass(2s);
    scene.end();
    scene.run();
    scene.server.head(scene.open().id, {200, kJson, {}, {"v1 is old"}});
    scene.run();
    EXPECT_EQ(scene.folded.said("the server warns: v1 is old"), 1);
}

// ---- Answers that are none: whichever comes, what is known stays, one message a kind, and it mends itself.

struct Bad {
    const char* name;
    std::function<void(Scene&)> answer;  // to the open request
    const char* said;

    friend std::ostream& operator<<(std::ostream& out, const Bad& bad) { return out << bad.name; }
};

class BadAnswer : public ::testing::TestWithParam<Bad> {};

TEST_P(BadAnswer, ChangesNothingAndPasses) {
    Scene scene;
    scene.start({service("a"), service("b")}, "5");
    scene.pass(2s);
    scene.end();
    scene.run();
    for (int tries = 0; tries < 40; ++tries) {
        if (!scene.server.open_requests().empty()) GetParam().answer(scene);
        scene.run();
        EXPECT_EQ(scene.folded.names(), "a b");
        scene.pass(61s);
    }
    EXPECT_LE(scene.server.sent_count(), 90U) << "pauses grow";
    EXPECT_GE(scene.folded.said(GetParam().said), 1) << ::testing::PrintToString(scene.folded.lines);
    EXPECT_LE(scene.folded.lines.size(), 5U) << ::testing::PrintToString(scene.folded.lines);
    // The server is well again.
    for (int turn = 0; turn < 6 && scene.folded.names() != "a c"; ++turn) {
        if (scene.server.open_requests().empty()) {
            scene.pass(61s);
        } else if (!scene.asks("watch=true")) {
            scene.answer(200, list({json(service("a"), "3"), json(service("c"), "9")}, "9"));
        } else {
            scene.head();
            if (scene.asks("sendInitialEvents"))
                scene.send(added(service("a"), "3") + added(service("c"), "9") + bookmark("9", true));
            else
                scene.send(deleted(service("b"), "8") + added(service("c"), "9"));
        }
    }
    EXPECT_EQ(scene.folded.names(), "a c");
    EXPECT_GE(scene.folded.said("failed tr"), 1) << ::testing::PrintToString(scene.folded.lines);
}

std::function<void(Scene&)> answers(int code, const std::string& body, const std::string& type = kJson) {
    return [=](Scene& scene) { scene.answer(code, body, type); };
}
std::function<void(Scene&)> fails(TransportError::Kind kind) {
    return [=](Scene& scene) { scene.fail(kind); };
}

INSTANTIATE_TEST_SUITE_P(
    Reflector, BadAnswer,
    ::testing::Values(
        Bad{"Unauthorized", answers(401, status(401, "Unauthorized", "Unauthorized")), "401 Unauthorized"},
        Bad{"Forbidden", answers(403, status(403, "Forbidden", "no list for you")), "no list for you"},
        Bad{"NotFound", answers(404, "404 page not found\n", "text/plain"), "HTTP 404"},
        Bad{"InternalError", answers(500, status(500, "InternalError", "etcd is sad")), "etcd is sad"},
        Bad{"Unavailable", answers(503, "upstream connect error", "text/plain"), "upstream connect error"},
        Bad{"NotAcceptable", answers(406, status(406, "NotAcceptable", "no protobuf")), "no protobuf"},
        Bad{"Web page", answers(200, "<html>sign in</html>", "text/html"), "text/html"},
        Bad{"Garbage", answers(200, "\x01\x02}{"), "makes no sense"},
        Bad{"Nothing", answers(200, ""), "as soon as it began"},
        Bad{"Status with 200", answers(200, status(500, "InternalError", "late sorrow")), "late sorrow"},
        Bad{"Error event", answers(200, event("ERROR", status(500, "InternalError", "watch sorrow"))), "watch sorrow"},
        Bad{"Half", answers(200, added(service("x"), "6").substr(0, 50)), "as soon as it began"},
        Bad{"Refused", fails(TransportError::Kind::kRefused), "api.test: trouble"},
        Bad{"Broken", fails(TransportError::Kind::kBroken), "api.test: trouble"},
        Bad{"No trust", fails(TransportError::Kind::kTls), "api.test: trouble"},
        Bad{"No credentials", fails(TransportError::Kind::kCredentials), "api.test: trouble"},
        Bad{"Timeout", fails(TransportError::Kind::kTimeout), "api.test: trouble"}),
    [](const auto& test) {
        std::string name = test.param.name;
        std::erase(name, ' ');
        return name;
    });

}  // namespace
}  // namespace ghostip::source::kubernetes
