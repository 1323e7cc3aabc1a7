#include "kernel/nft/wait_readable.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <limits>

namespace ghostip::kernel::nft {

using Clock = std::chrono::steady_clock;

WaitUntil::WaitUntil(std::optional<std::chrono::milliseconds> timeout) {
    // A day is far beyond any use and keeps the sum in range.
    if (timeout) end_ = Clock::now() + std::min<std::chrono::milliseconds>(*timeout, std::chrono::hours(24));
}

int WaitUntil::left() const {
    if (!end_) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*end_ - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
}

Result<Woken> wait_readable(int fd, int stop_fd, const WaitUntil& until) {
    while (true) {
        std::array<pollfd, 2> fds{{{fd, POLLIN, 0}, {stop_fd, POLLIN, 0}}};
        const int ready = ::poll(fds.data(), fds.size(), until.left());
        if (ready < 0 && errno != EINTR) return fail_errno("wait for a notification");
        if (ready < 0) continue;
        if (fds[1].revents != 0) return Woken::kStopped;
        if ((fds[0].revents & POLLNVAL) != 0) return fail("wait for a notification: the socket is closed");
        if (fds[0].revents != 0) return Woken::kReadable;
        if (until.left() == 0) return Woken::kTimedOut;
    }
}

}  // namespace ghostip::kernel::nft
