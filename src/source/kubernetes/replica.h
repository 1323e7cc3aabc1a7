// The state of one resource here: follows the server's, and hands on what differs. Knows neither requests nor time
// outs; reflector.h decides when what it hears is to be believed.
//
// A full state is collected beside the one that is in use and takes its place in one step, as one vector of changes:
// nobody ever sees half of it. An object whose new version does not decode stays as it was last understood. A full
// state that takes away too much (mass_removal.h) is applied but for what it takes away, which waits.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/source.h"
#include "api/stream.h"
#include "base/log.h"
#include "source/kubernetes/backoff.h"
#include "source/kubernetes/mass_removal.h"
#include "source/kubernetes/object_store.h"

namespace ghostip::source::kubernetes {

// Hears of one resource. Called on the transport's thread.
class ReflectorListener {
  public:
    virtual ~ReflectorListener() = default;
    virtual void changed(std::vector<api::Change> changes) = 0;  // never empty
    // The first full state has been handed on. Once.
    virtual void synced(api::Kind kind) = 0;
    // A removal is being held back: raise an alarm.
    virtual void held(const HeldRemoval& removal) = 0;
    // One line for the log, which begins with the resource's name.
    virtual void say(log::Level level, std::string text) = 0;
};

class Replica {
  public:
    enum class Answer : std::uint8_t {
        kAny,
        kAsked,  // a list that was asked for because of a doubt, past all caches: it is believed
    };

    Replica(std::string resource, MassRemovalLimits limits, ReflectorListener& listener)
        : resource_(std::move(resource)), limits_(limits), listener_(listener) {}

    // A full state: begin, its objects (and whatever happens to them meanwhile), then it takes over.
    void begin();
    void collect(api::Received received);
    void take_over(Answer answer, Clock::time_point now);

    // Between full states. What it changes is handed on by flush().
    void follow(api::Received received);
    void flush();

    // While something is held back: when to ask for a second answer, and until when to wait for one.
    [[nodiscard]] bool holding() const { return hold_.has_value(); }
    [[nodiscard]] Clock::time_point ask_again_at() const { return hold_->ask_again_at; }
    [[nodiscard]] Clock::time_point hold_until() const { return hold_->until; }
    // The time is over: applies what was held back.
    void stop_holding();

    [[nodiscard]] std::size_t size() const { return store_.size(); }
    [[nodiscard]] std::uint64_t decode_failures() const { return decode_failures_; }
    [[nodiscard]] std::uint64_t held_removals() const { return held_removals_; }

  private:
    struct Hold {
        Clock::time_point ask_again_at;
        Clock::time_point until;
        // What the doubted answer says of them. A later event of a watch takes precedence.
        std::map<api::ObjectKey, std::optional<api::Object>> pending;
    };

    [[nodiscard]] bool doubtful(const std::vector<api::Change>& changes, const Removal& removal) const;
    void hold(std::vector<api::Change> changes, const Removal& removal, Clock::time_point now);
    void apply(std::vector<api::Change> changes);
    void heard_of(const api::ObjectKey& key);

    const std::string resource_;
    const MassRemovalLimits limits_;
    ReflectorListener& listener_;

    ObjectStore store_;  // what has been handed on, or is in changes_
    ObjectStore next_;   // a full state on its way
    int unnamed_ = 0;    // objects of next_ of which not even the name is known
    std::optional<Hold> hold_;
    std::vector<api::Change> changes_;
    std::uint64_t decode_failures_ = 0;
    std::uint64_t held_removals_ = 0;
};

}  // namespace ghostip::source::kubernetes
