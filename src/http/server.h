// A small HTTP server: any number of listening sockets on one thread of its own, by which handlers run.
//
// One thread and one epoll set for all sockets, since health checks of Services need hundreds of ports and no thread
// for each. libmicrohttpd reads and writes HTTP; accepting is ours, so that a client who takes every connection and
// keeps it loses the oldest to the next who comes. Requests have a body of at most 4 KiB and headers of at most 32 KiB.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/net_socket.h"
#include "base/result.h"
#include "http/message.h"
#include "http/routes.h"

namespace ghostip::http {

class Server {
  public:
    // Without a socket so far.
    [[nodiscard]] static Result<std::unique_ptr<Server>> start(Handler handler);
    // Listens on `address` (IPv4 or IPv6 text) and `port` (0 = any free one).
    [[nodiscard]] static Result<std::unique_ptr<Server>> listen(const std::string& address, std::uint16_t port,
                                                                Routes routes);
    virtual ~Server() = default;

    // From any thread. Requests that come by this socket carry the tag, which several sockets may share.
    [[nodiscard]] virtual Result<void> open(Listener listener, std::uint64_t tag) = 0;
    // From any thread. The sockets with this tag are closed when it returns, and their connections end.
    virtual void close(std::uint64_t tag) = 0;
    // The port that listen() got; 0 after start().
    [[nodiscard]] virtual std::uint16_t port() const = 0;
};

}  // namespace ghostip::http
