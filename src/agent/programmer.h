// Who calls the dataplane of one family. Where calls are quick the loop does it itself, and the answer is there at
// once. Where they run programs a thread of its own does, and the loop goes on meanwhile: at most one call is under
// way, and what another thread does with the dataplane ends with its answer.
//
// Belongs to the loop. When this ends it waits for the call that is under way; the program that it runs is not ended.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "agent/background.h"
#include "dataplane/dataplane.h"

namespace ghostip::agent {

class Programmer {
  public:
    using Call = std::function<Result<dataplane::Outcome>(dataplane::Dataplane&)>;
    struct Answer {
        Result<dataplane::Outcome> outcome;
        std::vector<dataplane::SetAside> set_aside;  // all, as it is after the call
    };

    // `answered` is called when there is an answer of a call that was not quick: from its thread.
    Programmer(std::unique_ptr<dataplane::Dataplane> dataplane, dataplane::Calls calls, std::function<void()> answered);
    Programmer(const Programmer&) = delete;
    Programmer& operator=(const Programmer&) = delete;

    // From begin() until take() has brought its answer.
    [[nodiscard]] bool busy() const { return busy_; }
    // Not while busy.
    void begin(Call call);
    [[nodiscard]] std::optional<Answer> take();
    // Not while busy: a call may be changing it.
    [[nodiscard]] dataplane::Dataplane& dataplane() { return *dataplane_; }

  private:
    [[nodiscard]] static Answer make(dataplane::Dataplane& dataplane, const Call& call);

    const std::unique_ptr<dataplane::Dataplane> dataplane_;
    const std::function<void()> answered_;
    bool busy_ = false;

    std::mutex mutex_;
    std::optional<Answer> answer_;        // guarded by mutex_
    std::unique_ptr<Background> thread_;  // null: calls are quick; last: it uses the rest
};

}  // namespace ghostip::agent
