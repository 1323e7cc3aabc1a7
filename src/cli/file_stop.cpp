#include "cli/file_stop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace ghostip::cli {

FileStop::FileStop(std::optional<agent::config::FileWatch> watch, std::function<void()> stop)
    : watch_(std::move(watch)), stop_event_(::eventfd(0, EFD_CLOEXEC)) {
    if (!watch_) return;
    thread_ = std::thread([this, stop = std::move(stop)] {
        const auto changed = watch_->wait(stop_event_.get());
        if (changed && !*changed) return;
        why_ = changed ? fail("{}", agent::config::kFileChanged) : changed.error();
        stop();
    });
}

Result<void> FileStop::end() {
    const std::uint64_t one = 1;
    if (thread_.joinable()) {
        (void)!::write(stop_event_.get(), &one, sizeof one);
        thread_.join();
    }
    if (why_) return *why_;
    return {};
}

}  // namespace ghostip::cli
