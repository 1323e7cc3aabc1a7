#include "kernel/iptables/locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <thread>

namespace ghostip::kernel::iptables {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPause{200};

// `attempt` returns 0 or an errno value; `held`: the one that says that somebody else has it.
Result<void> poll_for(const std::string& what, int held, std::chrono::milliseconds patience,
                      const std::function<int()>& attempt) {
    const auto deadline = Clock::now() + patience;
    while (true) {
        const int code = attempt();
        if (code == 0) return {};
        if (code != held) return errno_error(code, fmt::format("lock {}", what));
        const auto now = Clock::now();
        if (now >= deadline)
            return errno_error(EBUSY, fmt::format("another program has held {} for {} ms", what, patience.count()));
        std::this_thread::sleep_for(std::min<Clock::duration>(kPause, deadline - now));
    }
}

}  // namespace

Result<Locks> Locks::take(const LockPlaces& places, std::chrono::milliseconds patience) {
    constexpr int kOwnerOnly = 0600;
    Fd file(::open(places.file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kOwnerOnly));
    if (!file) return fail_errno("open {}", places.file);
    RETURN_IF_ERROR(poll_for(places.file, EWOULDBLOCK, patience,
                             [&] { return ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno; }));

    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (places.socket.size() + 1 > sizeof address.sun_path) return fail("the name {} is too long", places.socket);
    std::copy(places.socket.begin(), places.socket.end(), &address.sun_path[1]);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + places.socket.size());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("open a socket");
    RETURN_IF_ERROR(poll_for("@" + places.socket, EADDRINUSE, patience, [&] {
        return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 ? 0 : errno;
    }));
    return Locks(std::move(file), std::move(socket));
}

}  // namespace ghostip::kernel::iptables
