// The agent's plan against a model of a cluster in which everything goes wrong: thousands of random steps. A model API
// server, the real source with all of its reflectors, the queue, and a planner for each family and mode profile.
//
// After each quiet moment the plan that was kept up to date equals the one that is computed at once from the server's
// objects, and so does what the deltas make, one after another. In between, no object that was never deleted is missed,
// and the Services that are always there never stop serving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kubernetes/model_cluster.h"
#include "kubernetes/protobuf_wire.h"
#include "kubernetes/stepped_source.h"
#include "plan/planner.h"

namespace ghostip::testkubernetes {
namespace {

using namespace std::chrono_literals;
using net::Family;
using source::kubernetes::KubernetesSourceOptions;
using source::kubernetes::testing::Dice;
using source::kubernetes::testing::JsonWire;
using source::kubernetes::testing::ModelServer;

// Modes differ by these fields alone: those that there are, and something between.
const std::vector<const plan::ModeProfile*>& profiles() {
    static constexpr plan::ModeProfile kMixed{.name = "half and half",
                                              .node_ports_on_primary_only = true,
                                              .loopback_node_ports = true,
                                              .refuses_on_every_local_address = true,
                                              .refuses_after_translation = true,
                                              .refuses_own_traffic = true,
                                              .rejects_unknown_cluster_ip_ports = false,
                                              .drops_unallocated_cluster_ips = true,
                                              .filters_sources_without_endpoints = false,
                                              .hairpin_local_endpoints_only = true};
    static const std::vector<const plan::ModeProfile*> all{&plan::nftables_profile(), &plan::iptables_profile(),
                                                           &kMixed};
    return all;
}

// What differs, for who reads the failure.
std::string difference(const plan::Plan& ours, const plan::Plan& theirs) {
    std::string text;
    const auto keys = [&](std::string_view what, const auto& a, const auto& b, const auto& name, const auto& same) {
        for (const auto& [key, value] : a)
            if (const auto found = b.find(key); found == b.end())
                text += fmt::format("\n  {} {}: not in the server's", what, name(key));
            else if (!same(value, found->second))
                text += fmt::format("\n  {} {}: otherwise", what, name(key));
        for (const auto& [key, value] : b)
            if (!a.contains(key)) text += fmt::format("\n  {} {}: missing", what, name(key));
    };
    const auto text_of = [](const auto& key) { return key.text(); };
    const auto any = [](const auto&, const auto&) { return true; };
    if (!(ours.node == theirs.node)) text += "\n  the rules of the node";
    keys("service port", ours.service_ports, theirs.service_ports, text_of,
         [](const auto& a, const auto& b) { return *a == *b; });
    keys("cluster IP", ours.cluster_ips, theirs.cluster_ips, text_of, any);
    keys(
        "hairpin", ours.hairpins, theirs.hairpins,
        [](const auto& key) { return net::host_port(key.address, key.port); }, any);
    keys("health check", ours.health_checks, theirs.health_checks, text_of,
         [](const auto& a, const auto& b) { return a == b; });
    return text;
}

// One planner, and what its deltas make of an empty plan.
class Follower {
  public:
    Follower(Family family, const plan::ModeProfile& profile, const ModelCluster& cluster)
        : family_(family), profile_(profile), planner_(make(cluster)), folded_{family, {}, {}, {}, {}, {}} {}

    void apply(const std::vector<api::Change>& changes) { folded_.apply(planner_->apply(changes)); }
    void set_host(const plan::HostFacts& host) { folded_.apply(planner_->set_host(host)); }

    void expect_is(const std::vector<api::Change>& all, const ModelCluster& cluster) const {
        const auto fresh = make(cluster);
        static_cast<void>(fresh->apply(all));
        const auto theirs = fresh->plan();
        const auto ours = planner_->plan();
        EXPECT_TRUE(ours == theirs) << text() << difference(ours, theirs);
        EXPECT_TRUE(folded_ == theirs) << text() << ", from its deltas" << difference(folded_, theirs);
    }
    // (A version that nobody can read may be the first that a client is shown.)
    void expect_immortals() {
        for (int i = 0; i < ModelCluster::kImmortals; ++i) {
            const auto found = folded_.service_ports.find(ModelCluster::immortal(i));
            const bool serves = found != folded_.service_ports.end() && !found->second->cluster.empty() &&
                                found->second->destinations.size() == 1;
            ASSERT_TRUE(serves || !served_.contains(i)) << text() << ": " << i << " does not serve any more";
            if (serves) served_.insert(i);
        }
    }
    [[nodiscard]] const plan::Plan& plan() const { return folded_; }

