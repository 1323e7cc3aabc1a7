// What external destinations share: which source gets which pool, and whether it is masqueraded.
#include <algorithm>

#include <fmt/format.h>

#include "dataplane/iptables/render_service_port.h"

namespace ghostip::dataplane::iptables {
namespace {

using kernel::iptables::Sense;
using plan::Action;
using plan::SourceClass;
using plan::Treatment;

void render_for_all(const Subject& subject, const Treatment& treatment, Chain& chain) {
    if (treatment.masquerade)
        subject.append(chain)
            .comment(fmt::format("masquerade traffic for {} external destinations", subject.name))
            .jump(chains::kMarkMasq)
            .end();
    if (treatment.action == Action::kBalance) subject.append(chain).jump(subject.pool_chain(treatment.pool)).end();
}

void render_for_pods(const Subject& subject, const Treatment& treatment, Chain& chain) {
    const auto& detector = subject.context.node.detector;
    if (!detector.available()) return;
    const auto rule = [&](const char* words, std::string_view target) {
        auto text = subject.append(chain);
        match_pods(text, detector, Sense::kIs);
        text.comment(fmt::format("{} {} external destinations", words, subject.name)).jump(target).end();
    };
    if (treatment.masquerade) rule("masquerade pod traffic for", chains::kMarkMasq);
    if (treatment.action == Action::kBalance) rule("pod traffic for", subject.pool_chain(treatment.pool));
}

void render_for_node(const Subject& subject, const Treatment& treatment, Chain& chain) {
    const auto rule = [&](const char* words, std::string_view target) {
        subject.append(chain)
            .comment(fmt::format("{} LOCAL traffic for {} external destinations", words, subject.name))
            .source_type_local()
            .jump(target)
            .end();
    };
    if (treatment.masquerade) rule("masquerade", chains::kMarkMasq);
    if (treatment.action == Action::kBalance) rule("route", subject.pool_chain(treatment.pool));
}

}  // namespace

void render_external(const Subject& subject, Rules& rules) {
    const auto* destination = external_destination(subject.plan);
    if (destination == nullptr || !balances(*destination)) return;
    Chain chain{tables::kNat, subject.chain(ChainKind::kExternal), {}};
    const auto& all = destination->treatments;
    const bool alike = std::all_of(all.begin(), all.end(), [&](const auto& one) { return one == all.front(); });
    if (!alike) {
        render_for_pods(subject, destination->treatment(SourceClass::kPod), chain);
        render_for_node(subject, destination->treatment(SourceClass::kNode), chain);
    }
    render_for_all(subject, destination->treatment(SourceClass::kOutside), chain);
    rules.chains.push_back(std::move(chain));
}

}  // namespace ghostip::dataplane::iptables
