// The plan is the reference, packets are the truth: random worlds, random flows, and both must agree. What the kernel
// holds is asked for some of the flows as `ghostip explain --live` does, and must agree as well.
//
//     plan_against_packets [--mode nftables] [--flows N] [--seconds N] [--seed N] [--world N] [--forget-on-replace 1]
//
// Each world is programmed inside this process into the node of a test network, then changed some times, by deltas and
// by full replacement, once in a while with a new dataplane that finds the rules of the last one. After each change
// flows are tried. Ends after that many flows or seconds, whichever comes first. A disagreement prints the seed, the
// world, and the smallest case that still shows it. GHOSTIP_FLOWS overrides --flows and lifts the limit of time;
// GHOSTIP_SEED overrides --seed.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "packets/judge.h"
#include "packets/left_rules.h"
#include "packets/node_under_test.h"
#include "packets/shrink.h"
#include "packets/world.h"
#include "support/conntrack.h"

namespace ghostip::packets {
namespace {

using testnet::Probe;
using testnet::ProbeEngine;
using testnet::Topology;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kFlowsPerStep = 60;
constexpr std::size_t kSteps = 5;
constexpr std::size_t kStickyFlows = 12;  // flows of a step that are repeated one by one
constexpr std::size_t kSightEvery = 20;   // of the flows of a step; in some modes it takes as long as all packets do

struct Options {
    std::string mode = "nftables";
    std::size_t flows = 3000;
    std::size_t seconds = 90;
    std::uint64_t seed = 1;
    std::optional<std::uint64_t> world;
    bool forget_on_replace = false;  // a replacement may lose who sticks to whom
};

struct Tally {
    std::size_t flows = 0;
    std::size_t worlds = 0;
    std::size_t replaced = 0;
    std::size_t deltas = 0;
    std::size_t restarts = 0;
    std::size_t sightings = 0;
    std::map<std::string, std::size_t> verdicts;
};

class Comparison {
  public:
    Comparison(const Options& options, const Topology& topology, ProbeEngine& engine)
        : options_(options),
          topology_(topology),
          engine_(engine),
          deadline_(Clock::now() + std::chrono::seconds(options.seconds)),
          stickiness_(memory_of(options.mode)) {}

    // Runs worlds until the limits are reached or one disagrees; true if none did.
    Result<bool> run() {
        for (std::uint64_t number = options_.world.value_or(0);; ++number) {
            ASSIGN_OR_RETURN(const bool agreed, run_world(number));
            if (!agreed) return false;
            ++tally_.worlds;
            if (options_.world || enough()) return true;
        }
    }
    [[nodiscard]] const Tally& tally() const { return tally_; }

  private:
    [[nodiscard]] bool enough() const { return tally_.flows >= options_.flows || Clock::now() >= deadline_; }

    Result<bool> run_world(std::uint64_t number) {
        WorldMaker maker(options_.seed * 1'000'003 + number);
        const auto family = number % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6;
        const World first = maker.world(family);
        history_ = {first, {}, {}};
        stickiness_.clear();
        World now = first;
        // What the last world left is still there: the first replacement finds it.
        auto opened = NodeUnderTest::open(topology_, options_.mode, family, now.settings);
        if (!opened) return opened.error();
        auto& node = **opened;
        std::vector<api::Change> changes;
        for (const auto& [key, object] : now.objects) changes.push_back({key, object});
        auto by = NodeUnderTest::By::kReconcile;
        bool restarted = false;
        for (std::size_t step = 0;; ++step) {
            if (step > 0) history_.steps.push_back({changes, by, restarted});
            if (const auto done = node.change(changes, by); !done)
                return report(number, "not programmed: " + done.error().message);
            ++(by == NodeUnderTest::By::kReconcile ? tally_.replaced : tally_.deltas);
            RETURN_IF_ERROR(testnet::flush_conntrack(topology_.node()));
            stickiness_.forget_unless_kept(node.explainer(), node.plan());
            if (options_.forget_on_replace && by == NodeUnderTest::By::kReconcile) stickiness_.clear();
            ASSIGN_OR_RETURN(const bool agreed, try_flows(number, maker, now, node));
            if (!agreed) return false;
            if (step == kSteps || enough()) return true;
            changes = maker.changes(now);
            update(now.objects, changes);
            by = step % 4 == 3 ? NodeUnderTest::By::kReconcile : NodeUnderTest::By::kDelta;
            restarted = by == NodeUnderTest::By::kReconcile && number % 3 == 0;
            if (restarted) {
                RETURN_IF_ERROR(node.restart());
                ++tally_.restarts;
            }
        }
    }

