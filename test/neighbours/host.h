// A node on which the real `ghostip proxy` runs, with room beside it for whatever else a test puts there.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "support/probe.h"
#include "support/topology.h"

namespace ghostip::neighbours {

// A Service with one TCP and one UDP port 80 (or as given), both to port 8080 of its endpoints. IPv4 texts, also for
// a host that is tested with IPv6: it gets their twins.
struct ServiceText {
    std::string name;
    std::string cluster_ip;
    std::string external_ip;  // empty: none
    int node_port = 0;
    std::vector<std::string> endpoints;
    int port = 80;
    int target_port = 8080;
    std::string source_range = {};  // of the external IP, which is then a load balancer's
};
[[nodiscard]] std::string manifest(const std::vector<ServiceText>& services);

// A background process; killed with the object, unless it ended before.
class Process {
  public:
    explicit Process(int pid) : pid_(pid) {}
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    [[nodiscard]] int pid() const { return pid_; }
    [[nodiscard]] bool running();
    // Sends a signal and waits for the end, at most ten seconds, then kills.
    void end(int signal);

  private:
    int pid_;
};

class Host {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Host>> create(net::Family family);
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    [[nodiscard]] net::Family family() const { return family_; }
    [[nodiscard]] testnet::Topology& topology() { return *topology_; }
    [[nodiscard]] const testnet::Namespace& node() const { return topology_->node(); }
    [[nodiscard]] testnet::ProbeEngine& engine() { return *engine_; }
    // Its own folder, for files of a test.
    [[nodiscard]] std::filesystem::path folder() const { return folder_; }

    // Starts the proxy and waits for its first sync; again after kill_proxy().
    [[nodiscard]] Result<void> start_proxy(const std::vector<ServiceText>& services,
                                           const std::vector<std::string>& flags = {});
    // Ends it and leaves its rules, as a crash would.
    void kill_proxy();
    [[nodiscard]] std::string proxy_log() const;
    // Waits for a text in the proxy's log; false after ten seconds.
    [[nodiscard]] bool proxy_says(std::string_view text) const;

    // Loads rules on the node. `tool`: "nft", "iptables-nft", "iptables-legacy"; the ip6tables twin by family. Texts
    // for iptables are IPv4 and are turned into their twins.
    [[nodiscard]] Result<void> load(const std::string& tool, std::string_view rules) const;
    // Runs on the node, with `iptables` in front replaced as load() does.
    [[nodiscard]] Result<void> iptables(const std::string& tool, std::vector<std::string> arguments) const;

    [[nodiscard]] net::IpAddress address(std::string_view ipv4) const;
    // Asks once, with no memory of earlier connections. From the pod, the outside client or the node of this picture.
    [[nodiscard]] testnet::Outcome ask(testnet::Place from, std::string_view to, int port,
                                       net::Protocol protocol = net::Protocol::kTcp,
                                       std::chrono::milliseconds quiet = std::chrono::milliseconds(250));
    [[nodiscard]] testnet::Outcome ask(const testnet::Probe& probe,
                                       std::chrono::milliseconds quiet = std::chrono::milliseconds(250));
    [[nodiscard]] testnet::Probe probe(testnet::Place from, std::string_view to, int port,
                                       net::Protocol protocol = net::Protocol::kTcp) const;

  private:
    explicit Host(net::Family family) : family_(family) {}
    [[nodiscard]] bool healthy() const;

    net::Family family_;
    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    std::filesystem::path folder_;
    std::unique_ptr<Process> proxy_;
};

// Reads as a sentence in a test: who answered ("10.180.0.9:8080 kept", "... masqueraded"), or "rejected", "dropped",
// "untranslated".
[[nodiscard]] std::string told(Host& host, const testnet::Probe& probe, const testnet::Outcome& outcome);
// ask() and told() at once.
[[nodiscard]] std::string experience(Host& host, testnet::Place from, std::string_view to, int port,
                                     net::Protocol protocol = net::Protocol::kTcp);

}  // namespace ghostip::neighbours
