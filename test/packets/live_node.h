// A node on which the real `ghostip proxy` runs and follows a folder of manifests, or an API server. It can be ended in
// any way, and its rules stay behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"
#include "support/topology.h"

namespace ghostip::packets {

// A Service with ports of both protocols: 80, which leads to 8080, and 7, which leads to 9000. All addresses are IPv4;
// in IPv6 their twins are used. The node port of port 7 is the one of port 80 plus 1000.
struct ServiceSpec {
    std::string name;
    std::string cluster_ip;
    std::string external_ip = {};  // empty: none
    int node_port = 0;             // 0: none
    bool sticky = false;
    std::vector<std::string> endpoints = {};
    bool echoes = true;  // false: without port 7
};
inline constexpr std::uint16_t kProbePort = 80;
inline constexpr std::uint16_t kProbeTarget = 8080;
inline constexpr std::uint16_t kEchoPort = 7;
inline constexpr std::uint16_t kEchoTarget = 9000;
inline constexpr int kEchoNodePort = 1000;  // more than that of port 80
inline constexpr std::string_view kOwnAddress = "192.168.0.2";

// As a manifest.
[[nodiscard]] std::string manifest(const std::vector<ServiceSpec>& services);
// The range of cluster IPs, 172.30.0.0/16.
[[nodiscard]] std::string range_manifest();

class LiveNode {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LiveNode>> create(net::Family family);
    ~LiveNode();
    LiveNode(const LiveNode&) = delete;
    LiveNode& operator=(const LiveNode&) = delete;

    [[nodiscard]] net::Family family() const { return family_; }
    [[nodiscard]] const testnet::Topology& topology() const { return *topology_; }
    [[nodiscard]] const testnet::Namespace& node() const { return topology_->node(); }
    [[nodiscard]] net::IpAddress address(std::string_view ipv4) const;

    // These besides, from its next start on.
    void add_flags(const std::vector<std::string>& flags) {
        more_flags_.insert(more_flags_.end(), flags.begin(), flags.end());
    }
    // These instead of all that were added.
    void set_flags(std::vector<std::string> flags) { more_flags_ = std::move(flags); }
    // From its next start on the program runs in this mode (mode_text.h); until this is called, in that of the
    // environment variable GHOSTIP_TEST_MODE, or its own best one.
    void set_mode(std::string mode) { mode_ = std::move(mode); }
    // From its next start on these words run it: a program that starts another.
    void run_by(std::vector<std::string> starter);
    // From its next start on it is run by a user who may nothing in particular.
    [[nodiscard]] Result<void> run_as_ordinary_user();
    // Puts a manifest there, whole; its IPv4 addresses become those of the family.
    void write(const std::string& file, const std::string& text) const;
    // The program is to take its objects from this API server instead of the folder, and these flags besides.
    void follow(std::string master, std::vector<std::string> flags = {}) {
        master_ = std::move(master);
        more_flags_ = std::move(flags);
    }
    // Starts the program and returns at once.
    [[nodiscard]] Result<void> start();
    // Starts it and waits for the end of its first sync; how long that took.
    [[nodiscard]] Result<std::chrono::milliseconds> start_and_wait();
    [[nodiscard]] Result<void> wait_synced();
    // Starts it beside the one that runs and returns at once.
    [[nodiscard]] Result<void> start_beside();
    // Starts it beside the one that runs, which is expected to hand over, and waits for the end of its first sync.
    [[nodiscard]] Result<void> start_successor();
    // Starts another one beside it and kills that after this time.
    [[nodiscard]] Result<void> kill_a_successor(std::chrono::milliseconds after);
    // The one before has ended by itself.
    [[nodiscard]] bool predecessor_ended();
    void end_predecessor(int signal) const;
    // Sends the signal and waits for the end.
    void stop(int signal);
    [[nodiscard]] bool running();

    // The text of a page; empty if nobody answers.
    [[nodiscard]] std::string page(std::uint16_t port, std::string_view path) const;
    // The value of a metric with this family's label; nothing if it is not there.
    [[nodiscard]] std::optional<double> metric(std::string_view name) const;
    // What the program has said since its last start.
    [[nodiscard]] std::string log() const;

    // `nft` on the node; what it printed.
    [[nodiscard]] Result<std::string> nft(const std::vector<std::string>& arguments, std::string_view input = {}) const;
    // Another number after each change of rules: the count of transactions of nf_tables, whoever's they are; of
    // iptables-legacy a sum of its rules, of IPVS one of its virtual servers.
    [[nodiscard]] Result<std::uint32_t> generation() const;
    // A rule that makes the kernel track connections, ours or no ours.
    [[nodiscard]] Result<void> track_connections() const;
    // Of our table, our chains or our virtual servers, in a form in which equal rules are equal texts.
    [[nodiscard]] Result<std::string> listing() const;
    // `ghostip SUBCOMMAND`, with the flags that the proxy gets if it wants them.
    [[nodiscard]] Result<std::string> run_ghostip(const std::string& subcommand, bool with_flags) const;
    // `ghostip explain` for this node, with these flags and arguments besides; not those of add_flags().
    [[nodiscard]] Result<testnet::Output> explain(const std::vector<std::string>& arguments) const;

  private:
    explicit LiveNode(net::Family family) : family_(family) {}
    [[nodiscard]] std::vector<std::string> node_flags() const;
    [[nodiscard]] std::vector<std::string> flags() const;
    [[nodiscard]] Result<std::string> listing_of_ipvs() const;

    const net::Family family_;
    std::unique_ptr<testnet::Topology> topology_;
    std::filesystem::path folder_;
    std::string master_;  // empty: the folder
    std::vector<std::string> more_flags_;
    std::string mode_;
    std::vector<std::string> program_;  // and what runs it
    int pid_ = -1;
    int predecessor_ = -1;
};

// Waits until `done`; false if that takes longer than `patience`.
[[nodiscard]] bool wait_until(std::chrono::milliseconds patience, const std::function<bool()>& done);

// How many times the usual work tests shall do: 1, or more where GHOSTIP_LONG_RUN and GHOSTIP_LONG_SCALE say so, which
// are multiplied.
[[nodiscard]] int long_scale();

}  // namespace ghostip::packets
