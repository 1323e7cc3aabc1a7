// The real kube-proxy's rules, as recorded, against our plan: what a packet meets in them is what the plan of the same
// objects and flags says. So whoever puts the plan into the kernel rightly does what kube-proxy does. From every kind
// of source to every destination, with real packets, in the network of test/support/topology.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernel/iptables/linux.h"
#include "kernel/nfacct/linux.h"
#include "packets/judge.h"
#include "packets/node_under_test.h"
#include "plan/explain.h"
#include "recorded/plan_of_recording.h"
#include "recorded/recordings.h"
#include "support/probe.h"
#include "support/topology.h"
#include "support/twin.h"

namespace ghostip::recorded {
namespace {

using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;
using net::Family;
using testnet::Place;
using testnet::Probe;

constexpr std::size_t kProbesAtOnce = 400;
// Each is tried so often, with other ports: where an endpoint is chosen, all of them shall be seen now and then.
constexpr int kRounds = 3;

struct Source {
    Place from;
    std::string ipv4;
};
// Pods here and there, clients inside and outside of all source ranges, the node by three of its addresses.
const std::vector<Source> kSources{
    {Place::kPods, "10.0.0.2"},         {Place::kRemote, "10.181.7.7"},    {Place::kOutside, "203.0.113.10"},
    {Place::kOutside, "203.0.113.200"}, {Place::kOutside, "198.51.100.7"}, {Place::kOutside, "198.51.100.8"},
    {Place::kNode, "192.168.0.2"},      {Place::kNode, "192.168.99.11"},
};

struct Case {
    std::string recording;
    std::string mode;  // "iptables-legacy", "nftables"
    Family family;
};

class AgainstPlan : public ::testing::TestWithParam<Case> {
  protected:
    Result<void> set_up() {
        const auto& recording = recorded::recording(GetParam().recording);
        ASSIGN_OR_RETURN(topology_, testnet::Topology::create());
        ASSIGN_OR_RETURN(engine_, testnet::ProbeEngine::create(*topology_));
        // As kube-proxy sets it for node ports on loopback.
        RETURN_IF_ERROR(topology_->node().sysctl("net/ipv4/conf/all/route_localnet", "1"));
        RETURN_IF_ERROR(load_rules(recording));
        const bool nftables = GetParam().mode == "nftables";
        const auto& profile = nftables ? plan::nftables_profile() : plan::iptables_profile();
        ASSIGN_OR_RETURN(plan_, plan_of(recording, nftables ? "nftables" : "iptables", GetParam().family,
                                        plan::HostFacts{topology_->node_addresses()}));
        explainer_ = std::make_unique<plan::Explainer>(plan_, profile);
        return {};
    }
    Result<void> load_rules(const Recording& recording) {
        if (GetParam().mode == "nftables") return load_nftables(recording, topology_->node());
        const auto inside = topology_->node().enter();
        const auto variant = GetParam().mode == "iptables-legacy" ? Variant::kLegacy : Variant::kNft;
        ASSIGN_OR_RETURN(const auto iptables, LinuxIptables::open(variant, GetParam().family));
        ASSIGN_OR_RETURN(const auto counters, kernel::nfacct::LinuxNfacct::open());
        return load(recording, *iptables, *counters);
    }

    [[nodiscard]] net::IpAddress address(std::string_view ipv4) const {
        return testnet::in_family(GetParam().family, ipv4);
    }

