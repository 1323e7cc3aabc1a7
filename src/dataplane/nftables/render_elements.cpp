#include "dataplane/nftables/render_elements.h"

#include <algorithm>
#include <cstring>

#include "plan/relayed.h"

namespace ghostip::dataplane::nftables {
namespace {

using plan::Action;
using plan::DestinationKind;
using plan::SourceClass;

// Outside sources have a pool of their own (policy Local seen from outside).
bool splits(const plan::Destination& destination) {
    return destination.treatment(SourceClass::kOutside).pool != destination.treatment(SourceClass::kNode).pool;
}

Lane base_lane(const plan::Destination& destination) {
    return destination.key.node_port ? Lane::kNodePort : Lane::kAddress;
}
Lane local_lane(const plan::Destination& destination) {
    return destination.key.node_port ? Lane::kNodePortLocal : Lane::kAddressLocal;
}

// Translating to such an endpoint changes nothing, so conntrack does not call the connection translated.
bool is_own_endpoint(const plan::ServicePortPlan& plan, const plan::DestinationKey& key) {
    const auto same = [&](const plan::Endpoint& endpoint) {
        return endpoint.port == key.port && (key.node_port || endpoint.address == key.address);
    };
    return std::any_of(plan.cluster.begin(), plan.cluster.end(), same) ||
           std::any_of(plan.local.begin(), plan.local.end(), same);
}

// Where the packet is sent when it arrives, before any pool is looked at.
void render_dispatch_element(const plan::ServicePortPlan& plan, const plan::Destination& destination,
                             std::span<const std::uint8_t> key, ElementSink& sink) {
    if (destination.kind == DestinationKind::kClusterIp) return;  // found by address
    const bool served = std::any_of(destination.treatments.begin(), destination.treatments.end(),
                                    [](const auto& treatment) { return treatment.action == Action::kBalance; });
    if (!served) return;
    sink.add({splits(destination) ? SetRole::kExternalLocal : SetRole::kExternalCluster, base_lane(destination)}, key,
             {});
    if (is_own_endpoint(plan, destination.key)) sink.add({SetRole::kOwnEndpoints, base_lane(destination)}, key, {});
}

// Sources that are served never get here untranslated, so what outside sources experience is what is left.
void render_no_endpoint_element(const plan::Destination& destination, std::span<const std::uint8_t> key,
                                ElementSink& sink) {
    const auto action = destination.treatment(SourceClass::kOutside).action;
    if (action == Action::kReject) sink.add({SetRole::kNoEndpointsReject, base_lane(destination)}, key, {});
    if (action == Action::kDrop) sink.add({SetRole::kNoEndpointsDrop, base_lane(destination)}, key, {});
}

void render_pool(const plan::Destination& destination, Lane lane, const Slots& slots, std::uint32_t affinity_seconds,
                 ElementSink& sink) {
    if (slots.empty()) return;
    const KeyBytes key = KeyBytes().destination(destination.key);
    sink.add({SetRole::kUpTo, lane, size_class(slots.size())}, key.bytes(), {});
    std::uint32_t slot = 0;
    for (const auto& endpoint : slots)
        sink.add({SetRole::kEndpoints, lane}, KeyBytes(key).number(slot++).bytes(),
                 KeyBytes().endpoint(endpoint).bytes());
    if (affinity_seconds == 0) return;
    sink.add({SetRole::kAffinity, lane, affinity_seconds}, key.bytes(), {});
    for (const auto& endpoint : slots)
        sink.add({SetRole::kMembers, lane, affinity_seconds}, KeyBytes(key).endpoint(endpoint).bytes(), {});
}

void render_sources(const plan::Destination& destination, std::span<const std::uint8_t> key, ElementSink& sink) {
    if (destination.allowed_sources.empty()) return;
    sink.add({SetRole::kFilteredSources}, key, {});
    for (const auto& range : destination.allowed_sources)
        sink.add({SetRole::kAllowedSources, Lane::kAddress, static_cast<std::uint32_t>(range.length)},
                 KeyBytes().destination(destination.key).address(range.address).bytes(), {});
}

void render_relay_ports(const plan::ServicePortPlan& plan, ElementSink& sink) {
    if (!plan.only_translated) return;
    for (const auto* pool : {&plan.cluster, &plan.local})
        for (const auto& endpoint : *pool)
            sink.add({SetRole::kRelayPorts}, KeyBytes().protocol(plan.name.protocol).port(endpoint.port).bytes(), {});
}

}  // namespace

KeyBytes& KeyBytes::append(std::span<const std::uint8_t> bytes, std::size_t padded) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(size_));
    size_ += padded;
    return *this;
}

