#include <algorithm>
#include <random>
#include <set>
#include <tuple>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "plan/external_range.h"
#include "plan/planner.h"
#include "plan/treatment.h"
#include "plan/world_testing.h"

namespace ghostip::plan {
namespace {

using namespace testing;
using Commands = std::vector<Command>;

net::Family any_family() { return *rc::gen::element(net::Family::kIpv4, net::Family::kIpv6); }

std::unique_ptr<Planner> planner_for(const World& world) {
    return std::make_unique<Planner>(world.family(), world.settings(), nftables_profile(), world.host());
}

std::vector<api::Change> all_of(const World& world) {
    std::vector<api::Change> changes;
    for (const auto& [key, object] : world.objects()) changes.push_back({key, object});
    return changes;
}

Plan from_scratch(const World& world) {
    const auto planner = planner_for(world);
    static_cast<void>(planner->apply(all_of(world)));
    return planner->plan();
}

// What one batch did.
struct Step {
    const World& world;
    const Plan& before;
    const Delta& delta;
    const Plan& after;
};

// Runs the commands through one planner and hands over each batch. Host changes are batches of their own.
template <typename Check>
void run(World& world, const Commands& commands, Check&& check) {
    const auto planner = planner_for(world);
    Plan before = planner->plan();
    const auto step = [&](const Delta& delta) {
        Plan after = planner->plan();
        check(Step{world, before, delta, after});
        before = std::move(after);
    };
    std::vector<api::Change> batch;
    const auto flush = [&] { step(planner->apply(std::exchange(batch, {}))); };
    for (const auto& command : commands) {
        if (command.what == Command::What::kHost) flush();
        if (auto change = world.change(command))
            batch.push_back(std::move(*change));
        else
            step(planner->set_host(world.host()));
        if (command.ends_batch) flush();
    }
    flush();
}

RC_GTEST_PROP(PlannerProperties, IncrementalIsFromScratch, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    run(world, commands, [](const Step& step) { RC_ASSERT(step.after == from_scratch(step.world)); });
}

RC_GTEST_PROP(PlannerProperties, OrderOfArrivalDoesNotMatter, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    std::optional<Plan> final;
    run(world, commands, [&](const Step& step) { final = step.after; });

    std::vector<api::Change> changes = all_of(world);
    std::mt19937 random(seed);
    std::shuffle(changes.begin(), changes.end(), random);
    const auto planner = planner_for(world);
    Plan applied{world.family(), {}, {}, {}, {}, {}};
    for (auto from = changes.begin(); from != changes.end();) {
        const auto left = static_cast<std::size_t>(changes.end() - from);
        const auto until = from + static_cast<std::ptrdiff_t>(1 + random() % std::min<std::size_t>(left, 4));
        applied.apply(planner->apply({from, until}));
        from = until;
    }
    applied.apply(planner->apply({}));
    RC_ASSERT(planner->plan() == *final);
    RC_ASSERT(applied == *final);
}

RC_GTEST_PROP(PlannerProperties, DeltasAndTheirInverses, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    run(world, commands, [](const Step& step) {
        Plan plan = step.before;
        plan.apply(step.delta);
        RC_ASSERT(plan == step.after);
        plan.apply(inverse(step.delta));
        RC_ASSERT(plan == step.before);
        plan.apply(inverse(inverse(step.delta)));
        RC_ASSERT(plan == step.after);

        Plan built{step.after.family, {}, {}, {}, {}, {}};
        built.apply(everything(step.after));
        RC_ASSERT(built == step.after);
        RC_ASSERT(step.delta.empty() == (step.before == step.after && !step.delta.node_rules));
    });
}

RC_GTEST_PROP(PlannerProperties, NothingNewChangesNothing, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    const auto planner = planner_for(world);
    for (const auto& command : commands)
        if (auto change = world.change(command)) static_cast<void>(planner->apply({*change}));
    static_cast<void>(planner->set_host(world.host()));
    RC_ASSERT(planner->apply({}).empty());
    RC_ASSERT(planner->set_host(world.host()).empty());
    RC_ASSERT(planner->apply(all_of(world)).empty());
    static_cast<void>(planner->take_conflicts());
    RC_ASSERT(planner->apply(all_of(world)).empty());
    RC_ASSERT(planner->take_conflicts().empty());
}

template <typename Keys>
std::set<typename Keys::value_type> as_set(const Keys& keys) {
    std::set<typename Keys::value_type> result(keys.begin(), keys.end());
    RC_ASSERT(result.size() == keys.size());  // each once
    return result;
}

// Keys that only the first of two maps has.
template <typename Map>
std::set<typename Map::key_type> only_in(const Map& a, const Map& b) {
    std::set<typename Map::key_type> keys;
    for (const auto& [key, value] : a)
        if (!b.contains(key)) keys.insert(key);
    return keys;
}

// Keys whose values differ, or that one side has not.
template <typename Map>
std::set<typename Map::key_type> differing(const Map& a, const Map& b) {
    auto keys = only_in(a, b);
    for (const auto& [key, value] : b)
        if (const auto found = a.find(key); found == a.end() || !(found->second == value)) keys.insert(key);
    return keys;
}

using DestinationId = std::pair<ServicePortName, DestinationKey>;
using PoolId = std::pair<ServicePortName, PoolScope>;

std::map<DestinationId, Destination> destinations_of(const Plan& plan) {
    std::map<DestinationId, Destination> result;
    for (const auto& [name, port] : plan.service_ports)
        for (const auto& destination : port->destinations) result[{name, destination.key}] = destination;
    return result;
}

std::map<PoolId, Pool> pools_of(const Plan& plan) {
    std::map<PoolId, Pool> result;
    for (const auto& [name, port] : plan.service_ports)
        for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal})
            if (!port->pool(scope).empty()) result[{name, scope}] = port->pool(scope);
    return result;
}

