// A small network for packets that test services: a node and what surrounds it.
//
//        pods                  remote               outside
//   10.0.0.0/8 of this      10.181.0.0/16,       clients 203.0.113.x, and
//   node: clients and       pods of another      the world: every other
//   local endpoints         node                 address
//        | .254.2              | .254.6               | .254.10
//        | .254.1              | .254.5               | .254.9       (192.168)
//   +----+---------------------+----------------------+----+
//   |  node "test-node": 192.168.0.2, 192.168.1.2,         |
//   |  192.168.99.11 and their twins; forwards             |
//   +------------------------------------------------------+
//
// Each of the three neighbours owns every address there is: what reaches it is delivered there, and what it sends goes
// to the node first, even to an address of its own. So a pod that dials its own Service meets the node's rules, an
// untranslated packet arrives somewhere and can be told from a dropped one, and no address needs to be assigned.
// Everything exists in both families; twin.h says how addresses pair.
//
// The node's links carry addresses that no probe uses as its source: whoever sees one knows that the source was
// rewritten on the way out, also for packets of the node itself.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/prefix.h"
#include "support/namespace.h"

namespace ghostip::testnet {

enum class Place { kNode, kPods, kRemote, kOutside };
inline constexpr std::array<Place, 4> kPlaces{Place::kNode, Place::kPods, Place::kRemote, Place::kOutside};
[[nodiscard]] std::string_view place_name(Place place);  // "pods"; also the node's interface to there

class Topology {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Topology>> create();

    [[nodiscard]] const Namespace& at(Place place) const { return namespaces_[static_cast<std::size_t>(place)]; }
    [[nodiscard]] const Namespace& node() const { return at(Place::kNode); }
    // Every address of the node, loopback and links included, of both families.
    [[nodiscard]] const std::vector<net::IpAddress>& node_addresses() const { return node_addresses_; }
    // The node's address on its link to a neighbour: the source of what is masqueraded on its way there.
    [[nodiscard]] net::IpAddress link_address(Place neighbour, net::Family family) const;
    // Where the node sends packets to this address.
    [[nodiscard]] Place place_of(const net::IpAddress& address) const;
    // Puts single addresses elsewhere than the picture says, but for those of the node; replaces what the last call
    // said.
    [[nodiscard]] Result<void> move(std::map<net::IpAddress, Place> moved);

  private:
    explicit Topology(std::vector<Namespace> namespaces) : namespaces_(std::move(namespaces)) {}
    [[nodiscard]] Result<void> build();

    std::vector<Namespace> namespaces_;  // by Place
    std::vector<net::IpAddress> node_addresses_;
    std::vector<std::pair<net::Prefix, Place>> routes_;  // longest first
    std::map<net::IpAddress, Place> moved_;
};

// Lines for `ip -batch`, run inside a namespace.
[[nodiscard]] Result<void> ip_batch(const Namespace& where, net::Family family, const std::string& lines);

}  // namespace ghostip::testnet
