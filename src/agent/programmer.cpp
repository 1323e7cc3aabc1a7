#include "agent/programmer.h"

#include <utility>

namespace ghostip::agent {

Programmer::Programmer(std::unique_ptr<dataplane::Dataplane> dataplane, dataplane::Calls calls,
                       std::function<void()> answered)
    : dataplane_(std::move(dataplane)),
      answered_(std::move(answered)),
      thread_(calls == dataplane::Calls::kQuick ? nullptr : std::make_unique<Background>()) {}

Programmer::Answer Programmer::make(dataplane::Dataplane& dataplane, const Call& call) {
    auto outcome = call(dataplane);
    return {std::move(outcome), dataplane.set_aside()};
}

void Programmer::begin(Call call) {
    busy_ = true;
    if (!thread_) {
        auto answer = make(*dataplane_, call);
        const std::lock_guard lock(mutex_);
        answer_ = std::move(answer);
        return;
    }
    thread_->run([this, call = std::move(call)] {
        auto answer = make(*dataplane_, call);
        {
            const std::lock_guard lock(mutex_);
            answer_ = std::move(answer);
        }
        answered_();
    });
}

std::optional<Programmer::Answer> Programmer::take() {
    const std::lock_guard lock(mutex_);
    if (answer_) busy_ = false;
    return std::exchange(answer_, std::nullopt);
}

}  // namespace ghostip::agent