RC_GTEST_PROP(PlannerProperties, DeltasListWhatDiffersAndNothingElse, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    run(world, commands, [](const Step& step) {
        const Delta& delta = step.delta;
        std::map<ServicePortName, ServicePortPlan> before;
        std::map<ServicePortName, ServicePortPlan> after;
        for (const auto& [name, port] : step.before.service_ports) before[name] = *port;
        for (const auto& [name, port] : step.after.service_ports) after[name] = *port;
        std::vector<ServicePortName> ports;
        for (const auto& change : delta.service_ports)
            ports.push_back((change.after ? change.after : change.before)->name);
        RC_ASSERT(as_set(ports) == differing(before, after));

        // A destination that changes hands is listed twice: once going, once coming.
        std::vector<DestinationKey> going;
        std::vector<DestinationKey> coming;
        std::vector<DestinationKey> changing;
        for (const auto& change : delta.destinations()) {
            // In parentheses: RC_ASSERT takes || apart, and then both sides are evaluated.
            RC_ASSERT((change.before == nullptr || change.after == nullptr || !(*change.before == *change.after)));
            RC_ASSERT((change.before != nullptr || change.after != nullptr));
            (change.before == nullptr  ? coming
             : change.after == nullptr ? going
                                       : changing)
                .push_back((change.after != nullptr ? change.after : change.before)->key);
        }
        const auto old_destinations = destinations_of(step.before);
        const auto new_destinations = destinations_of(step.after);
        std::multiset<DestinationKey> expected_going;
        std::multiset<DestinationKey> expected_coming;
        std::multiset<DestinationKey> expected_changing;
        for (const auto& id : differing(old_destinations, new_destinations)) {
            const bool was = old_destinations.contains(id);
            const bool is = new_destinations.contains(id);
            (was && is ? expected_changing : was ? expected_going : expected_coming).insert(id.second);
        }
        RC_ASSERT(std::multiset<DestinationKey>(going.begin(), going.end()) == expected_going);
        RC_ASSERT(std::multiset<DestinationKey>(coming.begin(), coming.end()) == expected_coming);
        RC_ASSERT(std::multiset<DestinationKey>(changing.begin(), changing.end()) == expected_changing);

        std::vector<PoolId> pools;
        for (const auto& change : delta.pools()) {
            RC_ASSERT(*change.before != *change.after);
            pools.emplace_back(*change.service_port, change.scope);
        }
        RC_ASSERT(as_set(pools) == differing(pools_of(step.before), pools_of(step.after)));

        RC_ASSERT(as_set(delta.cluster_ips_added) == only_in(step.after.cluster_ips, step.before.cluster_ips));
        RC_ASSERT(as_set(delta.cluster_ips_removed) == only_in(step.before.cluster_ips, step.after.cluster_ips));
        RC_ASSERT(as_set(delta.hairpins_added) == only_in(step.after.hairpins, step.before.hairpins));
        RC_ASSERT(as_set(delta.hairpins_removed) == only_in(step.before.hairpins, step.after.hairpins));
        std::vector<ServiceName> checks;
        for (const auto& change : delta.health_checks) checks.push_back(change.service);
        RC_ASSERT(as_set(checks) == differing(step.before.health_checks, step.after.health_checks));
    });
}

