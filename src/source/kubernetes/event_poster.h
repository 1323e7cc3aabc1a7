// Writes Events (events.k8s.io/v1) for people who run `kubectl describe node`. Best effort, and never in anybody's way:
// at most 1000 wait, more are dropped; a try that reaches nobody is repeated eleven times, what the server rejects is
// not. Repeats of an event become a series: the second occurrence is written, later ones are counted here and written
// now and then (client-go's event broadcaster).
//
// post() and stats() are for any thread; all else is for the transport's.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "source/kubernetes/backoff.h"
#include "source/kubernetes/event_body.h"
#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

struct EventSeams {
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
    std::function<WallTime()> wall = [] { return std::chrono::system_clock::now(); };
    std::function<double()> random;  // uniform in [0, 1)
};

struct EventStats {
    std::uint64_t written = 0;   // created or patched
    std::uint64_t dropped = 0;   // too many waited, or nobody was reached for too long
    std::uint64_t rejected = 0;  // by the server
};

class EventPoster final : private ResponseHandler {
  public:
    using Say = std::function<void(log::Level, std::string)>;

    // The transport outlives the poster.
    EventPoster(EventReporter reporter, EventSeams seams, Transport& transport, Say say)
        : reporter_(std::move(reporter)), seams_(std::move(seams)), transport_(transport), say_(std::move(say)) {}
    ~EventPoster() override;
    EventPoster(const EventPoster&) = delete;
    EventPoster& operator=(const EventPoster&) = delete;

    void post(Event event);
    [[nodiscard]] EventStats stats() const;

    [[nodiscard]] Clock::time_point due() const;
    void tick();

  private:
    enum class Write : std::uint8_t { kCreate, kPatch };
    struct Task {
        std::string series;  // key of series_
        Write write = Write::kCreate;
        int tries = 0;
    };
    struct Series {
        EventRecord record;
        Clock::time_point last;  // occurrence
        int written_count = 1;
        int tasks = 0;  // that refer to it
    };

    void take_in(Event event, WallTime when);
    void add_task(const std::string& series, Write write);
    void look_after_series(Clock::time_point now);
    void send();
    void done(const std::string& outcome);
    void try_later(std::optional<std::chrono::seconds> at_least, const std::string& why);
    void say_once(const std::string& text);

    void on_head(const ResponseHead& head) override;
    void on_body(std::string_view bytes) override;
    void on_end(const std::optional<TransportError>& error) override;

    const EventReporter reporter_;
    const EventSeams seams_;
    Transport& transport_;
    const Say say_;

    mutable std::mutex mutex_;
    std::vector<std::pair<Event, WallTime>> incoming_;  // guarded by mutex_
    std::size_t waiting_ = 0;                           // guarded by mutex_: incoming_ and tasks_
    EventStats stats_;                                  // guarded by mutex_

    std::map<std::string, Series> series_;
    std::deque<Task> tasks_;  // the first is the one being written
    std::optional<RequestId> request_;
    int sent_count_ = 1;  // of the series in the request
    ResponseHead head_;
    std::string body_;
    Clock::time_point retry_at_;
    std::optional<Clock::time_point> refresh_at_;
    std::optional<Clock::time_point> finish_at_;
    std::string said_;
};

}  // namespace ghostip::source::kubernetes
