// A reflector against a model of an API server that does everything at the wrong moment: thousands of random steps.
//
// After each quiet moment the state that was handed on equals the server's. In between, no object that the server has
// had all the time is ever taken away, however streams break, versions expire or the server is set back.
#include <gmock/gmock.h>

#include <cstdlib>
#include <deque>
#include <random>
#include <regex>

#include "source/kubernetes/reflector_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using testing::bookmark;
using testing::deleted;
using testing::event;
using testing::json;
using testing::kJson;
using testing::list;
using testing::Scene;
using testing::service;
using testing::status;
using testing::too_large;
using testing::undecodable;

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    [[nodiscard]] std::size_t below(std::size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
    [[nodiscard]] bool one_in(std::size_t n) { return below(n) == 0; }
    [[nodiscard]] double unit() { return std::uniform_real_distribution<double>(0, 1)(engine_); }

  private:
    std::mt19937_64 engine_;
};

std::string parameter(const std::string& target, const std::string& name) {
    std::smatch match;
    return std::regex_search(target, match, std::regex("[?&]" + name + "=([^&]*)")) ? match[1].str() : "";
}

struct Stored {
    std::string text;                   // of the object with its version
    std::optional<api::Object> object;  // absent: what is written is not decodable
};

struct Happened {
    int version = 0;
    std::string line;
};

// What etcd holds, and what the watch cache remembers of how it came.
struct State {
    std::map<std::string, Stored> objects;
    int version = 1;
    std::deque<Happened> history;
    int compacted = 0;  // events up to this version are forgotten
};

class ModelServer {
  public:
    ModelServer(Scene& scene, Dice& dice) : scene_(scene), dice_(dice) {
        scene.server.on_request([this](RequestId id, const Request& request) { answer(id, request.target); });
        // These are there from the beginning to the end, in each version of the world.
        for (int i = 0; i < kImmortals; ++i) write(fmt::format("always-{}", i));
        keep_copies();
    }

    static constexpr int kImmortals = 4;

    // ---- What users do.

    void change_something() {
        const std::string name = dice_.one_in(3) ? fmt::format("always-{}", dice_.below(kImmortals))
                                                 : fmt::format("now-and-then-{}", dice_.below(8));
        const bool there = state_.objects.contains(name);
        if (there && name.starts_with("now") && dice_.one_in(2))
            erase(name);
        else
            write(name, faults && dice_.one_in(12));
    }

    // ---- What operators and time do.

    void compact() {
        state_.compacted = state_.version;
        state_.history.clear();
    }
    void keep_copies() {
        backup_ = state_;
        cached_ = state_;
    }
    // Takes a while, in which nobody listens; and the copy is not passed by before everybody is back.
    void restore() {
        drop_watches();
        down = true;
        scene_.pass(2min);
        down = false;
        state_ = backup_;
        cached_ = state_;
        // What was written since is gone, as if deleted.
        for (auto& [name, count] : deletions_) ++count;
        faults = false;
        scene_.pass(2min);
        faults = true;
    }
    void drop_watches() {
        for (const auto& sent : scene_.server.open_requests()) break_off(sent.id);
        watches_.clear();
    }
    void repair_objects() {
        for (const auto& [name, stored] : std::map(state_.objects))
            if (!stored.object) write(name);
    }
    void bookmarks() {
        for (const auto& [id, from] : watches_)
            if (from <= state_.version) scene_.server.body(id, bookmark(fmt::to_string(state_.version)));
    }
    void close_some_watch() {
        if (watches_.empty()) return;
        scene_.server.end(watches_.begin()->first);
        watches_.erase(watches_.begin());
    }

    // How often an object may have been taken away by now.
    [[nodiscard]] int deletions(const std::string& name) const {
        const auto found = deletions_.find(name);
        return found == deletions_.end() ? 0 : found->second;
    }
    [[nodiscard]] const State& state() const { return state_; }

    bool faults = true;
    bool down = false;    // refuses everybody
    bool streams = true;  // offers the streaming list

  private:
    void write(const std::string& name, bool broken = false) {
        const int version = ++state_.version;
        deletions_.try_emplace(name, 0);
        const bool is_new = !state_.objects.contains(name);
        Stored stored;
        if (broken) {
            stored.text = undecodable(name, fmt::to_string(version));
        } else {
            stored.object = service(name, static_cast<std::uint16_t>(1 + dice_.below(3)));
            stored.text = json(*stored.object, fmt::to_string(version));
        }
        happen(event(is_new ? "ADDED" : "MODIFIED", stored.text));
        state_.objects[name] = std::move(stored);
    }
    void erase(const std::string& name) {
        const int version = ++state_.version;
        ++deletions_[name];
        const auto& object = state_.objects.at(name).object;
        happen(object ? deleted(*object, fmt::to_string(version))
                      : event("DELETED", undecodable(name, fmt::to_string(version))));
        state_.objects.erase(name);
    }
    void happen(std::string line) {
        for (const auto& [id, from] : watches_)
            if (from < state_.version) say(id, line);
        state_.history.push_back({state_.version, std::move(line)});
    }

    void answer(RequestId id, const std::string& target) {
        if (down) return scene_.server.end(id, TransportError::Kind::kRefused, "refused");
        if (faults && dice_.one_in(4) && misbehave(id)) return;
        const std::string version = parameter(target, "resourceVersion");
        if (parameter(target, "watch") != "true")
            answer_list(id, version, parameter(target, "limit"), parameter(target, "continue"));
        else if (!parameter(target, "sendInitialEvents").empty())
            answer_stream(id, version);
        else
            answer_watch(id, version);
    }