// Who owns what, counted the slow way: of all service ports that ask for a destination, the one with the lowest kind,
// then name, then place in its Service.
RC_GTEST_PROP(PlannerProperties, EveryDestinationHasTheRightOwner, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    run(world, commands, [](const Step& step) {
        using Claimant = std::tuple<DestinationKind, ServiceName, std::size_t, ServicePortName>;
        std::map<DestinationKey, Claimant> expected;
        for (const auto& [key, object] : step.world.objects()) {
            const auto* found = std::get_if<std::shared_ptr<const api::Service>>(&object);
            if (found == nullptr) continue;
            std::size_t index = 0;
            for (auto& port : service_ports(**found, step.world.family())) {
                static_cast<void>(refuse(port, step.world.settings().external_ranges));
                for (const auto& claim : claims_of(port)) {
                    const Claimant claimant{claim.kind, port.name.service, index, port.name};
                    const auto [place, free] = expected.try_emplace(claim.key, claimant);
                    if (!free) place->second = std::min(place->second, claimant);
                }
                ++index;
            }
        }
        std::map<DestinationKey, Claimant> actual;
        std::map<net::IpAddress, std::uint32_t> cluster_ips;
        std::map<Hairpin, std::uint32_t> hairpins;
        for (const auto& [name, port] : step.after.service_ports) {
            for (const auto& destination : port->destinations) {
                RC_ASSERT(!actual.contains(destination.key));
                const auto index = std::get<2>(expected.at(destination.key));
                actual[destination.key] = {destination.kind, name.service, index, name};
                if (destination.kind == DestinationKind::kClusterIp) ++cluster_ips[destination.key.address];
            }
            for (const auto& hairpin : hairpins_of(*port, nftables_profile())) ++hairpins[hairpin];
        }
        RC_ASSERT(actual == expected);
        RC_ASSERT(step.after.cluster_ips == cluster_ips);
        RC_ASSERT(step.after.hairpins == hairpins);
    });
}

// Of a range that is dropped, nothing that lives on or next to this node is a part, looked for the slow way; and every
// range is either dropped or said not to be.
RC_GTEST_PROP(PlannerProperties, NothingOfThisNodeIsDropped, (const Commands& commands, std::uint32_t seed)) {
    World world(any_family(), seed);
    run(world, commands, [](const Step& step) {
        const NodeRules& rules = step.after.node;
        // But for cluster IPs that the node carries beside its own address: they have an owner.
        std::vector<net::IpAddress> occupied = step.world.host().addresses;
        std::erase_if(occupied, [&](const auto& address) {
            return step.after.cluster_ips.contains(address) && address != rules.node_ip;
        });
        const auto add = [&](const std::vector<net::IpAddress>& more) {
            occupied.insert(occupied.end(), more.begin(), more.end());
        };
        add(step.world.host().gateways);
        add(step.world.settings().api_servers);
        std::set<net::Prefix> ranges;
        for (const auto& [key, object] : step.world.objects()) {
            if (const auto* cidr = std::get_if<std::shared_ptr<const api::ServiceCidr>>(&object))
                for (const auto& range : (*cidr)->cidrs)
                    if (range.family() == step.world.family()) ranges.insert(range);
            const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object);
            if (slice == nullptr || (*slice)->address_type == api::AddressType::kOther) continue;
            if ((*slice)->service_name.empty()) continue;
            const bool api_server = (*slice)->namespace_ == "default" && (*slice)->service_name == "kubernetes";
            for (const auto& endpoint : (*slice)->endpoints)
                if (api_server || (endpoint.node != api::Endpoint::kNone &&
                                   (*slice)->node_names[endpoint.node] == step.world.settings().node_name))
                    occupied.push_back(endpoint.address);
        }
        for (const auto& range : rules.service_cidrs)
            for (const auto& address : occupied) RC_ASSERT(!range.contains(address));
        for (const auto& range : rules.undropped) RC_ASSERT(ranges.contains(range.range));
        RC_ASSERT(rules.service_cidrs.size() + rules.undropped.size() == ranges.size());
        for (const auto& range : rules.service_cidrs) RC_ASSERT(ranges.contains(range));
    });
}

