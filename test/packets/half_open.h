// Clients that begin a TCP connection and say no more: single SYNs, by a raw socket.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"
#include "support/namespace.h"

namespace ghostip::packets {

class HalfOpen {
  public:
    // `from` must be an address of the place. What answers there is dropped by a rule of this class: the kernel, which
    // knows of no connection, would reset it.
    [[nodiscard]] static Result<HalfOpen> create(const testnet::Namespace& place, const net::IpAddress& from);
    // One SYN from each of `count` source ports, from `first_port` on.
    [[nodiscard]] Result<void> send(const net::IpAddress& to, std::uint16_t port, std::uint16_t first_port, int count);

  private:
    HalfOpen(Fd socket, net::IpAddress from) : socket_(std::move(socket)), from_(from) {}

    Fd socket_;
    net::IpAddress from_;
};

}  // namespace ghostip::packets
