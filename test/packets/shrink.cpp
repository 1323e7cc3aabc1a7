#include "packets/shrink.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "api/encode.h"
#include "packets/judge.h"
#include "support/conntrack.h"

namespace ghostip::packets {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRepeats = 6;  // and as many for each endpoint

std::vector<api::Change> all_of(const Objects& objects) {
    std::vector<api::Change> changes;
    for (const auto& [key, object] : objects) changes.push_back({key, object});
    return changes;
}

std::string text_of(const plan::NodeSettings& settings) {
    std::string text =
        fmt::format("--hostname-override {} --iptables-masquerade-bit {}", settings.node_name, settings.masquerade_bit);
    switch (settings.detect_local_mode) {
        case plan::DetectLocalMode::kClusterCidr: break;
        case plan::DetectLocalMode::kNodeCidr: text += " --detect-local-mode NodeCIDR"; break;
        case plan::DetectLocalMode::kBridgeInterface:
            text += " --detect-local-mode BridgeInterface --pod-bridge-interface " + settings.pod_interface;
            break;
        case plan::DetectLocalMode::kInterfaceNamePrefix:
            text += " --detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix " + settings.pod_interface;
            break;
    }
    std::string separator = " --cluster-cidr ";
    for (const auto& cidr : settings.cluster_cidrs) {
        text += separator + cidr.text();
        separator = ",";
    }
    separator = " --nodeport-addresses ";
    if (settings.node_ports_on_primary) text += separator + "primary";
    for (const auto& cidr : settings.node_port_ranges) {
        text += separator + cidr.text();
        separator = ",";
    }
    if (settings.masquerade_all) text += " --masquerade-all";
    return text;
}

// Everything that can be made simpler about one object, one step each.
std::vector<api::Object> simpler(const api::Object& object) {
    std::vector<api::Object> results;
    if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&object)) {
        const auto with = [&](const std::function<void(api::Service&)>& change) {
            auto copy = std::make_shared<api::Service>(**service);
            change(*copy);
            if (!(*copy == **service)) results.emplace_back(std::shared_ptr<const api::Service>(copy));
        };
        with([](auto& s) { s.affinity_seconds = 0; });
        with([](auto& s) { s.load_balancer_source_ranges.clear(); });
        with([](auto& s) { s.external_ips.clear(); });
        with([](auto& s) { s.load_balancer_vips.clear(); });
        with([](auto& s) { s.internal_traffic_policy = api::TrafficPolicy::kCluster; });
        with([](auto& s) { s.external_traffic_policy = api::TrafficPolicy::kCluster; });
        for (std::size_t i = 0; i < (*service)->ports.size(); ++i) {
            with([i](auto& s) { s.ports[i].node_port = 0; });
            if ((*service)->ports.size() > 1)
                with([i](auto& s) { s.ports.erase(s.ports.begin() + static_cast<std::ptrdiff_t>(i)); });
        }
        for (std::size_t i = 0; i < (*service)->load_balancer_source_ranges.size(); ++i)
            with([i](auto& s) {
                s.load_balancer_source_ranges.erase(s.load_balancer_source_ranges.begin() +
                                                    static_cast<std::ptrdiff_t>(i));
            });
    } else if (const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object)) {
        const auto with = [&](const std::function<void(api::EndpointSlice&)>& change) {
            auto copy = std::make_shared<api::EndpointSlice>(**slice);
            change(*copy);
            results.emplace_back(std::shared_ptr<const api::EndpointSlice>(copy));
        };
        const auto count = (*slice)->endpoints.size();
        if (count > 1) {
            with([count](auto& s) { s.endpoints.resize(count / 2); });
            with([count](auto& s) {
                s.endpoints.erase(s.endpoints.begin(), s.endpoints.begin() + static_cast<std::ptrdiff_t>(count / 2));
            });
        }
        if (count <= 8)
            for (std::size_t i = 0; i < count; ++i)
                with([i](auto& s) { s.endpoints.erase(s.endpoints.begin() + static_cast<std::ptrdiff_t>(i)); });
        for (std::size_t i = 0; i < (*slice)->ports.size(); ++i)
            with([i](auto& s) { s.ports.erase(s.ports.begin() + static_cast<std::ptrdiff_t>(i)); });
    }
    return results;
}

}  // namespace

std::string History::text() const {
    std::string text =
        fmt::format("  settings: {}\n  family: {}\n", text_of(world.settings), net::family_name(world.family));
    for (const auto& [key, object] : world.objects) text += fmt::format("  {}\n", api::to_json(object));
    for (const auto& step : steps) {
        text += fmt::format("  then, {}{}:\n", step.restarted ? "with a new dataplane, " : "",
                            step.by == NodeUnderTest::By::kReconcile ? "by replacement" : "by delta");
        for (const auto& change : step.changes)
            text += change.object ? fmt::format("    {}\n", api::to_json(*change.object))
                                  : fmt::format("    delete {}\n", change.key.text());
    }
    return text;
}

