// Clients and servers for tests of the relay, on loopback. Blocking, each wait with a deadline.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "relay/relay.h"

namespace ghostip::relay::testing {

inline constexpr std::chrono::seconds kLongest{20};

[[nodiscard]] SocketAddress loopback(net::Family family = net::Family::kIpv4, std::uint16_t port = 0);
// Whether it came true in time.
[[nodiscard]] bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds longest = kLongest);

// A listening (TCP) or bound (UDP) socket at a free port.
struct Bound {
    Fd socket;
    SocketAddress address;
};
[[nodiscard]] Bound bind_free(int type, net::Family family = net::Family::kIpv4, int backlog = 1024);
// A port where nobody listens, held so that nobody else gets it.
[[nodiscard]] Bound dead_port(int type = SOCK_STREAM);
// Where dials get no answer at all: a listener whose backlog is full. Keeps what fills it.
struct Silent {
    Bound listener;
    std::vector<Fd> fillers;
};
[[nodiscard]] Silent silent_port();

// Connected, TCP or UDP; -1 with errno where that failed.
[[nodiscard]] Fd connect_to(const SocketAddress& address, int type = SOCK_STREAM);
[[nodiscard]] std::vector<Fd> connect_many(const SocketAddress& address, std::size_t count);
[[nodiscard]] Fd accept_one(const Fd& listener);
[[nodiscard]] bool send_all(const Fd& socket, std::string_view bytes);
// Up to the end, or `most`.
[[nodiscard]] std::string receive(const Fd& socket, std::size_t most);
enum class Ending : std::uint8_t { kEnd, kReset, kNone };
// Reads until then; kNone: neither came within the time.
[[nodiscard]] Ending ending(const Fd& socket, std::chrono::milliseconds longest = kLongest);

void close_with_reset(Fd& socket);

// Bytes that tell where they stand.
[[nodiscard]] std::string pattern(std::size_t size, unsigned seed);

// Accepts connections, says its name to each and ends it; counts them.
class NamedServer {
  public:
    explicit NamedServer(char name, net::Family family = net::Family::kIpv4);
    ~NamedServer();
    NamedServer(const NamedServer&) = delete;
    NamedServer& operator=(const NamedServer&) = delete;
    [[nodiscard]] SocketAddress address() const { return bound_.address; }
    [[nodiscard]] int served() const { return served_; }

  private:
    Bound bound_;
    const char name_;
    std::atomic<int> served_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// Answers each datagram with its name and the datagram.
class NamedUdpServer {
  public:
    explicit NamedUdpServer(char name, net::Family family = net::Family::kIpv4);
    ~NamedUdpServer();
    NamedUdpServer(const NamedUdpServer&) = delete;
    NamedUdpServer& operator=(const NamedUdpServer&) = delete;
    [[nodiscard]] SocketAddress address() const { return bound_.address; }

  private:
    Bound bound_;
    const char name_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// Clients one after the other, from several threads, until told to stop. TCP: each is told one byte. UDP: each sends a
// byte and is answered, a few times.
class Stream {
  public:
    explicit Stream(const SocketAddress& address, net::Protocol protocol = net::Protocol::kTcp);
    ~Stream() { stop(); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    void stop();
    // Whether so many more are answered, in time.
    [[nodiscard]] bool more(int by) const;
    [[nodiscard]] int answered() const { return answered_; }
    [[nodiscard]] int lost() const { return lost_; }

  private:
    std::atomic<int> answered_ = 0;
    std::atomic<int> lost_ = 0;
    std::atomic<bool> stop_ = false;
    std::vector<std::thread> threads_;
};

// A relay with one service and one listener on loopback.
struct Rig {
    std::unique_ptr<Relay> relay;
    ServiceId service{};
    ListenerId listener{};
    SocketAddress address;

    [[nodiscard]] ServiceMetrics metrics() const { return relay->metrics(service).value(); }
    // The name of the server that answered; empty: none did.
    [[nodiscard]] std::string ask_name() const;
};
[[nodiscard]] Rig rig(Pool pool, Options options = {}, ListenerSpec spec = {}, ServiceLimits limits = {});

}  // namespace ghostip::relay::testing
