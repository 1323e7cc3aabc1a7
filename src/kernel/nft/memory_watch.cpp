#include "kernel/nft/memory_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "kernel/nft/wait_readable.h"

namespace ghostip::kernel::nft {
namespace {

void signal(const Fd& event) {
    const std::uint64_t one = 1;
    (void)!::write(event.get(), &one, sizeof one);
}

}  // namespace

MemoryWatch::MemoryWatch() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void MemoryWatch::push(ForeignWrite write) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(write));
    signal(event_);
}

void MemoryWatch::break_down(int code) {
    const std::lock_guard lock(mutex_);
    broken_ = code;
    signal(event_);
}

std::vector<std::uint32_t> MemoryWatch::ignored() const {
    const std::lock_guard lock(mutex_);
    return ignored_;
}

Result<void> MemoryWatch::ignore(std::uint32_t port_id) {
    const std::lock_guard lock(mutex_);
    ignored_.push_back(port_id);
    return {};
}

Result<void> MemoryWatch::pause() {
    const std::lock_guard lock(mutex_);
    paused_ = true;
    return {};
}

Result<bool> MemoryWatch::resume(std::uint32_t /*own_transactions*/) {
    const std::lock_guard lock(mutex_);
    paused_ = false;
    return !std::exchange(unseen_, false);
}

void MemoryWatch::foreign_while_paused() {
    const std::lock_guard lock(mutex_);
    unseen_ = true;
}

bool MemoryWatch::paused() const {
    const std::lock_guard lock(mutex_);
    return paused_;
}

Result<std::vector<ForeignWrite>> MemoryWatch::wait(int stop_fd, std::optional<std::chrono::milliseconds> timeout) {
    ASSIGN_OR_RETURN(const Woken woken, wait_readable(event_.get(), stop_fd, WaitUntil(timeout)));
    if (woken != Woken::kReadable) return std::vector<ForeignWrite>();
    const std::lock_guard lock(mutex_);
    if (broken_ != 0) return errno_error(broken_, "read nf_tables' notifications");
    std::uint64_t count = 0;
    (void)!::read(event_.get(), &count, sizeof count);
    return std::exchange(queue_, {});
}

}  // namespace ghostip::kernel::nft
