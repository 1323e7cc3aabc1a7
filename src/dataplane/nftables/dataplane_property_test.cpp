#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "dataplane/nftables/dataplane_testing.h"
#include "plan/world_testing.h"

namespace ghostip::dataplane::nftables {
namespace {

using namespace testing;
using plan::testing::Command;
using plan::testing::World;
using Commands = std::vector<Command>;

// The structure for all classes that ever occurred.
std::map<std::string, kernel::nft::Chain> chains_for(const plan::Plan& plan, const Classes& classes,
                                                     Counting counting) {
    std::map<std::string, kernel::nft::Chain> chains;
    for (auto& chain : render_structure({plan.family, plan.node, classes, counting}).chains) chains[chain.name] = chain;
    return chains;
}

Classes classes_of(const plan::Plan& plan) {
    Classes classes;
    for (const auto& [name, port] : plan.service_ports) collect_classes(*port, classes);
    return classes;
}

void expect_holds(const OnTwin& place, const plan::Plan& plan, const Classes& classes, Counting counting) {
    const TableState& state = place.state();
    const TableState fresh = freshly_replaced(plan, counting);
    RC_ASSERT(broken_pools(state) == std::vector<std::string>{});
    RC_ASSERT(comparable(state) == comparable(fresh));
    RC_ASSERT(state.chains == chains_for(plan, classes, counting));
    for (const auto& [name, set] : fresh.sets)
        RC_ASSERT((state.sets.contains(name) && state.sets.at(name).declaration == set.declaration));
}

// Runs the commands through a planner and a dataplane on the twin, a few elements a transaction. `sabotage` says which
// call of the kernel fails during a batch, 0 for none; after a failure comes a reconcile(), as the agent does it.
template <typename Sabotage>
void run(const Commands& commands, std::uint32_t seed, Sabotage&& sabotage) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    plan::Planner planner(world.family(), world.settings(), plan::nftables_profile(), world.host());
    static_cast<void>(planner.apply({}));
    const Limits limits{1 + seed % 40, seed % 3 == 0 ? 0 : kLargestDump};
    const Counting counting = seed % 5 < 2 ? Counting::kOn : Counting::kOff;
    OnTwin place(world.family(), limits, counting);
    RC_ASSERT(place.reconcile(planner.plan()).has_value());
    Classes classes = classes_of(planner.plan());
    for (const auto& command : commands) {
        const auto change = world.change(command);
        const plan::Delta delta = change ? planner.apply({*change}) : planner.set_host(world.host());
        const std::uint64_t failing = sabotage(command);
        if (failing != 0) place.twin.fail_call(failing, ENOBUFS);
        const auto result = place.apply(delta);
        place.twin.fail_no_more();
        RC_ASSERT(broken_pools(place.state()) == std::vector<std::string>{});
        for (const auto& port : delta.service_ports)
            if (port.after) collect_classes(*port.after, classes);
        if (!result) {
            RC_ASSERT(failing != 0U);
            RC_ASSERT(place.reconcile(planner.plan()).has_value());
        }
        if (!result || command.ends_batch || &command == &commands.back())
            expect_holds(place, planner.plan(), classes, counting);
    }
    // Another process takes over: nothing changed, nothing is written.
    OnTwin successor(world.family(), place.twin, limits, counting);
    successor.twin.reset_counters();
    const auto taken = successor.reconcile(planner.plan());
    RC_ASSERT(taken.has_value());
    RC_ASSERT(successor.twin.counters().commits == 0U);
    RC_ASSERT(taken->differences == 0U);
    RC_ASSERT(successor.state() == place.state());
    // One that was told otherwise: what counts comes or goes, and nothing else.
    const Counting other = counting == Counting::kOn ? Counting::kOff : Counting::kOn;
    OnTwin changed(world.family(), place.twin, limits, other);
    RC_ASSERT(changed.reconcile(planner.plan()).has_value());
    expect_holds(changed, planner.plan(), classes, other);
}

// Fewer than the planner gets: each check makes the whole ruleset twice.
Commands few_commands() { return *rc::gen::resize(40, rc::gen::arbitrary<Commands>()); }

RC_GTEST_PROP(DataplaneProperties, DeltasEndWhereAFreshStartWould, (std::uint32_t seed)) {
    run(few_commands(), seed, [](const Command&) { return 0U; });
}

RC_GTEST_PROP(DataplaneProperties, ConvergesAfterEveryFailure, (std::uint32_t seed)) {
    run(few_commands(), seed, [](const Command& command) { return command.seed % 3; });
}

}  // namespace
}  // namespace ghostip::dataplane::nftables
