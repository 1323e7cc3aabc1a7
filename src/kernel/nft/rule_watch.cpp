#include "kernel/nft/rule_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <optional>
#include <utility>

namespace ghostip::kernel::nft {
namespace {

constexpr int kDatagramsAtOnce = 256;  // then the stop is looked at again
// More than the receive buffer holds (the kernel doubles it, and charges 512 bytes at least): what had arrived when a
// program ended is among them.
constexpr int kMostBehind = 2 * Notifications::kReceiveBufferBytes / 512;

}  // namespace

// What has arrived, read by the thread that waits and by those whose program ends. The latter read all that the program
// has caused while its id is still its own: only then are its writes known for ours, and nobody else's with them.
class RuleWatch::Inbox {
  public:
    Inbox(Notifications notifications, Fd event, RuleWrites::Concerns concerns,
          std::vector<std::shared_ptr<RunningPrograms>> ours)
        : notifications_(std::move(notifications)),
          event_(std::move(event)),
          ours_(std::move(ours)),
          writes_(std::move(concerns), [this](std::uint32_t port) {
              return std::any_of(ours_.begin(), ours_.end(), [&](const auto& list) { return list->contains(port); });
          }) {}

    [[nodiscard]] const std::vector<std::shared_ptr<RunningPrograms>>& ours() const { return ours_; }

    void read(int most_datagrams) {
        const std::lock_guard lock(mutex_);
        if (broken_) return;
        const auto empty = notifications_.read(
            most_datagrams, {[&](auto datagram) { writes_.take(datagram, told_); }, [&] { writes_.lost(); }});
        if (!empty) broken_ = empty.error();
        if (empty.value_or(false)) writes_.drained(told_);
    }

    void read_behind() {
        read(kMostBehind);
        const std::uint64_t one = 1;
        static_cast<void>(!::write(event_.get(), &one, sizeof one));  // there may be something to tell
    }

    [[nodiscard]] Result<std::vector<RuleWrite>> take() {
        const std::lock_guard lock(mutex_);
        if (!told_.empty()) return std::exchange(told_, {});
        if (broken_) return *broken_;
        return std::vector<RuleWrite>{};
    }

    // False: `stop_fd` is readable.
    [[nodiscard]] Result<bool> wait_readable(int stop_fd) const {
        std::array<pollfd, 3> fds{{{notifications_.fd(), POLLIN, 0}, {event_.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}}};
        while (::poll(fds.data(), fds.size(), -1) < 0)
            if (errno != EINTR) return fail_errno("wait for nf_tables' notifications");
        std::uint64_t ignored = 0;
        if (fds[1].revents != 0) static_cast<void>(!::read(event_.get(), &ignored, sizeof ignored));
        return fds[2].revents == 0;
    }

  private:
    std::mutex mutex_;
    Notifications notifications_;  // reading is guarded by mutex_
    const Fd event_;               // readable when somebody else has read
    const std::vector<std::shared_ptr<RunningPrograms>> ours_;
    RuleWrites writes_;            // guarded by mutex_
    std::vector<RuleWrite> told_;  // guarded by mutex_
    std::optional<Error> broken_;  // guarded by mutex_
};

Result<std::unique_ptr<RuleWatch>> RuleWatch::open(RuleWrites::Concerns concerns,
                                                   std::vector<std::shared_ptr<RunningPrograms>> ours,
                                                   int receive_buffer_bytes) {
    Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return fail_errno("make an event");
    ASSIGN_OR_RETURN(auto notifications, Notifications::open(receive_buffer_bytes));
    const auto inbox =
        std::make_shared<Inbox>(std::move(notifications), std::move(event), std::move(concerns), std::move(ours));
    for (const auto& list : inbox->ours())
        list->before_forgetting([weak = std::weak_ptr(inbox)] {
            if (const auto alive = weak.lock()) alive->read_behind();
        });
    return std::unique_ptr<RuleWatch>(new RuleWatch(inbox));
}

Result<std::vector<RuleWrite>> RuleWatch::wait(int stop_fd) {
    while (true) {
        ASSIGN_OR_RETURN(auto writes, inbox_->take());
        if (!writes.empty()) return writes;
        ASSIGN_OR_RETURN(const bool go_on, inbox_->wait_readable(stop_fd));
        if (!go_on) return std::vector<RuleWrite>{};
        inbox_->read(kDatagramsAtOnce);
    }
}

}  // namespace ghostip::kernel::nft
