// Connections that go on: TCP echoes through the node, again and again, and new ones all the while.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"
#include "support/topology.h"

namespace ghostip::neighbours {

// Echoes what TCP clients send to one port of a place, on all of its addresses.
class EchoServer {
  public:
    [[nodiscard]] static Result<std::unique_ptr<EchoServer>> start(const testnet::Namespace& where, net::Family family,
                                                                   std::uint16_t port);
    ~EchoServer();
    EchoServer(const EchoServer&) = delete;
    EchoServer& operator=(const EchoServer&) = delete;

  private:
    explicit EchoServer(Fd listener);
    void serve();

    Fd listener_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// One client with a connection that stays and, in between, connections that come and go.
class Stream {
  public:
    Stream(const testnet::Namespace& where, const net::IpAddress& source, const net::IpAddress& destination,
           std::uint16_t port);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Echoes of the connection that stays; new connections that were made and answered.
    [[nodiscard]] int echoes() const { return echoes_; }
    [[nodiscard]] int connections() const { return connections_; }
    // Waits until both have grown by `more`; false if anything failed, or after 20 s.
    [[nodiscard]] bool flows(int more = 5) const;
    // Ends it: what failed first, or nothing.
    [[nodiscard]] std::string end();

  private:
    void run();
    [[nodiscard]] std::string echo_once(const Fd& connection);
    [[nodiscard]] Result<Fd> connect() const;

    const testnet::Namespace& where_;
    const net::IpAddress source_;
    const net::IpAddress destination_;
    const std::uint16_t port_;
    std::atomic<int> echoes_ = 0;
    std::atomic<int> connections_ = 0;
    std::atomic<bool> failed_ = false;
    std::atomic<bool> stop_ = false;
    std::string trouble_;  // written by the thread, read after it ended
    std::thread thread_;
};

}  // namespace ghostip::neighbours
