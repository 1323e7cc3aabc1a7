// Does what a probe met agree with what the plan said?
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "plan/explain.h"
#include "support/probe.h"
#include "support/topology.h"

namespace ghostip::packets {

// `balanced over 10.180.0.1:80, … masqueraded`
[[nodiscard]] std::string text_of(const plan::Journey& journey);

// Empty if they agree, else in which respect not.
[[nodiscard]] std::string disagreement(const testnet::Topology& topology, const testnet::Probe& probe,
                                       const plan::Journey& journey, const testnet::Outcome& outcome);

// How a mode remembers who sticks to whom.
enum class Memory {
    kByDestination,    // one endpoint for each client and destination
    kByVirtualServer,  // the same, and who is led on to the cluster IP sticks there: not where that is another one now
    kByEndpoint,       // each endpoint knows its clients, whatever they dialled; a client may be known at several
};
[[nodiscard]] Memory memory_of(const std::string& mode);

// Where each client has been, and must go again.
class Stickiness {
  public:
    explicit Stickiness(Memory memory) : memory_(memory) {}

    // Whether connections before this one were over when it began.
    enum class When { kInTurn, kTogether };
    // Takes note of where the connection went; the complaint if it should have gone where an earlier one went.
    [[nodiscard]] std::string note(const testnet::Probe& probe, const plan::Journey& journey,
                                   const testnet::Outcome& outcome, When when = When::kInTurn);
    // The plan changed: forget what the new plan gives no right to remember.
    void forget_unless_kept(const plan::Explainer& explainer, const plan::Plan& plan);
    void clear() {
        stuck_.clear();
        known_at_.clear();
    }

  private:
    [[nodiscard]] std::string note_by_endpoint(const testnet::Probe& probe, const plan::Journey& journey,
                                               const testnet::Outcome& outcome, When when);

    struct Stuck {
        testnet::Probe probe;
        plan::ServicePortName service_port;
        plan::PoolScope scope;
        std::uint32_t seconds;
        net::IpAddress endpoint;
        std::uint16_t port;
        net::IpAddress cluster_ip;
    };
    using Key = std::tuple<net::IpAddress, net::IpAddress, net::Protocol, std::uint16_t>;
    const Memory memory_;
    std::map<Key, Stuck> stuck_;
    // By client and service port.
    std::map<std::pair<net::IpAddress, plan::ServicePortName>, std::set<plan::AddressPort>> known_at_;
};

}  // namespace ghostip::packets
