// A node that is planned and programmed inside this process: objects go in, rules stand in the node's namespace, and
// the plan can be asked about any flow.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/objects.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/explain.h"
#include "plan/planner.h"
#include "support/probe.h"
#include "support/topology.h"

namespace ghostip::packets {

class NodeUnderTest {
  public:
    // `mode` as mode_text.h reads it.
    [[nodiscard]] static Result<std::unique_ptr<NodeUnderTest>> open(const testnet::Topology& topology,
                                                                     const std::string& mode, net::Family family,
                                                                     plan::NodeSettings settings,
                                                                     dataplane::Options options = {});

    // How a change reaches the kernel.
    enum class By { kReconcile, kDelta };
    [[nodiscard]] Result<void> change(const std::vector<api::Change>& changes, By by);
    // As a restart would: a new dataplane finds what the last one left.
    [[nodiscard]] Result<void> restart();

    [[nodiscard]] const plan::Plan& plan() const { return plan_; }
    [[nodiscard]] plan::Journey explain(const testnet::Probe& probe) const;
    // What the kernel holds for it, compared with the plan: `ghostip explain --live`.
    [[nodiscard]] Result<dataplane::Sighting> sight(const plan::Journey& journey) const;
    [[nodiscard]] const plan::Explainer& explainer() const { return *explainer_; }

    // Removes all rules of the mode from the node.
    [[nodiscard]] static Result<void> clean_up(const testnet::Topology& topology, const std::string& mode);

  private:
    NodeUnderTest(const testnet::Topology& topology, const dataplane::Mode& mode, net::Family family,
                  plan::NodeSettings settings, const dataplane::Options& options);

    const testnet::Topology& topology_;
    const dataplane::Mode& mode_;
    const net::Family family_;
    const dataplane::Options options_;
    plan::Planner planner_;
    std::unique_ptr<dataplane::Dataplane> dataplane_;
    plan::Plan plan_;
    std::unique_ptr<plan::Explainer> explainer_;
};

// As the explainer wants to be asked.
[[nodiscard]] plan::Flow flow_of(const testnet::Probe& probe);

[[nodiscard]] api::Change put(api::Object object);
[[nodiscard]] api::Change remove(const api::Object& object);

}  // namespace ghostip::packets