std::string Replayer::complaint(const History& history) const {
    if (const auto cleaned = NodeUnderTest::clean_up(topology_, mode_); !cleaned)
        return "cleanup: " + cleaned.error().message;
    auto opened = NodeUnderTest::open(topology_, mode_, history.world.family, history.world.settings);
    if (!opened) return "open: " + opened.error().message;
    auto& node = **opened;
    Stickiness stickiness(memory_of(mode_));
    if (const auto done = node.change(all_of(history.world.objects), NodeUnderTest::By::kReconcile); !done)
        return "not programmed: " + done.error().message;
    std::string wrong = try_probe(node, history.probe, stickiness);
    for (const auto& step : history.steps) {
        if (!wrong.empty()) break;
        if (step.restarted)
            if (const auto done = node.restart(); !done) return "not opened again: " + done.error().message;
        if (const auto done = node.change(step.changes, step.by); !done)
            return "not programmed: " + done.error().message;
        stickiness.forget_unless_kept(node.explainer(), node.plan());
        wrong = try_probe(node, history.probe, stickiness);
    }
    return wrong;
}

std::string Replayer::try_probe(const NodeUnderTest& node, const testnet::Probe& probe, Stickiness& stickiness) const {
    if (const auto flushed = testnet::flush_conntrack(topology_.node()); !flushed) return flushed.error().message;
    const auto journey = node.explain(probe);
    const bool alone = journey.verdict == plan::Verdict::kBalanced && journey.service_port->affinity_seconds != 0;
    const std::vector<testnet::Probe> repeated(kRepeats * std::max<std::size_t>(1, journey.pool.size()), probe);
    const auto outcomes = alone ? engine_.run_in_turn(repeated) : engine_.run(repeated);
    if (!outcomes) return outcomes.error().message;
    for (const auto& outcome : *outcomes) {
        auto wrong = disagreement(topology_, probe, journey, outcome);
        if (wrong.empty()) wrong = stickiness.note(probe, journey, outcome);
        if (!wrong.empty())
            return fmt::format("{}\n    plan:    {}\n    packets: {} -- {}", probe.text(), packets::text_of(journey),
                               outcome.text(), wrong);
    }
    return "";
}

History Replayer::shrink(History history, std::chrono::seconds limit) const {
    const auto deadline = Clock::now() + limit;
    // Takes the smaller one if it still has a complaint.
    const auto attempt = [&](const History& smaller) {
        if (Clock::now() > deadline || complaint(smaller).empty()) return false;
        history = smaller;
        return true;
    };

    // Best without any steps: the last state, programmed at once.
    History at_once = history;
    for (const auto& step : at_once.steps) update(at_once.world.objects, step.changes);
    at_once.steps.clear();
    attempt(at_once);
    // Else what came before the last step need not have come one by one; or steps in between do not matter.
    while (history.steps.size() > 1) {
        History fewer = history;
        update(fewer.world.objects, fewer.steps.front().changes);
        fewer.steps.erase(fewer.steps.begin());
        if (!attempt(fewer)) break;
    }
    for (std::size_t i = history.steps.size(); i-- > 0;) {
        History fewer = history;
        fewer.steps.erase(fewer.steps.begin() + static_cast<std::ptrdiff_t>(i));
        attempt(fewer);
    }

    for (bool progress = true; progress && Clock::now() < deadline;) {
        progress = false;
        const Objects objects = history.world.objects;
        for (const auto& entry : objects) {
            const auto& key = entry.first;
            History without = history;
            without.world.objects.erase(key);
            for (auto& step : without.steps)
                std::erase_if(step.changes, [&](const auto& change) { return change.key == key; });
            if (attempt(without)) {
                progress = true;
                continue;
            }
            for (bool again = true; again;) {
                again = false;
                const auto at = history.world.objects.find(key);
                if (at == history.world.objects.end()) break;
                for (const auto& other : simpler(at->second)) {
                    History simpler_one = history;
                    simpler_one.world.objects.insert_or_assign(key, other);
                    if (!attempt(simpler_one)) continue;
                    progress = again = true;
                    break;
                }
            }
        }
        for (std::size_t d = 0; d < history.steps.size(); ++d) {
            for (std::size_t c = history.steps[d].changes.size(); c-- > 0;) {
                History without = history;
                auto& changes = without.steps[d].changes;
                changes.erase(changes.begin() + static_cast<std::ptrdiff_t>(c));
                progress = attempt(without) || progress;
            }
            if (!history.steps[d].restarted) continue;
            History without = history;
            without.steps[d].restarted = false;
            progress = attempt(without) || progress;
        }
    }
    return history;
}

}  // namespace ghostip::packets
