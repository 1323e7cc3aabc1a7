#include "source/manifests/manifest_source.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <set>

namespace ghostip::source {
namespace {

using namespace std::chrono_literals;

// Many editors move a file away before they write the new one under its name. What is gone for less is not taken to be
// gone, so that saving does not cut connections.
constexpr auto kGoneAfter = 100ms;
// How often to look whether a folder that vanished is there again.
constexpr auto kFolderRetry = 500ms;

}  // namespace

Result<void> ManifestSource::start(api::ChangeQueue& queue) {
    ASSIGN_OR_RETURN(ManifestSet set, ManifestSet::open(path_));
    // Watched before it is read: nothing that happens in between is missed.
    ASSIGN_OR_RETURN(FolderWatch watch, FolderWatch::open(set.folder()));
    stop_event_ = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!stop_event_) return fail_errno("eventfd");
    queue_ = &queue;
    set_.emplace(std::move(set));
    watch_.emplace(std::move(watch));
    thread_ = std::thread(&ManifestSource::run, this);
    return {};
}

void ManifestSource::stop() {
    if (!thread_.joinable()) return;
    // Cannot fail: the counter is far from its limit.
    static_cast<void>(::eventfd_write(stop_event_.get(), 1));
    thread_.join();
}

void ManifestSource::run() {
    deliver(set_->load());
    queue_->mark_synced();
    while (true) {
        // A negative descriptor is ignored by poll(2).
        std::array<pollfd, 2> ready{{{stop_event_.get(), POLLIN, 0}, {watch_ ? watch_->fd() : -1, POLLIN, 0}}};
        ::poll(ready.data(), ready.size(), poll_timeout());
        if (ready[0].revents != 0) return;
        if (!watch_)
            watch_again();
        else if (ready[1].revents != 0)
            handle(watch_->take());
        read_due();
    }
}

void ManifestSource::handle(const FolderEvents& events) {
    const auto now = Clock::now();
    for (const auto& [name, event] : events.files)
        if (set_->covers(name)) due_[name] = event == FileEvent::kWritten ? now : now + kGoneAfter;
    if (events.all_may_have_changed) deliver(set_->load());
    if (events.folder_lost) {
        watch_.reset();
        watch_again();
    }
}

void ManifestSource::read_due() {
    const auto now = Clock::now();
    std::set<std::string> names;
    for (const auto& [name, time] : due_)
        if (time <= now) names.insert(name);
    if (names.empty()) return;
    for (const auto& name : names) due_.erase(name);
    deliver(set_->load(names));
}

// The folder may have been replaced by another of its name, or be gone.
void ManifestSource::watch_again() {
    auto watch = FolderWatch::open(set_->folder());
    if (watch) watch_.emplace(std::move(*watch));
    deliver(set_->load());
}

void ManifestSource::deliver(Delivery delivery) {
    for (const auto& problem : delivery.problems) on_problem_(problem);
    queue_->push(std::move(delivery.changes));
}

// Milliseconds until something is due; -1 = nothing is.
int ManifestSource::poll_timeout() const {
    std::optional<Clock::duration> wait;
    if (!watch_) wait = kFolderRetry;
    for (const auto& [name, time] : due_) wait = std::min(wait.value_or(Clock::duration::max()), time - Clock::now());
    if (!wait) return -1;
    return static_cast<int>(
        std::chrono::ceil<std::chrono::milliseconds>(std::max(*wait, Clock::duration::zero())).count());
}

}  // namespace ghostip::source
