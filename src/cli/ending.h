// How the agent is ended from elsewhere: by a signal, by a change of the configuration, by what cannot go on. Any
// thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "agent/agent.h"
#include "base/result.h"

namespace ghostip::cli {

// Ends the agent while there is one, and keeps the first reason that is not a signal. What comes before there is an
// agent ends it as soon as it is there.
class Ending {
  public:
    // While it lives, its agent is the one to end.
    class Of {
      public:
        Of(Ending& ending, agent::Agent& agent) : ending_(ending) { ending_.point_at(&agent); }
        ~Of() { ending_.point_at(nullptr); }
        Of(const Of&) = delete;
        Of& operator=(const Of&) = delete;

      private:
        Ending& ending_;
    };

    void stop();
    // There was a signal; nothing is stopped by that alone.
    void note_signal();
    void set(Error error);
    // Waits for a signal, at most so long; true: there was one, now or before.
    [[nodiscard]] bool wait_for_signal(std::chrono::milliseconds longest);
    // The first that was set.
    [[nodiscard]] Result<void> get();

  private:
    void point_at(agent::Agent* agent);

    std::mutex mutex_;
    std::condition_variable told_;
    agent::Agent* agent_ = nullptr;  // guarded by mutex_
    bool stopped_ = false;           // guarded by mutex_
    bool signalled_ = false;         // guarded by mutex_
    std::optional<Error> error_;     // guarded by mutex_
};

}  // namespace ghostip::cli
