// A case file read: objects, and flows with what must become of them. test/packets/README.md describes the format.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"
#include "support/topology.h"

namespace ghostip::packets {

struct HostPort {
    net::IpAddress address;
    std::uint16_t port = 0;

    friend auto operator<=>(const HostPort&, const HostPort&) = default;
};

struct Expectation {
    enum class What { kEndpoints, kReject, kDrop, kNone };
    What what = What::kNone;
    std::set<HostPort> endpoints;
    // kHairpin: rewritten only towards the client itself. kRelayed: an address of the node's, whatever the case says.
    enum class Source { kAny, kKept, kMasqueraded, kHairpin, kRelayed };
    Source source = Source::kAny;
    bool sticky = false;  // one endpoint a client, remembered from step to step

    [[nodiscard]] std::string text() const;
};

struct Client {
    std::optional<testnet::Place> place;  // absent: where the topology says the address lives
    net::IpAddress address;
};

struct FlowCase {
    std::vector<Client> from;
    HostPort to;
    net::Protocol protocol = net::Protocol::kTcp;
    std::size_t connections = 0;  // 0: as many as it takes to see every endpoint
    Expectation expect;
    std::size_t line = 0;

    // `pod -> 172.30.0.41:80/TCP`
    [[nodiscard]] std::string text() const;
};

struct Step {
    std::string about;
    std::string objects;  // manifests
    std::vector<FlowCase> flows;
    std::map<net::IpAddress, testnet::Place> endpoints;  // where the slices' nodeName puts them
    std::set<std::uint16_t> ports;                       // on which somebody must answer
};

// One case in one family.
struct Case {
    std::string name;    // of the file
    std::string family;  // "IPv4", "IPv6", or "as written"
    std::string about;
    std::vector<std::string> flags;  // for `ghostip proxy`
    std::vector<Step> steps;
};

// The case in each of its families; none if it is not for this mode.
[[nodiscard]] Result<std::vector<Case>> read_cases(const std::string& path, const std::string& mode);

}  // namespace ghostip::packets
