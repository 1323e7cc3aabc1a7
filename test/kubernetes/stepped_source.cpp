#include "kubernetes/stepped_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace ghostip::testkubernetes {
namespace {

using source::kubernetes::KubernetesSource;
using source::kubernetes::MemoryTransport;

constexpr int kBusyLoop = 10'000;
constexpr std::size_t kLines = 40;

}  // namespace

SteppedSource::SteppedSource(source::kubernetes::KubernetesSourceOptions options, std::function<double()> random) {
    auto transport = std::make_unique<MemoryTransport>();
    server_ = transport.get();
    server_->on_idle([this](std::chrono::milliseconds limit) { idle(limit); });
    options.seams = {[this] { return now_; }, std::move(random)};
    source_ = std::make_unique<KubernetesSource>(
        std::move(options), std::move(transport),
        [this](log::Level /*level*/, const std::string& line) {
            lines_.push_back(line);
            if (lines_.size() > kLines) lines_.pop_front();
        },
        [](const source::kubernetes::HeldRemoval&) {});
}

SteppedSource::~SteppedSource() {
    {
        const std::lock_guard lock(mutex_);
        turn_ = Turn::kOver;
    }
    changed_.notify_all();
    source_->stop();
}

void SteppedSource::start() {
    {
        const std::lock_guard lock(mutex_);
        turn_ = Turn::kSource;
    }
    const auto started = source_->start(queue_);
    EXPECT_TRUE(started) << started.error().message;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return turn_ == Turn::kTest; });
}

void SteppedSource::pass(std::chrono::milliseconds duration) {
    const auto end = now_ + duration;
    give_turn();
    while (due_ <= end) {
        now_ = std::max(now_, due_);
        give_turn();
    }
    now_ = end;
    give_turn();
}

void SteppedSource::give_turn() {
    std::unique_lock lock(mutex_);
    turn_ = Turn::kSource;
    changed_.notify_all();
    changed_.wait(lock, [&] { return turn_ == Turn::kTest; });
}

// On the source's thread, when nothing is left to deliver.
void SteppedSource::idle(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    if (turn_ == Turn::kOver) return;
    if (limit.count() <= 0) {
        EXPECT_LT(++busy_, kBusyLoop) << "a busy loop";
        if (busy_ < kBusyLoop) return;
    }
    busy_ = 0;
    due_ = now_ + std::max(limit, std::chrono::milliseconds(1));
    turn_ = Turn::kTest;
    changed_.notify_all();
    changed_.wait(lock, [&] { return turn_ != Turn::kTest; });
}

}  // namespace ghostip::testkubernetes
