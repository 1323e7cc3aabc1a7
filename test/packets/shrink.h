// A disagreement made small: the history of a node, cut down while the plan and the packets still disagree.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "packets/judge.h"
#include "packets/node_under_test.h"
#include "packets/world.h"
#include "support/probe.h"

namespace ghostip::packets {

struct HistoryStep {
    std::vector<api::Change> changes;
    NodeUnderTest::By by = NodeUnderTest::By::kDelta;
    bool restarted = false;  // a new dataplane, before the changes
};

// What was done to the node, and the flow that then met something else than the plan says.
struct History {
    World world;  // as it was programmed first, in one piece
    std::vector<HistoryStep> steps;
    testnet::Probe probe;

    // Settings, manifests and changes, to be tried by hand.
    [[nodiscard]] std::string text() const;
};

class Replayer {
  public:
    Replayer(const testnet::Topology& topology, testnet::ProbeEngine& engine, std::string mode)
        : topology_(topology), engine_(engine), mode_(std::move(mode)) {}

    // What is wrong at some point of the history, or nothing. The probe is run several times at each: chance may hide
    // it.
    [[nodiscard]] std::string complaint(const History& history) const;
    // The smallest history found in the time given that still has a complaint. `history` must have one.
    [[nodiscard]] History shrink(History history, std::chrono::seconds limit) const;

  private:
    [[nodiscard]] std::string try_probe(const NodeUnderTest& node, const testnet::Probe& probe,
                                        Stickiness& stickiness) const;

    const testnet::Topology& topology_;
    testnet::ProbeEngine& engine_;
    const std::string mode_;
};

}  // namespace ghostip::packets
