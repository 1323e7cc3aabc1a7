// ipvs mode on a node that kube-proxy left in its ipvs mode: virtual servers, sets and the device stay as they are, and
// destinations change only where the two modes are meant to differ. Runs in user-mode Linux (test/uml).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "dataplane/ipvs/dataplane.h"
#include "kernel/route/addresses.h"
#include "recorded/ipvs_recording.h"
#include "recorded/plan_of_recording.h"

namespace ghostip::recorded {
namespace {

using kernel::ipvs::Command;
using kernel::ipvs::Verb;
using net::Family;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Lines = std::vector<std::string>;

// The kernel's IPVS, and what was asked of it.
class WatchedIpvs final : public kernel::ipvs::Ipvs {
  public:
    WatchedIpvs(std::unique_ptr<Ipvs> real, std::vector<Command>& written)
        : real_(std::move(real)), written_(written) {}
    Result<kernel::ipvs::Info> info() override { return real_->info(); }
    Result<std::vector<kernel::ipvs::Service>> services() override { return real_->services(); }
    Result<bool> contains(const kernel::ipvs::ServiceKey& key) override { return real_->contains(key); }
    Result<std::vector<kernel::ipvs::Destination>> destinations(const kernel::ipvs::ServiceKey& key) override {
        return real_->destinations(key);
    }
    Result<std::vector<kernel::ipvs::Refusal>> apply(std::span<const Command> commands) override {
        written_.insert(written_.end(), commands.begin(), commands.end());
        return real_->apply(commands);
    }
    Result<kernel::ipvs::Timeouts> timeouts() override { return real_->timeouts(); }
    Result<void> set_timeouts(const kernel::ipvs::Timeouts& timeouts) override { return real_->set_timeouts(timeouts); }

