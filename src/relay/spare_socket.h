// The socket that the next dial will use, made before the client is accepted: so nobody is accepted for whom there is
// no descriptor left to dial with. Costs no system call, only makes it earlier. One thread.
#pragma once

#include <sys/socket.h>

#include "base/fd.h"

namespace ghostip::relay {

class SpareSocket {
  public:
    // False: there is none to be had.
    [[nodiscard]] bool ready() {
        if (!socket_) socket_ = make(family_);
        return static_cast<bool>(socket_);
    }
    // Without one, errno says why. A family that this host does not have is not that of the next one.
    [[nodiscard]] Fd take(int family) {
        if (family == family_ && socket_) return std::move(socket_);
        socket_.reset();
        Fd made = make(family);
        if (made) family_ = family;  // endpoints mostly are of one
        return made;
    }

  private:
    [[nodiscard]] static Fd make(int family) {
        return Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    }
    Fd socket_;
    int family_ = AF_INET;  // one that there was a socket of before
};

}  // namespace ghostip::relay
