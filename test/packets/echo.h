// Flows that last: a server that answers each message with the address it was sent to, and clients that hold on to one
// socket, so that it can be seen which endpoint a flow is bound to.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"
#include "support/namespace.h"

namespace ghostip::packets {

// TCP and UDP on one port of a place, on all of its addresses.
class EchoServer {
  public:
    [[nodiscard]] static Result<std::unique_ptr<EchoServer>> start(const testnet::Namespace& where, net::Family family,
                                                                   std::uint16_t port);
    ~EchoServer();
    EchoServer(const EchoServer&) = delete;
    EchoServer& operator=(const EchoServer&) = delete;

  private:
    EchoServer(net::Family family, Fd listener, Fd datagrams);
    void serve();
    void answer_datagrams();
    [[nodiscard]] bool answer_stream(const Fd& connection) const;  // false: it ended

    const net::Family family_;
    const Fd listener_;
    const Fd datagrams_;
    std::vector<Fd> connections_;  // of the thread
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// One socket, from one address and port to one address and port.
class EchoClient {
  public:
    [[nodiscard]] static Result<EchoClient> open(const testnet::Namespace& where, net::Protocol protocol,
                                                 const net::IpAddress& source, const net::IpAddress& destination,
                                                 std::uint16_t port);

    // One message; who answered it. Silence for that long, a refusal and an end are errors.
    [[nodiscard]] Result<net::IpAddress> ask(std::chrono::milliseconds patience);

  private:
    EchoClient(net::Family family, Fd fd) : family_(family), fd_(std::move(fd)) {}
    net::Family family_;
    Fd fd_;
    std::uint64_t sequence_ = 0;
};

}  // namespace ghostip::packets
