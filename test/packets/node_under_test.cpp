#include "packets/node_under_test.h"

#include <utility>

#include "agent/ipvs_settings.h"
#include "agent/modes.h"
#include "packets/mode_text.h"
#include "support/machine.h"

namespace ghostip::packets {

NodeUnderTest::NodeUnderTest(const testnet::Topology& topology, const dataplane::Mode& mode, net::Family family,
                             plan::NodeSettings settings, const dataplane::Options& options)
    : topology_(topology),
      mode_(mode),
      family_(family),
      options_(options),
      planner_(family, std::move(settings), mode.profile(), plan::HostFacts{topology.node_addresses()}) {}

Result<std::unique_ptr<NodeUnderTest>> NodeUnderTest::open(const testnet::Topology& topology, const std::string& mode,
                                                           net::Family family, plan::NodeSettings settings,
                                                           dataplane::Options options) {
    const ModeText text(mode);
    const auto* found = agent::find_mode(text.mode);
    if (found == nullptr) return fail("no mode {}", mode);
    if (!text.variant.empty()) options.variant = text.variant;
    auto node =
        std::unique_ptr<NodeUnderTest>(new NodeUnderTest(topology, *found, family, std::move(settings), options));
    RETURN_IF_ERROR(node->restart());
    return node;
}

Result<void> NodeUnderTest::restart() {
    const auto inside = topology_.node().enter();
    if (mode_.profile().schedules) RETURN_IF_ERROR(agent::apply_ipvs_settings(options_.ipvs));
    dataplane_.reset();
    ASSIGN_OR_RETURN(dataplane_, mode_.open(family_, options_));
    return {};
}

Result<void> NodeUnderTest::change(const std::vector<api::Change>& changes, By by) {
    const plan::Delta delta = planner_.apply(changes);
    plan_ = planner_.plan();
    explainer_ = std::make_unique<plan::Explainer>(plan_, mode_.profile());
    const auto inside = topology_.node().enter();
    ASSIGN_OR_RETURN(const auto outcome,
                     by == By::kReconcile ? dataplane_->reconcile(plan_) : dataplane_->apply(delta));
    if (!outcome.set_aside.empty())
        return fail("refused: {}: {}", outcome.set_aside.front().object, outcome.set_aside.front().reason);
    for (const auto& work : outcome.later) RETURN_IF_ERROR(work());
    if (!mode_.profile().service_device.empty()) RETURN_IF_ERROR(testnet::await_service_addresses(topology_.node()));
    return {};
}

plan::Journey NodeUnderTest::explain(const testnet::Probe& probe) const { return explainer_->explain(flow_of(probe)); }

Result<dataplane::Sighting> NodeUnderTest::sight(const plan::Journey& journey) const {
    const auto inside = topology_.node().enter();
    return mode_.sight(plan_, journey, options_);
}

Result<void> NodeUnderTest::clean_up(const testnet::Topology& topology, const std::string& mode) {
    const auto* found = agent::find_mode(ModeText(mode).mode);
    if (found == nullptr) return fail("no mode {}", mode);
    const auto inside = topology.node().enter();
    std::vector<std::string> kept;
    return found->cleanup(kept);
}

plan::Flow flow_of(const testnet::Probe& probe) {
    plan::Flow flow{probe.source, probe.destination, probe.protocol, probe.port, {}};
    if (probe.from != testnet::Place::kNode) flow.interface = testnet::place_name(probe.from);
    return flow;
}

api::Change put(api::Object object) {
    auto key = api::key_of(object);
    return {std::move(key), std::move(object)};
}

api::Change remove(const api::Object& object) { return {api::key_of(object), std::nullopt}; }

}  // namespace ghostip::packets
