// The part of the ruleset that grows: elements of sets and maps for one service port.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/nftables/names.h"
#include "dataplane/nftables/slots.h"
#include "dataplane/nftables/structure.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// The bytes of a key or of data, at most a client, a destination and an endpoint of IPv6.
class KeyBytes {
  public:
    KeyBytes& address(const net::IpAddress& address);
    KeyBytes& protocol(net::Protocol protocol);        // padded, as one of several fields
    KeyBytes& protocol_alone(net::Protocol protocol);  // as the only one
    KeyBytes& port(std::uint16_t port);                // network order, padded
    KeyBytes& number(std::uint32_t value);             // host order, as numgen yields it
    // address . protocol . port, or protocol . port for a node port
    KeyBytes& destination(const plan::DestinationKey& key);
    KeyBytes& endpoint(const plan::Endpoint& endpoint);

    [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.data(), size_}; }

  private:
    KeyBytes& append(std::span<const std::uint8_t> bytes, std::size_t padded);
    std::array<std::uint8_t, 64> bytes_{};
    std::size_t size_ = 0;
};

class ElementSink {
  public:
    virtual ~ElementSink() = default;
    // `data` is empty for sets.
    virtual void add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) = 0;
};

// Slots of both pools of a service port.
struct ServicePortSlots {
    Slots cluster;
    Slots local;

    [[nodiscard]] const Slots& of(plan::PoolScope scope) const {
        return scope == plan::PoolScope::kCluster ? cluster : local;
    }
};

void render_elements(const plan::ServicePortPlan& plan, const ServicePortSlots& slots, Counting counting,
                     ElementSink& sink);
void render_cluster_ip(const net::IpAddress& address, ElementSink& sink);
void render_hairpin(const plan::Hairpin& hairpin, ElementSink& sink);
// What comes from the node and no service port.
void render_node(const plan::NodeRules& node, ElementSink& sink);

// Adds the classes that the elements of this service port need.
void collect_classes(const plan::ServicePortPlan& plan, Classes& classes);

// Where a destination is found, and with which pool: one lane, or two where outside sources have a pool of their own.
struct LanePool {
    Lane lane;
    plan::PoolScope scope;
};
[[nodiscard]] std::array<std::optional<LanePool>, 2> lanes_of(const plan::Destination& destination);

}  // namespace ghostip::dataplane::nftables
