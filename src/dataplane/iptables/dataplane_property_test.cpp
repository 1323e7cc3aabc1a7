#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"
#include "dataplane/iptables/packet_walk_testing.h"
#include "plan/world_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using plan::testing::Command;
using plan::testing::ip;
using plan::testing::ips;
using plan::testing::World;
using Commands = std::vector<Command>;

Commands few_commands() { return *rc::gen::resize(40, rc::gen::arbitrary<Commands>()); }

// Flows from and to everything that the worlds have.
std::vector<plan::Flow> flows(net::Family family) {
    const bool v4 = family == net::Family::kIpv4;
    struct Source {
        const char* address;
        const char* interface;
    };
    const std::vector<Source> sources =
        v4 ? std::vector<Source>{{"10.180.0.1", "cni0"},  {"10.180.0.3", "cni0"}, {"10.1.1.1", "eth0"},
                                 {"203.0.113.9", "eth0"}, {"192.168.0.2", ""},    {"127.0.0.1", ""},
                                 {"192.168.0.77", "eth0"}}
           : std::vector<Source>{{"fd00:10::1", "cni0"},
                                 {"2001:db8::77", "eth0"},
                                 {"2001:db9::9", "eth0"},
                                 {"2001:db8::1", ""},
                                 {"::1", ""}};
    const auto destinations = v4 ? ips({"172.30.0.1", "172.30.0.2", "172.30.0.3", "172.30.0.6", "1.2.3.4", "5.6.7.8",
                                        "192.168.0.2", "192.168.1.2", "192.168.99.11", "127.0.0.1", "8.8.8.8"})
                                 : ips({"fd00:30::1", "fd00:30::2", "fd00:30::3", "fd00:30::6", "2001:db8:f::1",
                                        "2001:db8:f::2", "2001:db8::1", "2001:db8:1::2", "::1", "2001:db9::1"});
    std::vector<plan::Flow> all;
    for (const auto& source : sources)
        for (const auto& destination : destinations)
            for (const auto port : std::vector<std::uint16_t>{80, 53, 30000, 30001})
                for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp})
                    all.push_back({ip(source.address), destination, protocol, port, source.interface});
    return all;
}

void expect_agreement(const MemoryIptables& twin, const plan::Plan& plan) {
    const plan::Explainer explainer(plan, plan::iptables_profile());
    const PacketWalk rules(twin, plan.node);
    for (const auto& flow : flows(plan.family)) {
        if (flow.interface.empty() != rules.is_local(flow.source)) continue;  // such a packet there is not
        // Guarded as long as loopback is open to node ports (KUBE-FIREWALL): no matter of services.
        if (flow.destination.is_loopback() && !flow.source.is_loopback()) continue;
        const auto expected = arrivals_of(explainer.explain(flow));
        const auto walked = rules.walk(flow);
        if (expected == walked) continue;
        RC_LOG() << flow.source.text() << " -> " << net::host_port(flow.destination, flow.port) << '/'
                 << net::protocol_name(flow.protocol) << " in by " << flow.interface << '\n';
        RC_ASSERT(walked == expected);
    }
}

// Runs the commands through a planner and a dataplane on the twin. `sabotage` says how many calls of iptables fail
// during a batch; after a failure comes a reconcile(), as the agent does it.
template <typename Sabotage>
void run(const Commands& commands, std::uint32_t seed, Sabotage&& sabotage) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    const auto variant = seed % 3 == 0 ? Variant::kLegacy : Variant::kNft;
    Settings settings;
    settings.counters = seed % 5 != 0;
    settings.limits = impatient(1 + seed % 60);
    plan::Planner planner(world.family(), world.settings(), plan::iptables_profile(), world.host());
    static_cast<void>(planner.apply({}));
    MemoryIptables twin(variant, world.family());
    OnTwin place(twin, settings);
    RC_ASSERT(place.reconcile(planner.plan()).has_value());
    for (const auto& command : commands) {
        const auto change = world.change(command);
        const plan::Delta delta = change ? planner.apply({*change}) : planner.set_host(world.host());
        const std::uint64_t failing = sabotage(command);
        if (failing != 0) twin.fail_calls(failing, ENOBUFS);
        const auto result = place.apply(delta);
        twin.fail_calls(0, 0);
        if (!result) {
            RC_LOG() << result.error().message << '\n';
            RC_ASSERT(failing != 0U);
            RC_ASSERT(place.reconcile(planner.plan()).has_value());
        }
        RC_ASSERT(misplaced_tails(twin) == Lines{});
        if (!command.ends_batch && &command != &commands.back()) continue;
        RC_ASSERT(comparable(twin) == freshly_made(planner.plan(), variant, settings));
        expect_agreement(twin, planner.plan());
    }
    // Another process takes over: nothing changed, nothing is written.
    OnTwin successor(twin, settings);
    twin.forget_texts();
    const auto taken = successor.reconcile(planner.plan());
    RC_ASSERT(taken.has_value());
    RC_ASSERT(written(twin) == Lines{});
    RC_ASSERT(taken->transactions == 0U);
}

RC_GTEST_PROP(IptablesProperties, DeltasEndWhereAFreshStartWould, (std::uint32_t seed)) {
    run(few_commands(), seed, [](const Command&) { return 0U; });
}

RC_GTEST_PROP(IptablesProperties, ConvergesAfterEveryFailure, (std::uint32_t seed)) {
    run(few_commands(), seed, [](const Command& command) { return command.seed % 2; });
}

}  // namespace
}  // namespace ghostip::dataplane::iptables
