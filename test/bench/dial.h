// A client, a node and pods, in three network namespaces of their own, and how long a connection takes:
//
//     client  -- veth --  node  -- veth --  pods
//     172.30.0.2          ghostip           every endpoint's address, one listener
//
// A connection is timed from connect() to the return of close(), which resets it, so that neither side has to remember
// it. The listener is this process's: the kernel completes the handshake within connect(), and accept() is called when
// the clock stands still. So no other thread has to be woken, and what is measured is the packets' way.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "support/namespace.h"

namespace ghostip::bench {

// One thing that is dialled.
struct DialTarget {
    std::string name;
    int pool;
    sockaddr_in address;
    std::vector<double> microseconds = {};
};

[[nodiscard]] sockaddr_in socket_address(const std::string& text, int port);

class DialNet {
  public:
    DialNet();
    [[nodiscard]] const testnet::Namespace& node() const { return node_; }
    // All targets in turn, in another order each round: a slow moment of the machine meets all of them.
    void dial_all(std::vector<DialTarget>& targets, int rounds) const;

  private:
    [[nodiscard]] double dial(const sockaddr_in& address) const;

    testnet::Namespace client_;
    testnet::Namespace node_;
    testnet::Namespace pods_;
    Fd listener_;
};

}  // namespace ghostip::bench