  private:
    std::unique_ptr<Ipvs> real_;
    std::vector<Command>& written_;
};

struct Case {
    std::string recording;
    Family family;
};

Lines missing_from(const Lines& some, const Lines& others) {
    Lines missing;
    std::set_difference(some.begin(), some.end(), others.begin(), others.end(), std::back_inserter(missing));
    return missing;
}

class IpvsAdoption : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(auto node, testnet::Namespace::create());
        node_ = std::make_unique<testnet::Namespace>(std::move(node));
        RETURN_IF_ERROR(add_node_addresses(*node_));
        inside_ = std::make_unique<testnet::Namespace::Entered>(node_->fd());
        ASSIGN_OR_RETURN(auto addresses, kernel::route::interface_addresses());
        ASSIGN_OR_RETURN(plan_, plan_of(recording(GetParam().recording), "ipvs", GetParam().family,
                                        plan::HostFacts{.addresses = std::move(addresses)}));
        return load_ipvs(GetParam().recording, *node_);
    }
    // By a dataplane that was just opened, as at a start.
    Result<dataplane::Outcome> start() {
        written_.clear();
        dataplane::ipvs::IpvsDataplane::Host host;
        ASSIGN_OR_RETURN(host.kernel,
                         dataplane::ipvs::open_kernel(GetParam().family, kernel::iptables::Variant::kLegacy));
        host.kernel.ipvs = std::make_unique<WatchedIpvs>(std::move(host.kernel.ipvs), written_);
        dataplane::ipvs::IpvsDataplane opened(std::move(host), {});
        return opened.reconcile(plan_);
    }
    // The device with its addresses, of both families, and the number that it was made with.
    [[nodiscard]] Lines device() const {
        Lines lines;
        std::istringstream in(node_->must_run({"ip", "-o", "addr", "show", "dev", "kube-ipvs0"}).value());
        for (std::string line; std::getline(in, line);) lines.push_back(line);
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    // Of external policy Local without an endpoint here: kube-proxy sends clients elsewhere on to endpoints elsewhere,
    // from where no answer finds back.
    [[nodiscard]] bool meant_to_differ(const kernel::ipvs::ServiceKey& key) const {
        for (const auto& [name, port] : plan_.service_ports)
            for (const auto& destination : port->destinations) {
                const auto& at = destination.key;
                const bool here =
                    at.protocol == key.protocol && at.port == key.port && (at.node_port || at.address == key.address);
                const auto& outside = destination.treatment(plan::SourceClass::kOutside);
                if (here && outside.pool == plan::PoolScope::kLocal && port->local.empty()) return true;
            }
        return false;
    }

    // Does an endpoint of the plan stand in this line?
    [[nodiscard]] bool serves(const std::string& line) const {
        for (const auto& [name, port] : plan_.service_ports)
            for (const auto* pool : {&port->cluster, &port->local})
                for (const auto& endpoint : *pool)
                    if (line.ends_with("," + endpoint.address.text())) return true;
        return false;
    }

    std::unique_ptr<testnet::Namespace> node_;
    std::unique_ptr<testnet::Namespace::Entered> inside_;
    std::vector<Command> written_;
    plan::Plan plan_;
};

TEST_P(IpvsAdoption, WhatKubeProxyWroteStays) {
    const bool ipv4 = GetParam().family == Family::kIpv4;
    const std::string foreign = ipv4 ? "203.0.113.80:80" : "[2001:db8:203::80]:80";
    const std::string behind = ipv4 ? "198.51.100.1:8080" : "[2001:db8:198::1]:8080";
    ASSERT_TRUE(node_->must_run({"ipvsadm", "-A", "-t", foreign, "-s", "wlc"}));
    ASSERT_TRUE(node_->must_run({"ipvsadm", "-a", "-t", foreign, "-r", behind, "-m", "-w", "9"}));
    const auto servers = saved_servers(*node_).value();
    const auto sets = saved_sets(*node_).value();
    const auto addresses = device();
    ASSERT_THAT(servers, Contains(StartsWith("-A -t " + foreign)));

    const auto outcome = start();
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_THAT(outcome->set_aside, IsEmpty());
    for (const auto& command : written_) {
        EXPECT_TRUE(command.verb == Verb::kSetDestination || command.verb == Verb::kDeleteDestination) << text(command);
        EXPECT_TRUE(meant_to_differ(command.service.key)) << text(command);
    }
    const auto servers_after = saved_servers(*node_).value();
    EXPECT_THAT(missing_from(servers_after, servers), IsEmpty());
    const auto servers_gone = missing_from(servers, servers_after);
    EXPECT_THAT(servers_gone, Each(StartsWith("-a ")));
    EXPECT_EQ(servers_gone.empty(), written_.empty());

    // Their lines have the seeds of their hashes, so that one that was made anew would have another.
    const auto sets_after = saved_sets(*node_).value();
    const std::string prefix = ipv4 ? "KUBE-" : "KUBE-6-";
    // What stands in the one stands in the set of ranges here; in the other are endpoints that serve nobody.
    for (const auto& line : missing_from(sets, sets_after))
        EXPECT_TRUE(line.starts_with("add " + prefix + "LOAD-BALANCER-SOURCE-IP ") ||
                    (line.starts_with("add " + prefix + "LOOP-BACK ") && !serves(line)))
            << line;
    const std::string ours = ipv4 ? "GHOSTIP-" : "GHOSTIP-6-";
    EXPECT_THAT(missing_from(sets_after, sets), Each(AnyOf(StartsWith("create " + ours), StartsWith("add " + ours),
                                                           StartsWith("add " + prefix + "LOAD-BALANCER-SOURCE-CID"))));
    EXPECT_EQ(device(), addresses);

    const auto again = start();
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->transactions, 0U);
    EXPECT_THAT(written_, IsEmpty());
}

TEST_P(IpvsAdoption, KubeProxyTakesTheSetsForItsOwnAgain) {
    const auto outcome = start();
    ASSERT_TRUE(outcome) << outcome.error().message;
    const auto again = load_ipvs_again(GetParam().recording, *node_);
    EXPECT_TRUE(again) << again.error().message;
}

std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const auto& name : ipvs_recordings())
        for (const auto family : net::kFamilies) cases.push_back({name, family});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Recordings, IpvsAdoption, ::testing::ValuesIn(cases()), [](const auto& one) {
    return fmt::format("{}_{}", one.param.recording, net::family_name(one.param.family));
});

}  // namespace
}  // namespace ghostip::recorded
