#include "cli/offline.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "kernel/route/addresses.h"
#include "kernel/route/gateways.h"
#include "source/manifests/manifest_set.h"

namespace ghostip::cli {
namespace {

plan::HostFacts host_of(const std::vector<api::Change>& objects, const std::string& node_name,
                        const plan::ModeProfile& profile) {
    plan::HostFacts host;
    const auto own = kernel::route::interface_addresses(profile.service_device).value_or({});
    for (const auto& change : objects) {
        if (change.key.kind != api::Kind::kNode || change.key.name != node_name || !change.object) continue;
        for (const auto& address : std::get<std::shared_ptr<const api::Node>>(*change.object)->addresses)
            host.addresses.push_back(address.address);
    }
    const bool here =
        host.addresses.empty() || std::any_of(own.begin(), own.end(), [&](const auto& address) {
            return std::find(host.addresses.begin(), host.addresses.end(), address) != host.addresses.end();
        });
    if (here) {
        host.addresses.insert(host.addresses.end(), own.begin(), own.end());
        host.gateways = kernel::route::gateways().value_or({});
    }
    return host;
}

}  // namespace

Result<Offline> plan_offline(const NodeFlags& flags) {
    Offline offline;
    ASSIGN_OR_RETURN(offline.options, node_options(flags));
    ASSIGN_OR_RETURN(auto set, source::ManifestSet::open(flags.manifests));
    auto delivery = set.load();
    for (const auto& problem : delivery.problems) {
        fmt::print(stderr, "{}\n", problem.text());
        if (problem.severity == api::Severity::kError) offline.had_errors = true;
    }
    offline.objects = std::move(delivery.changes);
    const auto host = host_of(offline.objects, offline.options.settings.node_name, offline.options.mode->profile());
    for (const auto family : net::kFamilies) {
        plan::Planner planner(family, offline.options.settings, offline.options.mode->profile(), host);
        (void)planner.apply(offline.objects);
        for (const auto& conflict : planner.take_conflicts())
            fmt::print(stderr, "{} is claimed by two Services: {} has it, {} does not get it\n", conflict.key.text(),
                       conflict.winner.text(), conflict.loser.text());
        for (const auto& refusal : planner.take_refusals()) fmt::print(stderr, "{}\n", refusal.text());
        offline.plans.push_back(planner.plan());
        for (const auto& range : offline.plans.back().node.undropped) fmt::print(stderr, "{}\n", range.text());
    }
    return offline;
}

}  // namespace ghostip::cli
