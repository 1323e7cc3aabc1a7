#include <functional>
#include <map>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "dataplane/ipvs/dataplane_testing.h"
#include "plan/world_testing.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using plan::testing::Command;
using plan::testing::World;
using Commands = std::vector<Command>;

// Of calls that are to fail, one is used up by each.
constexpr int kMostFailures = 20;

Commands few_commands() { return *rc::gen::resize(40, rc::gen::arbitrary<Commands>()); }

Lines freshly_made(const plan::Plan& plan) {
    Machine machine(plan.family);
    OnMachine fresh(machine);
    static_cast<void>(fresh.reconcile(plan));
    return machine.all();
}

// Runs the commands through a planner and a dataplane on the twins. `sabotage` makes calls fail during a batch; after
// a failure comes a reconcile(), as the agent does it.
template <typename Sabotage>
void run(const Commands& commands, std::uint32_t seed, Sabotage&& sabotage) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    plan::Planner planner(world.family(), world.settings(), plan::ipvs_profile(), world.host());
    static_cast<void>(planner.apply({}));
    Machine machine(world.family());
    OnMachine place(machine);
    RC_ASSERT(place.reconcile(planner.plan()).has_value());
    for (const auto& command : commands) {
        const auto change = world.change(command);
        const plan::Delta delta = change ? planner.apply({*change}) : planner.set_host(world.host());
        sabotage(machine, command);
        if (const auto result = place.apply(delta); !result) {
            RC_LOG() << result.error().message << '\n';
            Result<Outcome> again = place.reconcile(planner.plan());
            for (int i = 0; i < kMostFailures && !again; ++i) again = place.reconcile(planner.plan());
            RC_ASSERT(again.has_value());
        }
        machine.forget_failures();
        if (!command.ends_batch && &command != &commands.back()) continue;
        // Two destinations of one address and port take turns when all is looked at.
        RC_ASSERT(place.look_and_check(planner.plan()).has_value());
        RC_ASSERT(machine.all() == freshly_made(planner.plan()));
    }
    // Another process takes over: nothing changed, nothing is written.
    OnMachine successor(machine);
    const auto taken = successor.reconcile(planner.plan());
    RC_ASSERT(taken.has_value());
    RC_ASSERT(taken->transactions == 0U);
}

RC_GTEST_PROP(IpvsProperties, DeltasEndWhereAFreshStartWould, (std::uint32_t seed)) {
    run(few_commands(), seed, [](Machine&, const Command&) {});
}

RC_GTEST_PROP(IpvsProperties, ConvergesAfterEveryFailure, (std::uint32_t seed)) {
    run(few_commands(), seed, [](Machine& machine, const Command& command) {
        const auto call = 1 + command.seed / 4 % 3;
        switch (command.seed % 5) {
            case 0: machine.ipvs.fail_call(call, ENOBUFS); break;
            case 1: machine.sets.fail_call(call, ENOBUFS); break;
            case 2: machine.links.fail_call(call, ENOBUFS); break;
            case 3: machine.iptables.fail_calls(call, ENOBUFS); break;
            default: break;
        }
    });
}

RC_GTEST_PROP(IpvsProperties, ConvergesAfterEveryRefusal, (std::uint32_t seed)) {
    run(few_commands(), seed, [](Machine& machine, const Command& command) {
        machine.ipvs.refuse_command(1 + command.seed / 4 % 6, command.seed % 2 == 0 ? ENOMEM : EINVAL);
    });
}

// Somebody else has virtual servers where Services come to want them: nobody touches those, and all is there once they
// are gone.
RC_GTEST_PROP(IpvsProperties, WhatIsForeignStays, (std::uint32_t seed)) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    plan::Planner planner(world.family(), world.settings(), plan::ipvs_profile(), world.host());
    static_cast<void>(planner.apply({}));
    Machine machine(world.family());
    OnMachine place(machine);
    RC_ASSERT(place.reconcile(planner.plan()).has_value());
    std::map<kernel::ipvs::ServiceKey, kernel::ipvs::Service> foreign;
    const auto all_are_there = [&] {
        const auto states = machine.ipvs.contents().value();
        for (const auto& state : states)
            if (const auto one = foreign.find(state.service.key); one != foreign.end())
                RC_ASSERT(state.service == one->second && state.destinations.empty());
    };
    for (const auto& command : few_commands()) {
        const auto change = world.change(command);
        const plan::Delta delta = change ? planner.apply({*change}) : planner.set_host(world.host());
        Machine other(world.family());
        OnMachine fresh(other);
        static_cast<void>(fresh.reconcile(planner.plan()));
        const auto wanted = other.ipvs.services().value();
        for (const auto& service : wanted) {
            if (std::hash<std::string>()(text(service.key)) % 4 != 0 || machine.ipvs.contains(service.key).value())
                continue;
            auto own = service;
            own.flags = kernel::ipvs::kOnePacket;
            machine.ipvs.add_foreign({own, {}});
            foreign.emplace(own.key, own);
        }
        if (!place.apply(delta)) RC_ASSERT(place.reconcile(planner.plan()).has_value());
        all_are_there();
        if (command.seed % 3 == 0) {
            OnMachine successor(machine);
            RC_ASSERT(successor.reconcile(planner.plan()).has_value());
        }
        if (command.ends_batch) RC_ASSERT(place.look_and_check(planner.plan()).has_value());
        all_are_there();
    }
    std::vector<kernel::ipvs::Command> away;
    for (const auto& [key, service] : foreign) {
        RC_ASSERT(machine.ipvs.contains(key).value());
        away.push_back({kernel::ipvs::Verb::kDeleteService, service, {}});
    }
    RC_ASSERT(machine.ipvs.apply(away).value().empty());
    RC_ASSERT(place.look_and_check(planner.plan()).has_value());
    RC_ASSERT(machine.all() == freshly_made(planner.plan()));
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs
