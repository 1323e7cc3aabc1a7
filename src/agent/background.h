// A thread for what the loop must not wait for. Work is done in the order in which it was handed in, one at a time.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace ghostip::agent {

class Background {
  public:
    Background();
    ~Background();
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;

    // From any thread.
    void run(std::function<void()> work);
    // Ends the thread after the work that it is at; the rest is dropped. Again is fine.
    void stop();

  private:
    void loop();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> waiting_;  // guarded by mutex_
    bool stop_ = false;                          // guarded by mutex_
    std::thread thread_;                         // last: it uses the rest
};

}  // namespace ghostip::agent
