#include "dataplane/iptables/supported.h"

#include <fmt/format.h>

#include "dataplane/iptables/trial.h"
#include "dataplane/iptables_variant.h"
#include "kernel/iptables/linux.h"

namespace ghostip::dataplane::iptables {

using kernel::iptables::Iptables;
using kernel::iptables::LinuxIptables;

std::vector<std::string> missing(Iptables& iptables) {
    const auto family = iptables.family();
    const auto trials = needed_rules(family);
    const Limits limits;
    const auto say = [&](std::string_view what, std::string_view reason) {
        return fmt::format("{}: iptables-{} cannot do {}: {}", net::family_name(family),
                           variant_name(iptables.variant()), what, reason);
    };
    // Each text costs a program, so everything at once; one by one only to tell what is missing.
    const auto together = try_out(iptables, limits, trials);
    if (!together) return {together.error().message};
    if (!*together) return {};
    std::vector<std::string> lacks;
    for (const auto& one : trials) {
        const auto alone = try_out(iptables, limits, {one});
        if (!alone) return {alone.error().message};
        if (*alone) lacks.push_back(say(one.needs, (*alone)->reason));
    }
    if (lacks.empty()) lacks.push_back(say("together what it can do one by one", (*together)->reason));
    return lacks;
}

std::vector<std::string> missing(net::Family family, const Options& options) {
    const auto variant = choose_variant(options);
    if (!variant) return {variant.error().message};
    auto iptables = LinuxIptables::open(*variant, family);
    if (!iptables) return {iptables.error().message};
    if (const auto usable = (*iptables)->check_usable(); !usable) return {usable.error().message};
    return missing(**iptables);
}

}  // namespace ghostip::dataplane::iptables