    void answer_list(RequestId id, const std::string& version, const std::string& limit, const std::string& token) {
        if (!version.empty() && std::stoi(version) > state_.version) {
            scene_.server.answer(id, 504, kJson, too_large());
            return;
        }
        if (token.empty()) {
            // From the cache, which may be behind, or the newest.
            snapshot_ = version == "0" ? cached_ : state_;
            page_ = 0;
        } else if (dice_.one_in(5) && faults) {
            scene_.server.answer(id, 410, kJson, status(410, "Expired"));
            return;
        }
        const std::size_t size = limit.empty() ? 1000 : 1 + dice_.below(4);
        std::vector<std::string> items;
        std::size_t index = 0;
        for (const auto& [name, stored] : snapshot_.objects)
            if (index++ >= page_ && items.size() < size) items.push_back(stored.text);
        page_ += items.size();
        const bool last = page_ >= snapshot_.objects.size();
        scene_.server.head(id, 200, kJson);
        say(id, list(items, fmt::to_string(snapshot_.version), last ? "" : "more"));
        scene_.server.end(id);
    }

    void answer_stream(RequestId id, const std::string& version) {
        if (!streams) return scene_.server.answer(id, 422, kJson, status(422, "Invalid", "no WatchList"));
        if (!version.empty() && std::stoi(version) > state_.version)
            return scene_.server.answer(id, 504, kJson, too_large());
        scene_.server.head(id, 200, kJson);
        for (const auto& [name, stored] : state_.objects) {
            if (faults && dice_.one_in(60)) return break_off(id);
            say(id, event("ADDED", stored.text));
        }
        say(id, bookmark(fmt::to_string(state_.version), true));
        watches_[id] = state_.version;
    }

    void answer_watch(RequestId id, const std::string& version) {
        const int from = std::stoi(version);
        if (from < state_.compacted && dice_.one_in(2))
            return scene_.server.answer(id, 410, kJson, status(410, "Expired"));
        scene_.server.head(id, 200, kJson);
        if (from < state_.compacted) {
            say(id, event("ERROR", status(410, "Expired")));
            scene_.server.end(id);
            return;
        }
        for (const auto& happened : state_.history)
            if (happened.version > from) say(id, happened.line);
        // From a version of the future nothing is said at all until it has come.
        watches_[id] = from;
    }

    // Pieces of any size, and sometimes not all of them.
    void say(RequestId id, const std::string& bytes) {
        if (faults && dice_.one_in(50)) {
            scene_.server.body(id, bytes.substr(0, dice_.below(bytes.size())));
            return break_off(id);
        }
        const std::size_t cut = dice_.below(bytes.size());
        scene_.server.body(id, bytes.substr(0, cut));
        scene_.server.body(id, bytes.substr(cut));
    }
    void break_off(RequestId id) {
        if (dice_.one_in(3))
            scene_.server.end(id);
        else
            scene_.server.end(id, TransportError::Kind::kBroken, "broken");
    }

    bool misbehave(RequestId id) {
        auto& server = scene_.server;
        switch (dice_.below(13)) {
            case 0: server.end(id, TransportError::Kind::kRefused, "refused"); return true;
            case 1: server.end(id, TransportError::Kind::kBroken, "reset"); return true;
            case 2: server.end(id, TransportError::Kind::kTimeout, "timeout"); return true;
            case 3: server.answer(id, 401, kJson, status(401, "Unauthorized")); return true;
            case 4: server.answer(id, 403, kJson, status(403, "Forbidden")); return true;
            case 5:
                server.head(id, {429, kJson, 3s, {}});
                server.end(id);
                return true;
            case 6: server.answer(id, 500, kJson, status(500, "InternalError")); return true;
            case 7: server.answer(id, 503, "text/plain", "no upstream"); return true;
            case 8: server.answer(id, 200, "text/html", "<html>"); return true;
            case 9: server.answer(id, 200, kJson, "{\"garbage\": tru"); return true;
            case 10: server.answer(id, 200, kJson, status(500, "InternalError")); return true;
            case 11: server.answer(id, 200, kJson, event("ERROR", status(500, "InternalError"))); return true;
            case 12: return true;  // silence
            default: return false;
        }
    }

    Scene& scene_;
    Dice& dice_;
    State state_;
    State backup_;    // what a restore brings back
    State cached_;    // what a list at version 0 may still see
    State snapshot_;  // what pages are cut from
    std::size_t page_ = 0;
    std::map<RequestId, int> watches_;  // and from which version
    std::map<std::string, int> deletions_;
};

class Walk {
  public:
    explicit Walk(std::uint64_t seed) : dice_(seed), scene_(options(seed)), server_(scene_, dice_) {
        scene_.random = [this] { return dice_.unit(); };
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
            case 2: server_.bookmarks(); break;
            case 3: server_.close_some_watch(); break;
            case 4: scene_.pass(std::chrono::milliseconds(dice_.below(400'000))); break;
            case 5:
                if (dice_.one_in(3)) server_.keep_copies();
                break;
            case 6:
                if (dice_.one_in(5)) server_.restore();
                break;
            default: server_.change_something(); break;
        }
        if (dice_.one_in(2)) scene_.run();
        if (dice_.one_in(4)) scene_.pass(std::chrono::milliseconds(dice_.below(5'000)));
    }

    // No faults, nothing changes, and time enough for pauses, dead watches and doubts.
    void check_when_quiet() {
        server_.faults = false;
        server_.repair_objects();
        for (int minute = 0; minute < 20; ++minute) {
            scene_.pass(1min);
            server_.bookmarks();
            scene_.run();
        }
        std::map<std::string, api::Object> theirs;
        for (const auto& [name, stored] : server_.state().objects) theirs.emplace(name, *stored.object);
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
            ASSERT_LE(count, server_.deletions(name)) << name << " was taken away more often than it was deleted";
        }
    }

    Dice dice_;
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
