#include "recorded/plan_of_recording.h"

#include <utility>

#include "agent/config/node_settings.h"
#include "agent/modes.h"
#include "cli/proxy_flags.h"
#include "cli/proxy_settings.h"
#include "plan/planner.h"
#include "source/manifests/manifest_set.h"

namespace ghostip::recorded {
namespace {

Result<plan::NodeSettings> settings_of(const Recording& recording, const std::string& mode) {
    cli::ProxyFlags flags;
    auto set = cli::proxy_flag_set(flags);
    auto words = recording.flags;
    words.insert(words.end(), {"--proxy-mode", mode});
    RETURN_IF_ERROR(set.parse(words));
    ASSIGN_OR_RETURN(const auto settings, cli::complete(cli::Invocation::kKubeProxy, flags, set));
    return agent::config::node_settings(settings.configuration, {});
}

}  // namespace

Result<plan::Plan> plan_of(const Recording& recording, const std::string& mode, net::Family family,
                           plan::HostFacts host) {
    const auto* row = agent::find_mode(mode);
    if (row == nullptr) return fail("there is no mode {}", mode);
    const auto& profile = row->profile();
    ASSIGN_OR_RETURN(auto settings, settings_of(recording, mode));
    ASSIGN_OR_RETURN(auto manifests, source::ManifestSet::open(manifest_path(recording)));
    const auto delivery = manifests.load();
    if (!delivery.problems.empty()) return fail("{}", delivery.problems.front().text());
    plan::Planner planner(family, std::move(settings), profile, std::move(host));
    static_cast<void>(planner.apply(delivery.changes));
    return planner.plan();
}

}  // namespace ghostip::recorded
