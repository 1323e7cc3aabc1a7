// Random worlds: services, slices, nodes, settings, and the flows that are worth trying in them. All from one seed.
//
// Addresses come from few, and ports from fewer, so that services meet each other, and so that most flows hit
// something.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "api/objects.h"
#include "plan/node.h"
#include "plan/plan.h"
#include "support/probe.h"

namespace ghostip::packets {

using Objects = std::map<api::ObjectKey, api::Object>;

// Everything that decides what a flow meets, but for the flow.
struct World {
    net::Family family = net::Family::kIpv4;
    plan::NodeSettings settings;
    Objects objects;
};

// All ports on which endpoints of random worlds, or nobody, may be dialled.
[[nodiscard]] std::set<std::uint16_t> world_ports();

class WorldMaker {
  public:
    explicit WorldMaker(std::uint64_t seed) : random_(seed) {}

    [[nodiscard]] World world(net::Family family);
    // A few changes to it.
    [[nodiscard]] std::vector<api::Change> changes(const World& world);
    // Flows that ask about what the plan holds, and about what it does not.
    [[nodiscard]] std::vector<testnet::Probe> probes(const World& world, const plan::Plan& plan,
                                                     const std::vector<net::IpAddress>& node_addresses,
                                                     std::size_t count);

  private:
    [[nodiscard]] std::size_t below(std::size_t limit) {
        return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
    }
    [[nodiscard]] bool chance(unsigned percent) { return below(100) < percent; }
    template <typename T>
    [[nodiscard]] const T& pick(const std::vector<T>& from) {
        return from[below(from.size())];
    }

    [[nodiscard]] plan::NodeSettings settings(net::Family family);
    [[nodiscard]] api::Object node(net::Family family);
    [[nodiscard]] api::Object service_cidr(net::Family family);
    [[nodiscard]] std::shared_ptr<api::Service> service(net::Family family, std::size_t number);
    void make_external(net::Family family, api::Service& service);
    [[nodiscard]] std::shared_ptr<api::EndpointSlice> slice(net::Family family, const api::Service& service,
                                                            std::size_t number);
    [[nodiscard]] api::Endpoint endpoint(net::Family family, api::EndpointSlice& slice, unsigned hinted);
    void change_one(const World& world, Objects& touched, std::set<api::ObjectKey>& removed);
    void change_service(net::Family family, api::Service& service);
    void change_slice(net::Family family, api::EndpointSlice& slice);
    void choose_source(testnet::Probe& probe, const plan::Plan& plan);
    void choose_destination(testnet::Probe& probe, const plan::Plan& plan,
                            const std::vector<net::IpAddress>& node_addresses);

    std::mt19937_64 random_;
};

// Applies changes to a set of objects.
void update(Objects& objects, const std::vector<api::Change>& changes);

}  // namespace ghostip::packets
