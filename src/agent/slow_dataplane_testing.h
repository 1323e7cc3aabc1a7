// For tests: a dataplane whose calls last until the test ends them, as those do that run programs. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "dataplane/dataplane.h"

namespace ghostip::agent::testing {

// What the test and the dataplane share; outlives it.
class Gate {
  public:
    // By the test: the call that is under way, or else the next one, ends like this.
    void end_call(Result<dataplane::Outcome> result = dataplane::Outcome()) {
        const std::lock_guard lock(mutex_);
        endings_.push_back(std::move(result));
        changed_.notify_all();
    }
    // All calls from now on end at once.
    void stay_open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }
    // Waits until so many calls have begun in all. False: they did not within ten seconds.
    [[nodiscard]] bool wait_begun(std::size_t calls) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return begun_.size() >= calls; });
    }
    // Every call in its order, by name.
    [[nodiscard]] std::vector<std::string> begun() {
        const std::lock_guard lock(mutex_);
        return begun_;
    }

    // By the dataplane.
    [[nodiscard]] Result<dataplane::Outcome> call(std::string what) {
        std::unique_lock lock(mutex_);
        begun_.push_back(std::move(what));
        changed_.notify_all();
        changed_.wait(lock, [this] { return open_ || !endings_.empty(); });
        if (endings_.empty()) return dataplane::Outcome();
        auto result = std::move(endings_.front());
        endings_.pop_front();
        return result;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> begun_;                  // guarded by mutex_
    std::deque<Result<dataplane::Outcome>> endings_;  // guarded by mutex_
    bool open_ = false;                               // guarded by mutex_
};

class SlowDataplane final : public dataplane::Dataplane {
  public:
    explicit SlowDataplane(Gate& gate) : gate_(gate) {}

    // "reconcile ns/web:p=80"; ports that its first destination has.
    Result<dataplane::Outcome> reconcile(const plan::Plan& plan) override {
        return gate_.call(text("reconcile", plan));
    }
    Result<dataplane::Outcome> apply(const plan::Delta& delta) override {
        std::string what = "apply";
        for (const auto& change : delta.service_ports)
            what += fmt::format(" {}:{}>{}", (change.after ? change.after : change.before)->name.text(),
                                port_of(change.before), port_of(change.after));
        return gate_.call(what);
    }
    Result<dataplane::Outcome> repair(const plan::Plan& plan,
                                      std::span<const dataplane::ForeignWrite> /*writes*/) override {
        return gate_.call(text("repair", plan));
    }
    Result<dataplane::Outcome> check(const plan::Plan& plan, const Sight& /*sight*/) override {
        return gate_.call(text("check", plan));
    }

  private:
    static int port_of(const plan::ServicePortPlanPtr& plan) {
        return plan && !plan->destinations.empty() ? plan->destinations.front().key.port : 0;
    }
    static std::string text(std::string what, const plan::Plan& plan) {
        for (const auto& [name, port] : plan.service_ports) what += fmt::format(" {}={}", name.text(), port_of(port));
        return what;
    }

    Gate& gate_;
};

}  // namespace ghostip::agent::testing
