#include "relay/handover_path.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "relay/handover_wire.h"

namespace ghostip::relay {
namespace {

constexpr int kBacklog = 16;
constexpr std::chrono::milliseconds kProbe{100};

}  // namespace

bool is_abstract(const std::string& path) { return path.starts_with('@'); }

Result<sockaddr_un> socket_path(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail("socket path \"{}\": not of 1 to {} bytes", path, sizeof address.sun_path - 1);
    path.copy(address.sun_path, path.size());
    if (is_abstract(path)) address.sun_path[0] = 0;  // the rest of the field is part of the name, on both sides
    return address;
}

Result<void> PathListener::listen_at(const std::string& path) {
    ASSIGN_OR_RETURN(const auto address, socket_path(path));
    // Counts for all threads, which make no files; and a filter of system calls lets it pass, unlike fchmod().
    const auto mask = ::umask(S_IXUSR | S_IRWXG | S_IRWXO);
    const int bound = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int why = errno;
    ::umask(mask);
    errno = why;
    if (bound < 0) return fail_errno("bind {}", path);
    if (::listen(socket_.get(), kBacklog) < 0) return fail_errno("listen on {}", path);
    // poll() tells of a peer that may be gone when it is accepted.
    if (::fcntl(socket_.get(), F_SETFL, O_NONBLOCK) < 0) return fail_errno("set the flags of {}", path);
    return is_abstract(path) ? Result<void>() : remember_file(path);
}

Result<void> PathListener::remember_file(const std::string& path) {
    struct stat file {};
    if (::lstat(path.c_str(), &file) < 0) return fail_errno("look at {}", path);
    device_ = file.st_dev;
    inode_ = file.st_ino;
    return {};
}

Result<PathListener> PathListener::open(const std::string& path) {
    ASSIGN_OR_RETURN(Fd socket, wire::open_socket());
    PathListener listener(path, std::move(socket));
    if (is_abstract(path)) {
        RETURN_IF_ERROR(listener.listen_at(path));
        return listener;
    }
    struct stat file {};
    if (::lstat(path.c_str(), &file) < 0) {
        if (errno != ENOENT) return fail_errno("look at {}", path);
        RETURN_IF_ERROR(listener.listen_at(path));
        return listener;
    }
    if (!S_ISSOCK(file.st_mode)) return fail("{} is there and is no socket", path);
    ASSIGN_OR_RETURN(const auto somebody, wire::connect_to(path, kProbe));
    if (somebody) return errno_error(EADDRINUSE, fmt::format("listen on {}", path));
    // Under another name first: nobody finds it before it listens.
    const auto aside = fmt::format("{}.{}", path, ::getpid());
    ::unlink(aside.c_str());
    RETURN_IF_ERROR(listener.listen_at(aside));
    if (::rename(aside.c_str(), path.c_str()) < 0) {
        auto error = fail_errno("put a socket in place of {}", path);
        ::unlink(aside.c_str());
        return error;
    }
    return listener;
}

Result<PathListener> PathListener::adopt(const std::string& path, Fd socket) {
    PathListener listener(path, std::move(socket));
    if (!is_abstract(path)) RETURN_IF_ERROR(listener.remember_file(path));
    // Who connects sees now this process as the other side (SO_PEERCRED).
    if (::listen(listener.get(), kBacklog) < 0) return fail_errno("listen on {}", path);
    return listener;
}

PathListener::~PathListener() {
    if (!socket_ || inode_ == 0) return;
    struct stat file {};
    if (::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) ::unlink(path_.c_str());
}

}  // namespace ghostip::relay
