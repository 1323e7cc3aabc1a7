#include "source/manifests/folder_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

namespace ghostip::source {
namespace {

// Not IN_MODIFY: a file that is being written is nobody's to read.
constexpr std::uint32_t kEvents =
    IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;

// A name that was given to an existing file (ln, ln -s) is complete at once; a new file is not until it is closed.
bool is_link(const std::filesystem::path& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 && (S_ISLNK(status.st_mode) || status.st_nlink > 1);
}

}  // namespace

Result<FolderWatch> FolderWatch::open(const std::filesystem::path& folder) {
    Fd fd{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
    if (!fd) return fail_errno("inotify for {} (see fs.inotify.max_user_instances)", folder.native());
    if (::inotify_add_watch(fd.get(), folder.c_str(), kEvents | IN_ONLYDIR) < 0)
        return fail_errno("watch the folder {}", folder.native());
    return FolderWatch(std::move(fd), folder);
}

FolderEvents FolderWatch::take() {
    FolderEvents events;
    alignas(inotify_event) std::array<char, 16384> buffer{};
    while (true) {
        const ssize_t size = ::read(fd_.get(), buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) return events;
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            // Padded with zero bytes to `len`.
            const std::string name = event.len > 0 ? std::string(buffer.data() + at + sizeof event) : std::string();
            add(event.mask, name, events);
            at += sizeof event + event.len;
        }
    }
}

void FolderWatch::add(std::uint32_t mask, const std::string& name, FolderEvents& events) const {
    if ((mask & IN_Q_OVERFLOW) != 0) events.all_may_have_changed = true;
    if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) events.folder_lost = true;
    if (name.empty()) return;
    // A mounted ConfigMap is switched by renaming over `..data`, through which each of its files is a link.
    if (name.starts_with("..") && (mask & IN_MOVED_TO) != 0) events.all_may_have_changed = true;
    if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) events.files[name] = FileEvent::kWritten;
    if ((mask & (IN_MOVED_FROM | IN_DELETE)) != 0) events.files[name] = FileEvent::kGone;
    if ((mask & IN_CREATE) != 0 && is_link(folder_ / name)) events.files[name] = FileEvent::kWritten;
}

}  // namespace ghostip::source