KeyBytes& KeyBytes::address(const net::IpAddress& address) { return append(address.bytes(), address.bytes().size()); }

KeyBytes& KeyBytes::protocol(net::Protocol protocol) {
    const auto number = static_cast<std::uint8_t>(protocol);
    return append({&number, 1}, 4);
}

KeyBytes& KeyBytes::protocol_alone(net::Protocol protocol) {
    const auto number = static_cast<std::uint8_t>(protocol);
    return append({&number, 1}, 1);
}

KeyBytes& KeyBytes::port(std::uint16_t port) {
    const std::array<std::uint8_t, 2> network{static_cast<std::uint8_t>(port >> 8),
                                              static_cast<std::uint8_t>(port & 0xff)};
    return append(network, 4);
}

KeyBytes& KeyBytes::number(std::uint32_t value) {
    std::array<std::uint8_t, 4> host{};
    std::memcpy(host.data(), &value, sizeof value);
    return append(host, 4);
}

KeyBytes& KeyBytes::destination(const plan::DestinationKey& key) {
    if (!key.node_port) address(key.address);
    return protocol(key.protocol).port(key.port);
}

KeyBytes& KeyBytes::endpoint(const plan::Endpoint& endpoint) { return address(endpoint.address).port(endpoint.port); }

std::array<std::optional<LanePool>, 2> lanes_of(const plan::Destination& destination) {
    std::array<std::optional<LanePool>, 2> lanes;
    lanes[0] = {base_lane(destination), destination.treatment(SourceClass::kNode).pool};
    if (splits(destination)) lanes[1] = {local_lane(destination), destination.treatment(SourceClass::kOutside).pool};
    return lanes;
}

void render_elements(const plan::ServicePortPlan& plan, const ServicePortSlots& slots, Counting counting,
                     ElementSink& sink) {
    for (const auto& destination : plan.destinations) {
        const KeyBytes key = KeyBytes().destination(destination.key);
        render_sources(destination, key.bytes(), sink);
        render_no_endpoint_element(destination, key.bytes(), sink);
        for (const auto& lane : lanes_of(destination))
            if (lane) render_pool(destination, lane->lane, slots.of(lane->scope), plan.affinity_seconds, sink);
        render_dispatch_element(plan, destination, key.bytes(), sink);
        if (counting == Counting::kOn) sink.add({SetRole::kCounted, base_lane(destination)}, key.bytes(), {});
    }
    render_relay_ports(plan, sink);
}

void render_cluster_ip(const net::IpAddress& address, ElementSink& sink) {
    sink.add({SetRole::kClusterIps}, KeyBytes().address(address).bytes(), {});
}

void render_hairpin(const plan::Hairpin& hairpin, ElementSink& sink) {
    sink.add({SetRole::kHairpins},
             KeyBytes()
                 .address(hairpin.address)
                 .address(hairpin.address)
                 .protocol(hairpin.protocol)
                 .port(hairpin.port)
                 .bytes(),
             {});
}

void render_node(const plan::NodeRules& node, ElementSink& sink) {
    if (node.relayed_localhost)
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp})
            if (!plan::can_be_relayed(protocol))
                sink.add({SetRole::kNotRelayed}, KeyBytes().protocol_alone(protocol).bytes(), {});
    if (node.node_ports.all) return;
    for (const auto& address : node.node_ports.addresses)
        sink.add({SetRole::kNodePortIps}, KeyBytes().address(address).bytes(), {});
}

void collect_classes(const plan::ServicePortPlan& plan, Classes& classes) {
    for (const auto& destination : plan.destinations) {
        for (const auto& range : destination.allowed_sources)
            classes.source_lengths.insert(static_cast<std::uint32_t>(range.length));
        for (const auto& lane : lanes_of(destination)) {
            if (!lane || plan.pool(lane->scope).empty()) continue;
            const auto index = static_cast<std::size_t>(lane->lane);
            classes.pool_sizes[index].insert(size_class(plan.pool(lane->scope).size()));
            if (plan.affinity_seconds != 0) classes.affinity_seconds[index].insert(plan.affinity_seconds);
        }
    }
}

}  // namespace ghostip::dataplane::nftables