    Result<bool> try_flows(std::uint64_t number, WorldMaker& maker, const World& now, const NodeUnderTest& node) {
        const auto probes = maker.probes(now, node.plan(), topology_.node_addresses(), kFlowsPerStep);
        // Those that stick are looked at one by one, twice: who sticks decides at the first packet.
        std::vector<Probe> together;
        std::vector<Probe> in_turn;
        for (const auto& probe : probes) {
            const auto journey = node.explain(probe);
            ++tally_.verdicts[std::string(plan::verdict_name(journey.verdict))];
            const bool sticky =
                journey.verdict == plan::Verdict::kBalanced && journey.service_port->affinity_seconds != 0;
            if (sticky && in_turn.size() < 2 * kStickyFlows)
                in_turn.insert(in_turn.end(), 2, probe);
            else
                together.push_back(probe);
        }
        ASSIGN_OR_RETURN(auto outcomes, engine_.run(together));
        ASSIGN_OR_RETURN(const auto rest, engine_.run_in_turn(in_turn));
        const std::size_t first_in_turn = outcomes.size();
        outcomes.insert(outcomes.end(), rest.begin(), rest.end());
        together.insert(together.end(), in_turn.begin(), in_turn.end());
        for (std::size_t i = 0; i < together.size(); ++i) {
            ++tally_.flows;
            const auto journey = node.explain(together[i]);
            auto wrong = disagreement(topology_, together[i], journey, outcomes[i]);
            if (wrong.empty())
                wrong = stickiness_.note(together[i], journey, outcomes[i],
                                         i < first_in_turn ? Stickiness::When::kTogether : Stickiness::When::kInTurn);
            if (wrong.empty() && i % kSightEvery == 0) {
                if (const auto unlike = unlike_the_kernel(node, journey); !unlike.empty())
                    return tell(number, fmt::format("{}\n    plan:    {}\n    kernel:  {}", together[i].text(),
                                                    text_of(journey), unlike));
            }
            if (wrong.empty()) continue;
            history_.probe = together[i];
            return report(number, fmt::format("{}\n    plan:    {}\n    packets: {} -- {}", together[i].text(),
                                              text_of(journey), outcomes[i].text(), wrong));
        }
        return true;
    }

    // What `ghostip explain --live` would say against the plan; empty if nothing.
    std::string unlike_the_kernel(const NodeUnderTest& node, const plan::Journey& journey) {
        const auto seen = node.sight(journey);
        if (!seen) return seen.error().message;
        ++tally_.sightings;
        std::string text;
        for (const auto& difference : seen->differences) text += difference + "; ";
        return text;
    }

    // Always false.
    bool tell(std::uint64_t number, const std::string& complaint) const {
        fmt::print("DISAGREEMENT --seed {} --world {}, after {} changes\n  {}\n", options_.seed, number,
                   history_.steps.size(), complaint);
        std::fflush(stdout);
        return false;
    }

    // Always false: there is a disagreement.
    bool report(std::uint64_t number, const std::string& complaint) {
        static_cast<void>(tell(number, complaint));
        const Replayer replayer(topology_, engine_, options_.mode);
        if (replayer.complaint(history_).empty()) {
            fmt::print("  does not show again when its history is replayed; the whole history:\n{}", history_.text());
            return false;
        }
        const History small = replayer.shrink(history_, std::chrono::seconds(40));
        fmt::print("smallest case found:\n{}  {}\n", small.text(), replayer.complaint(small));
        return false;
    }

    const Options& options_;
    const Topology& topology_;
    ProbeEngine& engine_;
    const Clock::time_point deadline_;
    Tally tally_;
    History history_;
    Stickiness stickiness_;
};

Result<bool> run(const Options& options) {
    ASSIGN_OR_RETURN(const auto topology, Topology::create());
    ASSIGN_OR_RETURN(const auto engine, ProbeEngine::create(*topology));
    RETURN_IF_ERROR(engine->listen(world_ports()));
    Comparison comparison(options, *topology, *engine);
    const auto start = Clock::now();
    ASSIGN_OR_RETURN(const bool agreed, comparison.run());
    RETURN_IF_ERROR(NodeUnderTest::clean_up(*topology, options.mode));
    ASSIGN_OR_RETURN(const auto left, left_rules(topology->node()));
    if (!left.empty()) return fail("cleanup left rules behind:\n{}", left);
    const auto& tally = comparison.tally();
    fmt::print("{} flows in {} worlds (", tally.flows, tally.worlds);
    for (const auto& [verdict, count] : tally.verdicts) fmt::print("{} {}, ", count, verdict);
    fmt::print("{} replaced, {} deltas, {} restarts, {} asked of the kernel) in {:.1f} s, seed {}\n", tally.replaced,
               tally.deltas, tally.restarts, tally.sightings,
               std::chrono::duration<double>(Clock::now() - start).count(), options.seed);
    return agreed;
}

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view flag = argv[i];
        const auto number = std::strtoull(argv[i + 1], nullptr, 10);
        if (flag == "--mode")
            options.mode = argv[i + 1];
        else if (flag == "--flows")
            options.flows = number;
        else if (flag == "--seconds")
            options.seconds = number;
        else if (flag == "--seed")
            options.seed = number;
        else if (flag == "--forget-on-replace")
            options.forget_on_replace = number != 0;
        else if (flag == "--world")
            options.world = number;
        else
            return false;
    }
    if (const char* scale = std::getenv("GHOSTIP_LONG_SCALE")) {
        const double factor = std::strtod(scale, nullptr);
        options.flows = static_cast<std::size_t>(factor * static_cast<double>(options.flows));
        options.seconds = static_cast<std::size_t>(factor * static_cast<double>(options.seconds));
    }
    if (const char* seed = std::getenv("GHOSTIP_SEED")) options.seed = std::strtoull(seed, nullptr, 10);
    if (options.seed == 0)
        options.seed =
            static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000'000;
    if (const char* flows = std::getenv("GHOSTIP_FLOWS")) {
        options.flows = std::strtoull(flows, nullptr, 10);
        options.seconds = 7 * 24 * 3600;
    }
    return argc % 2 == 1;
}

}  // namespace
}  // namespace ghostip::packets

int main(int argc, char** argv) {
    ghostip::packets::Options options;
    if (!ghostip::packets::parse(argc, argv, options)) {
        fmt::print(stderr, "plan_against_packets [--mode nftables] [--flows N] [--seconds N] [--seed N] [--world N]\n");
        return 2;
    }
    const auto agreed = ghostip::packets::run(options);
    if (!agreed) {
        fmt::print(stderr, "{}\n", agreed.error().message);
        return 2;
    }
    return *agreed ? 0 : 1;
}
