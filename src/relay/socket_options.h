// Options of sockets, in one call each.
#pragma once

#include <cstdint>

#include "relay/limits.h"
#include "relay/socket_address.h"

namespace ghostip::relay {

// Whether there were no means for what failed, rather than that it may not be.
[[nodiscard]] bool exhausted(int error);

bool set_option(int socket, int level, int name, int value);

// SO_MARK of what it sends.
bool set_mark(int socket, std::uint32_t mark);

// The kernel asks a peer that is silent for long whether it is still there. Accepted sockets have it from their
// listener.
void set_keepalive(int socket, const Timeouts& timeouts);

// What a client of this accepted connection dialled before the kernel translated it; its own address if it did not.
[[nodiscard]] SocketAddress original_destination(int socket, const SocketAddress& own);

}  // namespace ghostip::relay