    // Where connections are tried to: all that the plan knows, and a bit beside it.
    [[nodiscard]] std::set<plan::DestinationKey> destinations() const {
        std::set<plan::DestinationKey> all;
        const auto add = [&](const net::IpAddress& to, net::Protocol protocol, std::uint16_t port) {
            all.insert({false, to, protocol, port});
        };
        for (const auto& [name, service_port] : plan_.service_ports) {
            for (const auto& destination : service_port->destinations) {
                const auto& key = destination.key;
                if (!key.node_port) {
                    add(key.address, key.protocol, key.port);
                    continue;
                }
                for (const auto& own : topology_->node_addresses())
                    if (own.family() == GetParam().family) add(own, key.protocol, key.port);
            }
        }
        add(address("172.30.0.2"), net::Protocol::kTcp, 81);    // a cluster IP, a port of nobody
        add(address("172.30.0.200"), net::Protocol::kTcp, 80);  // nobody's cluster IP
        add(address("192.0.2.99"), net::Protocol::kTcp, 80);    // nobody's address
        add(address("192.168.0.2"), net::Protocol::kTcp, 30114);
        return all;
    }
    // And an endpoint of the Service itself, so that it meets itself.
    [[nodiscard]] std::vector<Probe> probes() const {
        std::vector<Probe> probes;
        for (const auto& to : destinations()) {
            // What is not the loopback's own has no way there, whatever rules say.
            if (to.address.is_loopback()) {
                probes.push_back({Place::kNode, to.address, to.address, to.protocol, to.port});
                continue;
            }
            for (const auto& source : kSources)
                probes.push_back({source.from, address(source.ipv4), to.address, to.protocol, to.port});
        }
        for (const auto& [name, service_port] : plan_.service_ports)
            for (const auto& endpoint : service_port->cluster)
                for (const auto& destination : service_port->destinations)
                    if (endpoint.local && !destination.key.node_port &&
                        topology_->place_of(endpoint.address) == Place::kPods)
                        probes.push_back({Place::kPods, endpoint.address, destination.key.address,
                                          destination.key.protocol, destination.key.port});
        return probes;
    }
    [[nodiscard]] static std::set<std::uint16_t> ports(const plan::Plan& plan, const std::vector<Probe>& probes) {
        std::set<std::uint16_t> ports;
        for (const auto& probe : probes) ports.insert(probe.port);
        for (const auto& [name, service_port] : plan.service_ports)
            for (const auto* pool : {&service_port->cluster, &service_port->local})
                for (const auto& endpoint : *pool) ports.insert(endpoint.port);
        return ports;
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    plan::Plan plan_;
    std::unique_ptr<plan::Explainer> explainer_;
};

TEST_P(AgainstPlan, EveryPacketMeetsWhatThePlanSays) {
    const auto ready = set_up();
    ASSERT_TRUE(ready) << ready.error().message;
    const auto all = probes();
    ASSERT_GT(all.size(), 100U);
    const auto listening = engine_->listen(ports(plan_, all));
    ASSERT_TRUE(listening) << listening.error().message;
    std::map<plan::Verdict, int> verdicts;
    std::map<std::string, int> complaints;
    for (int round = 0; round < kRounds; ++round) {
        for (std::size_t begin = 0; begin < all.size(); begin += kProbesAtOnce) {
            const auto end = std::min(begin + kProbesAtOnce, all.size());
            const std::vector<Probe> some(all.begin() + static_cast<std::ptrdiff_t>(begin),
                                          all.begin() + static_cast<std::ptrdiff_t>(end));
            const auto outcomes = engine_->run(some);
            ASSERT_TRUE(outcomes) << outcomes.error().message;
            for (std::size_t i = 0; i < some.size(); ++i) {
                const auto journey = explainer_->explain(packets::flow_of(some[i]));
                ++verdicts[journey.verdict];
                const auto wrong = packets::disagreement(*topology_, some[i], journey, (*outcomes)[i]);
                if (wrong.empty()) continue;
                ++complaints[some[i].text() + "\n    plan: " + packets::text_of(journey) +
                             "\n    kube-proxy: " + (*outcomes)[i].text() + " -- " + wrong];
            }
        }
    }
    for (const auto& [text, times] : complaints) ADD_FAILURE() << text << " (" << times << " times)";
    EXPECT_GT(verdicts[plan::Verdict::kBalanced], 100);
    EXPECT_GT(verdicts[plan::Verdict::kRejected], 0);
    EXPECT_GT(verdicts[plan::Verdict::kNotOurs], 0);
}

std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const auto& recording : recordings()) {
        for (const auto family : recording.families)
            for (const auto* mode : {"iptables-nft", "iptables-legacy"})
                cases.push_back({recording.name, mode, family});
        if (!recording.nftables) continue;
        for (const auto family : net::kFamilies) cases.push_back({recording.name, "nftables", family});
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Recordings, AgainstPlan, ::testing::ValuesIn(cases()), [](const auto& case_info) {
    const auto& one = case_info.param;
    std::string name = one.recording + "_" + one.mode + (one.family == Family::kIpv4 ? "_ipv4" : "_ipv6");
    for (auto& character : name)
        if (character == '-') character = '_';
    return name;
});

}  // namespace
}  // namespace ghostip::recorded