  private:
    [[nodiscard]] std::unique_ptr<plan::Planner> make(const ModelCluster& cluster) const {
        return std::make_unique<plan::Planner>(family_, cluster.settings(), profile_, cluster.host());
    }
    [[nodiscard]] std::string text() const { return fmt::format("{}, {}", net::family_name(family_), profile_.name); }

    const Family family_;
    const plan::ModeProfile& profile_;
    const std::unique_ptr<plan::Planner> planner_;
    plan::Plan folded_;
    std::set<int> served_;  // which immortals did
};

// What a run has seen, so that a test of nothing does not pass.
using Seen = std::map<std::string, std::uint64_t>;

class Walk {
  public:
    explicit Walk(std::uint64_t seed)
        : dice_(seed),
          source_(options(seed), [this] { return dice_.unit(); }),
          server_(source_.server(), dice_, json_, &protobuf_),
          cluster_(seed, server_, dice_) {
        server_.keep_copies();
        server_.streams = seed % 3 != 0;
        server_.speaks_protobuf = seed % 4 != 0;
        if (seed % 5 == 0) server_.unknown = {api::Kind::kServiceCidr};
        for (const auto family : {Family::kIpv4, Family::kIpv6})
            for (const auto* profile : profiles())
                followers_.push_back(std::make_unique<Follower>(family, *profile, cluster_));
    }

    void go(int steps) {
        source_.start();
        for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
            step();
            if (dice_.one_in(30)) check_when_quiet();
        }
        check_when_quiet();
        if (::testing::Test::HasFailure())
            ADD_FAILURE() << "the source said last:\n" << fmt::format("{}", fmt::join(source_.lines(), "\n"));
    }
    void add_to(Seen& seen) const {
        for (const auto& [what, count] : server_.happenings) seen[what] += static_cast<std::uint64_t>(count);
        const auto stats = source_.stats();
        for (const auto& one : {stats.nodes, stats.services, stats.endpoint_slices, stats.service_cidrs}) {
            seen["relists"] += one.relists;
            seen["watches that go on"] += one.watch_restarts;
            seen["stalls"] += one.stalls;
            seen["events"] += one.events;
            seen["undecodable objects"] += one.decode_failures;
            seen["held removals"] += one.held_removals;
        }
        for (const auto& [what, count] : seen_) seen[what] += count;
    }

  private:
    // In half of the runs nothing is ever held back, in the others nearly everything. Some only take protobuf until
    // they are refused it.
    static KubernetesSourceOptions options(std::uint64_t seed) {
        KubernetesSourceOptions options;
        options.node_name = plan::testing::node_settings().node_name;
        options.reflector.mass_removal.share = seed % 2 == 0 ? 0 : 0.01;
        options.reflector.mass_removal.more_than = 0;
        // So long that there is much else between the two answers.
        if (seed % 3 == 0) options.reflector.mass_removal.ask_again_after = 250s;
        if (seed % 7 < 3) options.reflector.accept = "application/vnd.kubernetes.protobuf";
        return options;
    }

