// Entries of conntrack made through netlink (IPCTNL_MSG_CT_NEW), without a packet, and the table counted in a way of
// its own: so that what src/kernel/conntrack does is not tested by what it says. For tests and benchmarks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/conntrack/conntrack.h"
#include "net/protocol.h"

namespace ghostip::testnet {

struct NewEntry {
    kernel::conntrack::Tuple original;
    kernel::conntrack::Tuple reply;
    net::Protocol protocol = net::Protocol::kUdp;
    kernel::conntrack::Zones zones;
};

// In the network namespace that the thread was in when it was opened.
class ConntrackMaker {
  public:
    [[nodiscard]] static Result<ConntrackMaker> open();

    // Many go out in one message. An error: the kernel took none of the rest.
    [[nodiscard]] Result<void> make(const std::vector<NewEntry>& entries);

  private:
    explicit ConntrackMaker(Fd socket) : socket_(std::move(socket)) {}
    Fd socket_;
    std::uint32_t sequence_ = 0;
};

// The number of entries in the namespace that the thread is in (IPCTNL_MSG_CT_GET_STATS), which costs no walk.
[[nodiscard]] Result<std::uint32_t> tracked_here();

}  // namespace ghostip::testnet
