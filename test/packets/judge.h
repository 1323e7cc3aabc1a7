// Does what a probe met agree with what the plan said?
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "plan/explain.h"
#include "support/probe.h"
#include "support/topology.h"

namespace ghostip::packets {

// `balanced over 10.180.0.1:80, … masqueraded`
[[nodiscard]] std::string text_of(const plan::Journey& journey);

// Empty if they agree, else in which respect not.
[[nodiscard]] std::string disagreement(const testnet::Topology& topology, const testnet::Probe& probe,
                                       const plan::Journey& journey, const testnet::Outcome& outcome);

// Which endpoint each client sticks to, by what it dialled.
class Stickiness {
  public:
    // Takes note of where the connection went; the complaint if it should have gone where the last one went.
    [[nodiscard]] std::string note(const testnet::Probe& probe, const plan::Journey& journey,
                                   const testnet::Outcome& outcome);
    // The plan changed: forget what the new plan gives no right to remember.
    void forget_unless_kept(const plan::Explainer& explainer);
    void clear() { stuck_.clear(); }

  private:
    struct Stuck {
        testnet::Probe probe;
        plan::ServicePortName service_port;
        plan::PoolScope scope;
        std::uint32_t seconds;
        net::IpAddress endpoint;
        std::uint16_t port;
    };
    using Key = std::tuple<net::IpAddress, net::IpAddress, net::Protocol, std::uint16_t>;
    std::map<Key, Stuck> stuck_;
};

}  // namespace ghostip::packets
