// loadBalancerSourceRanges: who is allowed goes on; all others return untranslated, and the filter table drops them.
#include <algorithm>

#include <fmt/format.h>

#include "dataplane/iptables/render_service_port.h"

namespace ghostip::dataplane::iptables {

void render_firewall(const Subject& subject, Rules& rules) {
    const auto& destinations = subject.plan.destinations;
    const auto filtered = [](const plan::Destination& one) { return !one.allowed_sources.empty(); };
    const auto first = std::find_if(destinations.begin(), destinations.end(), filtered);
    if (first == destinations.end()) return;
    Chain chain{tables::kNat, subject.chain(ChainKind::kFirewall), {}};
    for (const auto& range : first->allowed_sources)
        subject.append(chain)
            .source(range)
            .comment(subject.name + " loadbalancer IP")
            .jump(subject.chain(ChainKind::kExternal))
            .end();
    subject.append(chain)
        .comment(fmt::format("other traffic to {} will be dropped by {}", subject.name, chains::kProxyFirewall))
        .end();
    for (auto one = first; one != destinations.end(); ++one) {
        if (!filtered(*one)) continue;
        auto& drop = rules.dispatch.emplace_back(Dispatch{Place::kFirewall, {}});
        subject.rule(drop.rule)
            .destination(net::Prefix::host(one->key.address))
            .protocol(one->key.protocol)
            .comment(fmt::format("{} traffic not accepted by {}", subject.name, chain.name))
            .destination_port(one->key.protocol, one->key.port)
            .jump("DROP");
    }
    rules.chains.push_back(std::move(chain));
}

}  // namespace ghostip::dataplane::iptables
