// One thread that waits for descriptors and deadlines, and does what others hand it. Everything but post() and call()
// belongs to that thread.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "relay/intrusive_list.h"

namespace ghostip::relay {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// Who hears of a descriptor.
class EventSink {
  public:
    EventSink() = default;
    EventSink(const EventSink&) = delete;
    EventSink& operator=(const EventSink&) = delete;
    virtual ~EventSink() = default;
    virtual void on_events(std::uint32_t events) = 0;
};

// Ends up in one line of deadlines at a time.
struct InLine;
class Timed : public ListHook<InLine> {
  public:
    virtual ~Timed() = default;
    virtual void on_deadline() = 0;

  protected:
    void unlink_deadline() { unlink(); }

  private:
    friend class Line;
    TimePoint deadline_;
};

// All in a line wait equally long, so that the first is always the next: starting and stopping takes no search.
class Line {
  public:
    explicit Line(std::chrono::milliseconds wait) : wait_(wait) {}
    // Anew, if it waits already.
    void start(Timed& timed, TimePoint now) {
        timed.deadline_ = now + wait_;
        waiting_.push_back(timed);
    }
    [[nodiscard]] TimePoint next() const { return waiting_.empty() ? TimePoint::max() : waiting_.front()->deadline_; }
    void run(TimePoint now) {
        while (next() <= now) waiting_.pop_front()->on_deadline();
    }
    // The one that waits longest; null: nobody.
    [[nodiscard]] Timed* first() const { return waiting_.front(); }

  private:
    const std::chrono::milliseconds wait_;
    IntrusiveList<Timed, InLine> waiting_;
};

// Has more to do, but others come first.
struct InTurn;
class TakesTurns : public ListHook<InTurn> {
  public:
    virtual ~TakesTurns() = default;
    virtual void on_turn() = 0;
};

class Loop {
  public:
    Loop() = default;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    ~Loop() { stop(); }

    [[nodiscard]] Result<void> start(unsigned number);
    // `last_words` runs on the thread, as its last. Returns when the thread has ended.
    void stop(const std::function<void()>& last_words = nullptr);

    // --- any thread
    void post(std::function<void()> task);
    // Returns when it has run. Not on the loop's own thread.
    void call(const std::function<void()>& task);

    // --- the loop's thread
    // False: the kernel has no memory for it.
    [[nodiscard]] bool watch(int fd, std::uint32_t events, EventSink& sink) const;
    void ignore(int fd) const;
    [[nodiscard]] TimePoint now() const { return now_; }
    void at(TimePoint when, std::function<void()> task) { tasks_.emplace(when, std::move(task)); }
    // Lines live as long as the loop's user; they are looked at before each wait.
    void add_line(Line& line) { lines_.push_back(&line); }
    void take_turn(TakesTurns& who) { turns_.push_back(who); }
    // Deleted when no event that was already fetched can name it any more. It waits for no deadline again; takes no
    // memory, since this is also how somebody ends for whom there is none.
    void bury(std::unique_ptr<Timed> who) { graveyard_.push_back(*who.release()); }

  private:
    void run();
    void run_posted();
    void run_deadlines();
    void run_turns();
    void clear_graveyard();
    [[nodiscard]] int timeout() const;
    void wake() const;

    Fd epoll_;  // constant after start()
    Fd wake_;   // constant after start()
    TimePoint now_;
    std::vector<Line*> lines_;
    std::multimap<TimePoint, std::function<void()>> tasks_;
    IntrusiveList<TakesTurns, InTurn> turns_;
    IntrusiveList<Timed, InLine> graveyard_;  // owns
    bool stopping_ = false;

    std::mutex mutex_;
    std::vector<std::function<void()>> posted_;  // guarded by mutex_
    std::thread thread_;
};

}  // namespace ghostip::relay
