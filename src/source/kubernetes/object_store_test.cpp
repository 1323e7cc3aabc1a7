#include "source/kubernetes/object_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/backoff.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::UnorderedElementsAre;

api::Object service(std::string name, std::uint16_t port, std::string space = "default") {
    api::Service service;
    service.namespace_ = std::move(space);
    service.name = std::move(name);
    service.ports = {{"", net::Protocol::kTcp, port, 0}};
    return std::make_shared<const api::Service>(service);
}

std::vector<std::string> texts(const std::vector<api::Change>& changes) {
    std::vector<std::string> texts;
    texts.reserve(changes.size());
    for (const auto& change : changes) texts.push_back((change.object ? "+" : "-") + change.key.text());
    return texts;
}

TEST(ObjectStore, KeepsOneObjectAKey) {
    ObjectStore store;
    EXPECT_TRUE(store.put(service("a", 80)));
    EXPECT_FALSE(store.put(service("a", 80))) << "same content";
    EXPECT_TRUE(store.put(service("a", 81)));
    EXPECT_TRUE(store.put(service("a", 80, "other")));
    EXPECT_EQ(store.size(), 2U);
    const api::ObjectKey key{api::Kind::kService, "default", "a"};
    ASSERT_NE(store.find(key), nullptr);
    EXPECT_TRUE(api::same_content(*store.find(key), service("a", 81)));
    EXPECT_TRUE(store.remove(key));
    EXPECT_FALSE(store.remove(key));
    EXPECT_EQ(store.find(key), nullptr);
}

TEST(ObjectStore, TellsWhatTurnsOneStateIntoAnother) {
    ObjectStore now;
    ObjectStore next;
    const auto shared = service("shared", 80);
    for (auto* store : {&now, &next}) store->put(shared);
    now.put(service("equal", 80));
    next.put(service("equal", 80));
    now.put(service("changed", 80));
    next.put(service("changed", 81));
    now.put(service("gone", 80));
    next.put(service("new", 80));
    EXPECT_THAT(texts(differences(now, next)),
                UnorderedElementsAre("+Service default/changed", "+Service default/new", "-Service default/gone"));
    EXPECT_TRUE(differences(now, now).empty());
}

TEST(Backoff, DoublesUpToHalfAMinuteAndStretches) {
    Backoff backoff;
    Clock::time_point now{1h};
    for (const auto expected : {800ms, 1600ms, 3200ms, 6400ms, 12800ms, 25600ms, 30000ms, 30000ms})
        EXPECT_EQ(backoff.step(now, 0), expected);
    EXPECT_EQ(backoff.step(now, 0.5), 45s);
    now += 2min;
    EXPECT_EQ(backoff.step(now, 0), 30s) << "not yet over";
    now += 2min + 1s;
    EXPECT_EQ(backoff.step(now, 0.25), 1s) << "starts anew";
}

}  // namespace
}  // namespace ghostip::source::kubernetes
