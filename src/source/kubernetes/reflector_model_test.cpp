// A reflector against a model of an API server that does everything at the wrong moment: thousands of random steps.
//
// After each quiet moment the state that was handed on equals the server's. In between, no object that the server has
// had all the time is ever taken away, however streams break, versions expire or the server is set back.
// The same with all kinds, both encodings and the plan behind them: test/kubernetes/plan_model_test.cpp.
#include <gmock/gmock.h>

#include <cstdlib>

#include "source/kubernetes/model_server_testing.h"
#include "source/kubernetes/reflector_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using testing::Dice;
using testing::JsonWire;
using testing::ModelServer;
using testing::Scene;
using testing::service;
using testing::Wire;

constexpr int kImmortals = 4;

class Walk {
  public:
    explicit Walk(std::uint64_t seed)
        : dice_(seed), scene_(options(seed)), server_(scene_.server, dice_, json_, nullptr) {
        scene_.random = [this] { return dice_.unit(); };
        // These are there from the beginning to the end, in each version of the world.
        for (int i = 0; i < kImmortals; ++i) write(fmt::format("always-{}", i));
        server_.keep_copies();
        server_.streams = seed % 3 != 0;
        scene_.folded.after_change = [this] { check_while_it_moves(); };
    }

    void go(int steps) {
        scene_.reflector.start();
        for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
            step();
            if (dice_.one_in(30)) check_when_quiet();
        }
        check_when_quiet();
        EXPECT_GT(scene_.reflector.stats().objects, 0U);
    }

  private:
    // In half of the runs nothing is ever held back, in the others nearly everything.
    static ReflectorOptions options(std::uint64_t seed) {
        ReflectorOptions options;
        options.mass_removal.share = seed % 2 == 0 ? 0 : 0.01;
        options.mass_removal.more_than = 0;
        return options;
    }

    void step() {
        switch (dice_.below(14)) {
            case 0: server_.compact(); break;
            case 1: server_.drop_watches(); break;
            case 2:
                server_.finish_streams();
                server_.bookmarks();
                break;
            case 3: server_.close_some_watch(); break;
            case 4: scene_.pass(std::chrono::milliseconds(dice_.below(400'000))); break;
            case 5:
                if (dice_.one_in(3)) server_.keep_copies();
                break;
            case 6:
                if (dice_.one_in(5)) restore();
                break;
            default: change_something(); break;
        }
        if (dice_.one_in(2)) scene_.run();
        if (dice_.one_in(4)) scene_.pass(std::chrono::milliseconds(dice_.below(5'000)));
    }

    void change_something() {
        const std::string name = dice_.one_in(3) ? fmt::format("always-{}", dice_.below(kImmortals))
                                                 : fmt::format("now-and-then-{}", dice_.below(8));
        const api::ObjectKey key{api::Kind::kService, "default", name};
        if (server_.has(key) && name.starts_with("now") && dice_.one_in(2))
            server_.remove(key);
        else
            write(name, server_.faults && dice_.one_in(12) ? Wire::Is::kBroken : Wire::Is::kWell);
    }
    void write(const std::string& name, Wire::Is state = Wire::Is::kWell) {
        server_.put(service(name, static_cast<std::uint16_t>(1 + dice_.below(3))), state);
    }

    // Takes a while, in which nobody listens; and the copy is not passed by before everybody is back.
    void restore() {
        server_.go_down();
        scene_.pass(2min);
        server_.come_back_from_backup();
        server_.faults = false;
        scene_.pass(2min);
        server_.faults = true;
    }

    // No faults, nothing changes, and time enough for pauses, dead watches and doubts.
    void check_when_quiet() {
        server_.faults = false;
        server_.repair_objects();
        server_.finish_streams();
        for (int minute = 0; minute < 20; ++minute) {
            scene_.pass(1min);
            server_.bookmarks();
            scene_.run();
        }
        std::map<std::string, api::Object> theirs;
        for (const auto& object : server_.objects()) theirs.emplace(api::key_of(object).name, object);
        EXPECT_EQ(theirs.size(), scene_.folded.objects.size()) << scene_.folded.names();
        for (const auto& [name, object] : theirs) {
            const auto found = scene_.folded.objects.find({api::Kind::kService, "default", name});
            ASSERT_NE(found, scene_.folded.objects.end()) << name << " is missing";
            EXPECT_TRUE(api::same_content(found->second, object)) << name << " is not the server's";
        }
        EXPECT_FALSE(scene_.reflector.stats().holding);
        EXPECT_LT(*scene_.reflector.stats().watch_age_seconds, 90);
        server_.faults = true;
    }

    void check_while_it_moves() {
        const auto& objects = scene_.folded.objects;
        for (const auto& [key, object] : before_)
            if (!objects.contains(key)) ++removals_[key.name];
        before_ = objects;
        for (const auto& [name, count] : removals_) {
            ASSERT_FALSE(name.starts_with("always")) << name << " was taken away";
            ASSERT_LE(count, server_.deletions({api::Kind::kService, "default", name}))
                << name << " was taken away more often than it was deleted";
        }
    }

    Dice dice_;
    const JsonWire json_;
    Scene scene_;
    ModelServer server_;
    std::map<api::ObjectKey, api::Object> before_;
    std::map<std::string, int> removals_;
};

// GHOSTIP_MODEL_SEED=n runs one seed alone.
TEST(ReflectorModel, FollowsWhateverHappens) {
    std::uint64_t first = 1;
    std::uint64_t last = 40;
    if (const char* told = std::getenv("GHOSTIP_MODEL_SEED"); told != nullptr) first = last = std::stoull(told);
    for (std::uint64_t seed = first; seed <= last && !HasFailure(); ++seed) {
        SCOPED_TRACE(fmt::format("GHOSTIP_MODEL_SEED={}", seed));
        Walk(seed).go(300);
    }
}

}  // namespace
}  // namespace ghostip::source::kubernetes