    void step() {
        switch (dice_.below(17)) {
            case 0: server_.compact(); break;
            case 1: server_.drop_watches(); break;
            case 2:
                server_.finish_streams();
                server_.bookmarks();
                break;
            case 3: server_.close_some_watch(); break;
            case 4: source_.pass(std::chrono::milliseconds(dice_.below(400'000))); break;
            case 5:
                if (dice_.one_in(3)) server_.keep_copies();
                break;
            case 6:
                if (dice_.one_in(5)) restore();
                break;
            case 7:
                cluster_.change_host();
                for (auto& follower : followers_) follower->set_host(cluster_.host());
                break;
            case 8:
                if (dice_.one_in(4)) outage();
                break;
            default: cluster_.change_something(); break;
        }
        if (dice_.one_in(2)) source_.run();
        if (dice_.one_in(4)) source_.pass(std::chrono::milliseconds(dice_.below(5'000)));
        // An agent that is busy takes several changes together.
        if (dice_.one_in(3)) take();
    }

    // Takes a while, in which nobody listens; and the copy is not passed by before everybody is back. The server that
    // comes back may be another version, which speaks or knows other things.
    void restore() {
        ++seen_["restores"];
        server_.go_down();
        source_.pass(2min);
        if (dice_.one_in(2)) server_.speaks_protobuf = !server_.speaks_protobuf;
        if (dice_.one_in(2)) server_.streams = !server_.streams;
        server_.unknown.clear();
        server_.come_back_from_backup();
        server_.faults = false;
        source_.pass(2min);
        server_.faults = true;
    }

    // Perhaps longer than anything is held back.
    void outage() {
        ++seen_["outages"];
        server_.go_down();
        source_.pass(std::chrono::milliseconds(dice_.below(500'000)));
        server_.come_back();
    }

    // As the agent does: nothing before all is there, then whatever the queue holds.
    void take() {
        synced_ = synced_ || source_.queue().wait_synced(0ms);
        if (!synced_) return;
        const auto batch = source_.queue().take(0ms);
        for (const auto& change : batch.changes) {
            if (change.object)
                known_.insert(change.key);
            else if (known_.erase(change.key) > 0)
                ++removals_[change.key];
        }
        for (auto& follower : followers_) {
            follower->apply(batch.changes);
            follower->expect_immortals();
        }
        for (const auto& [key, count] : removals_)
            ASSERT_LE(count, server_.deletions(key)) << key.text() << " was taken away more often than it was deleted";
    }

    // No faults, nothing changes, and time enough for pauses, dead watches and doubts.
    void check_when_quiet() {
        server_.faults = false;
        server_.repair_objects();
        server_.finish_streams();
        for (int minute = 0; minute < 20; ++minute) {
            source_.pass(1min);
            server_.bookmarks();
            source_.run();
        }
        take();
        ASSERT_TRUE(synced_);
        std::vector<api::Change> all;
        for (const auto& object : server_.objects()) all.push_back({api::key_of(object), object});
        std::shuffle(all.begin(), all.end(), order_);
        for (const auto& follower : followers_) {
            follower->expect_is(all, cluster_);
            look_at(follower->plan());
        }
        const auto stats = source_.stats();
        EXPECT_EQ(
            stats.nodes.objects + stats.services.objects + stats.endpoint_slices.objects + stats.service_cidrs.objects,
            all.size());
        for (const auto& one : {stats.nodes, stats.services, stats.endpoint_slices}) {
            EXPECT_FALSE(one.holding);
            EXPECT_LT(one.watch_age_seconds.value_or(1000), 90);
        }
        server_.faults = true;
    }
    void look_at(const plan::Plan& plan) {
        ++seen_["plans compared"];
        seen_["hairpins"] += plan.hairpins.size();
        seen_["health checks"] += plan.health_checks.size();
        seen_["dropped ranges"] += plan.node.service_cidrs.size();
        seen_["ranges that are not dropped"] += plan.node.undropped.size();
        for (const auto& [name, port] : plan.service_ports) {
            seen_["destinations"] += port->destinations.size();
            seen_["local pools"] += port->local.empty() ? 0 : 1;
            seen_["sticky pools"] += port->affinity_seconds != 0 && !port->cluster.empty() ? 1 : 0;
        }
    }

    Dice dice_;
    std::mt19937 order_{1};  // of objects that are handed over at once
    const JsonWire json_;
    const ProtobufWire protobuf_;
    SteppedSource source_;
    ModelServer server_;
    ModelCluster cluster_;
    std::vector<std::unique_ptr<Follower>> followers_;
    bool synced_ = false;
    std::set<api::ObjectKey> known_;
    std::map<api::ObjectKey, int> removals_;
    Seen seen_;
};

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::stoull(text);
}

// GHOSTIP_MODEL_SEED=n runs one seed alone; GHOSTIP_MODEL_SEEDS says how many else, GHOSTIP_LONG_SCALE times what.
TEST(PlanModel, IsThatOfTheServersObjectsWhateverHappens) {
    constexpr int kSteps = 300;
    constexpr std::uint64_t kSeeds = 30;
    const auto alone = number("GHOSTIP_MODEL_SEED", 0);
    const auto last = alone != 0
                          ? alone
                          : number("GHOSTIP_MODEL_SEEDS", kSeeds) *
                                (std::getenv("GHOSTIP_MODEL_SEEDS") != nullptr ? number("GHOSTIP_LONG_SCALE", 1) : 1);
    Seen seen;
    for (auto seed = alone != 0 ? alone : 1; seed <= last && !HasFailure(); ++seed) {
        SCOPED_TRACE(fmt::format("GHOSTIP_MODEL_SEED={}", seed));
        Walk walk(seed);
        walk.go(kSteps);
        walk.add_to(seen);
    }
    if (alone != 0 || HasFailure()) return;
    for (const auto* what : {"protobuf",
                             "JSON",
                             "list",
                             "streaming list",
                             "watch",
                             "broken off",
                             "410 Expired",
                             "410 in a watch",
                             "504 Timeout",
                             "406 NotAcceptable",
                             "422 Invalid",
                             "relists",
                             "watches that go on",
                             "stalls",
                             "events",
                             "undecodable objects",
                             "held removals",
                             "restores",
                             "plans compared",
                             "hairpins",
                             "health checks",
                             "dropped ranges",
                             "ranges that are not dropped",
                             "destinations",
                             "local pools",
                             "sticky pools"})
        EXPECT_GE(seen[what], 10U) << what << " hardly ever happened";
}

}  // namespace
}  // namespace ghostip::testkubernetes