// Properties about nothing hold for everything: the worlds must hold what they are about.
TEST(RandomWorlds, HoldWhatTheyAreAbout) {
    std::size_t conflicts = 0;
    std::size_t hairpins = 0;
    std::size_t local_pools = 0;
    std::size_t filtered = 0;
    std::size_t sticky = 0;
    std::size_t health_checks = 0;
    std::size_t dropped = 0;
    std::size_t refused = 0;
    std::size_t refusals = 0;
    std::size_t dropped_ranges = 0;
    std::map<Occupant, std::size_t> undropped;
    std::mt19937 random(1);
    for (std::uint32_t seed = 0; seed < 300; ++seed) {
        World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
        for (std::uint8_t i = 0; i < 12; ++i) {
            world.change({Command::What::kService, false, false, i, static_cast<std::uint32_t>(random())});
            world.change({Command::What::kSlice, false, false, i, static_cast<std::uint32_t>(random())});
        }
        for (std::uint8_t i = 0; i < 2; ++i)
            world.change({Command::What::kServiceCidr, false, false, i, static_cast<std::uint32_t>(random())});
        if (seed % 3 == 0) world.change({Command::What::kNode, false, false, 0, static_cast<std::uint32_t>(random())});
        if (seed % 5 == 0) world.change({Command::What::kHost, false, false, 0, static_cast<std::uint32_t>(random())});
        const auto planner = planner_for(world);
        static_cast<void>(planner->apply(all_of(world)));
        const Plan plan = planner->plan();
        refusals += planner->take_refusals().size();
        dropped_ranges += plan.node.service_cidrs.size();
        for (const auto& range : plan.node.undropped) ++undropped[range.occupant];
        conflicts += planner->take_conflicts().size();
        for (const auto& [hairpin, users] : plan.hairpins) hairpins += users > 1 ? 1 : 0;
        health_checks += plan.health_checks.size();
        for (const auto& [name, port] : plan.service_ports) {
            local_pools += port->local.empty() ? 0 : 1;
            refused += port->refused.size();
            sticky += port->affinity_seconds != 0 && !port->cluster.empty() ? 1 : 0;
            for (const auto& destination : port->destinations) {
                filtered += destination.allowed_sources.empty() ? 0 : 1;
                dropped += destination.treatment(SourceClass::kOutside).action == Action::kDrop ? 1 : 0;
            }
        }
    }
    const std::map<std::string, std::size_t> counts{{"conflicts", conflicts},     {"shared hairpins", hairpins},
                                                    {"local pools", local_pools}, {"filtered", filtered},
                                                    {"sticky", sticky},           {"health checks", health_checks},
                                                    {"dropped", dropped},         {"refused", refused},
                                                    {"refusals", refusals},       {"dropped ranges", dropped_ranges}};
    for (const auto& [what, count] : counts) EXPECT_GE(count, 50U) << what;
    for (const auto occupant :
         {Occupant::kNode, Occupant::kGateway, Occupant::kApiServer, Occupant::kPodRange, Occupant::kPod})
        EXPECT_GE(undropped[occupant], 3U) << static_cast<int>(occupant);
}

}  // namespace
}  // namespace ghostip::plan
