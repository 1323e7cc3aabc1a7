// Traffic through a TCP proxy, and the servers behind it. Each load runs on the calling thread, in its namespace.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "net/address.h"

namespace ghostip::bench {

struct Target {
    net::IpAddress address;
    std::uint16_t port = 0;
};

// What a server does with its connections.
enum class Role : std::uint8_t {
    kSource,   // sends without end
    kEcho,     // sends back what it gets
    kOneShot,  // sends back what it gets first, and ends
};
// Serves on a thread of its own, in the namespace where it was made.
class LoadServer {
  public:
    LoadServer(const Target& at, Role role);
    ~LoadServer();
    LoadServer(const LoadServer&) = delete;
    LoadServer& operator=(const LoadServer&) = delete;

  private:
    void run();
    const Role role_;
    Fd listener_;
    Fd stop_;
    std::thread thread_;
};

struct Exchange {
    double count = 0;
    double per_second = 0;
    double p50_microseconds = 0;
    double p99_microseconds = 0;
};

struct Transfer {
    double bytes = 0;
    double per_second = 0;
};

// What comes over so many connections.
[[nodiscard]] Transfer bulk(const Target& to, int connections, std::chrono::milliseconds duration);
// Small requests and answers, one at a time on each of so many connections that stay.
[[nodiscard]] Exchange requests(const Target& to, int connections, std::chrono::milliseconds duration);
// A connection for each request, so many at once.
[[nodiscard]] Exchange new_connections(const Target& to, int at_once, std::chrono::milliseconds duration);
// Connections that have carried a byte each way, and say no more.
[[nodiscard]] std::vector<Fd> idle_connections(const Target& to, int count);

}  // namespace ghostip::bench
