#include "agent/config/file_watch.h"

#include <poll.h>
#include <sys/inotify.h>

#include <array>
#include <cstring>

namespace ghostip::agent::config {

Result<FileWatch> FileWatch::open(const std::string& path) {
    Fd inotify{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (!inotify) return fail_errno("watch {}", path);
    if (::inotify_add_watch(inotify.get(), path.c_str(), IN_MODIFY | IN_MOVE_SELF) < 0)
        return fail_errno("watch {}", path);
    return FileWatch(std::move(inotify));
}

Result<bool> FileWatch::wait(int stop_fd) {
    while (true) {
        std::array<pollfd, 2> fds{pollfd{inotify_.get(), POLLIN, 0}, pollfd{stop_fd, POLLIN, 0}};
        if (::poll(fds.data(), fds.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return fail_errno("wait for changes of the configuration file");
        }
        // A change that is there wins over a stop.
        if (fds[0].revents == 0) return false;
        alignas(inotify_event) std::array<char, 4096> buffer{};
        const ssize_t size = ::read(inotify_.get(), buffer.data(), buffer.size());
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (size <= 0) return fail_errno("read changes of the configuration file");
        for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(size);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            if ((event.mask & (IN_MODIFY | IN_MOVE_SELF | IN_Q_OVERFLOW)) != 0) return true;
            at += sizeof event + event.len;
        }
    }
}

}  // namespace ghostip::agent::config
