// Clients that never rest: new connections to a few Services, again and again and by every way, and connections that
// stay, on which messages go to and fro. Whatever fails, or reaches somebody who is no endpoint of the Service, is
// written down.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "packets/echo.h"
#include "packets/live_node.h"
#include "support/probe.h"

namespace ghostip::packets {

// A place to which clients connect, and who may answer there.
struct Target {
    testnet::Place from;
    net::IpAddress destination;
    std::uint16_t port;
    std::uint16_t echo_port;
    std::set<net::IpAddress> pool;
    bool sticky = false;
};
// By every way: from pods to the cluster IP; from outside to cluster IP, external IP and node port; from the node.
[[nodiscard]] std::vector<Target> targets_of(const LiveNode& live, const std::vector<ServiceSpec>& services);

// Addresses of clients, another one each time, so that no connection has the addresses and ports of an earlier one.
class Sources {
  public:
    explicit Sources(net::Family family) : family_(family) {}
    [[nodiscard]] net::IpAddress next(testnet::Place from);

  private:
    const net::Family family_;
    std::uint32_t count_ = 0;
};

class Traffic {
  public:
    struct Report {
        std::uint64_t connections = 0;        // new ones that were answered
        std::uint64_t echoes = 0;             // messages and answers on those that stay
        std::size_t lasting = 0;              // how many stay
        std::chrono::milliseconds slowest{};  // answer on one that stays
        std::vector<std::string> failures;
        std::map<std::string, int> moved;  // clients that shall stick, and how often they met another endpoint
        [[nodiscard]] std::string text() const;
    };

    // The rules must be there: the connections that stay begin now.
    // Those that stay are of these protocols.
    [[nodiscard]] static Result<std::unique_ptr<Traffic>> start(const LiveNode& live, std::vector<Target> targets,
                                                                const std::vector<net::Protocol>& lasting = {
                                                                    net::Protocol::kTcp, net::Protocol::kUdp});
    ~Traffic();
    Traffic(const Traffic&) = delete;
    Traffic& operator=(const Traffic&) = delete;

    // New connections that were answered so far.
    [[nodiscard]] std::uint64_t connections() const { return connections_; }
    // Ends it.
    [[nodiscard]] Report end();

  private:
    struct Lasting {
        EchoClient client;
        std::string text;
        net::IpAddress endpoint;
    };

    Traffic(const LiveNode& live, std::vector<Target> targets);
    [[nodiscard]] Result<void> open(const std::vector<net::Protocol>& lasting);
    void connect_all();
    void judge(const Target& target, const testnet::Probe& probe, const testnet::Outcome& outcome);
    void ask_all();
    void failed(std::string text);

    const LiveNode& live_;
    const std::vector<Target> targets_;
    std::unique_ptr<testnet::ProbeEngine> engine_;      // of the first thread, once that runs
    std::map<std::string, net::IpAddress> stuck_;       // likewise: client and destination, endpoint
    std::vector<std::unique_ptr<EchoServer>> servers_;  // constant after open()
    std::vector<Lasting> lasting_;                      // of the second thread, once that runs
    std::atomic<std::uint64_t> connections_ = 0;
    std::atomic<std::uint64_t> echoes_ = 0;
    std::chrono::milliseconds slowest_{0};  // of the second thread
    std::atomic<bool> stop_ = false;
    std::mutex mutex_;
    std::vector<std::string> failures_;  // guarded by mutex_
    std::map<std::string, int> moved_;   // guarded by mutex_
    std::thread connecting_;
    std::thread asking_;
};

}  // namespace ghostip::packets
