// Pools and the endpoints in them: the dice, the clients that stick, and the translation itself.
#include <fmt/format.h>

#include "dataplane/iptables/render_service_port.h"

namespace ghostip::dataplane::iptables {
namespace {

using kernel::iptables::RuleText;
using kernel::iptables::Sense;
using plan::DestinationKind;
using plan::PoolScope;
using plan::SourceClass;

// Of one rule: text that grows step by step is copied at each step.
constexpr std::size_t kUsualLength = 128;

bool sticks(const Subject& subject) { return subject.plan.affinity_seconds != 0 && subject.context.abilities.affinity; }

void comment_endpoint(const Subject& subject, const plan::Endpoint& endpoint, RuleText& rule) {
    if (subject.context.endpoint_comments)
        rule.comment(fmt::format("{} -> {}", subject.name, net::host_port(endpoint.address, endpoint.port)));
}

// What came through an external destination is in the same chain: the match on the cluster IP leaves that alone.
void masquerade_cluster_ip(const Subject& subject, PoolScope scope, Chain& chain) {
    for (const auto& destination : subject.plan.destinations) {
        const auto& outside = destination.treatment(SourceClass::kOutside);
        const auto& pod = destination.treatment(SourceClass::kPod);
        if (destination.kind != DestinationKind::kClusterIp || outside.pool != scope || !outside.masquerade) continue;
        const auto& detector = subject.context.node.detector;
        auto rule = subject.append(chain);
        const bool by_interface = detector.kind != plan::LocalDetector::Kind::kCidr;
        if (!pod.masquerade && !by_interface) match_pods(rule, detector, Sense::kIsNot);
        rule.destination(net::Prefix::host(destination.key.address));
        if (!pod.masquerade && by_interface) match_pods(rule, detector, Sense::kIsNot);
        rule.protocol(destination.key.protocol)
            .comment(subject.name + " cluster IP")
            .destination_port(destination.key.protocol, destination.key.port)
            .jump(chains::kMarkMasq)
            .end();
    }
}

}  // namespace

void render_pools(const Subject& subject, Rules& rules) {
    for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal}) {
        const auto& pool = subject.plan.pool(scope);
        if (pool.empty()) continue;
        Chain chain{tables::kNat, subject.pool_chain(scope), {}};
        chain.rules.reserve((pool.size() + 1) * kUsualLength);
        masquerade_cluster_ip(subject, scope, chain);
        const auto targets = subject.endpoint_chains_of(pool);
        if (sticks(subject))
            for (std::size_t i = 0; i < pool.size(); ++i) {
                auto rule = subject.append(chain);
                comment_endpoint(subject, pool[i], rule);
                rule.recent_check(targets[i], subject.plan.affinity_seconds).jump(targets[i]).end();
            }
        for (std::size_t i = 0; i < pool.size(); ++i) {
            auto rule = subject.append(chain);
            comment_endpoint(subject, pool[i], rule);
            if (const auto left = pool.size() - i; left > 1) rule.one_of(static_cast<std::uint32_t>(left));
            rule.jump(targets[i]).end();
        }
        rules.chains.push_back(std::move(chain));
    }
}

void render_endpoints(const Subject& subject, Rules& rules) {
    rules.chains.reserve(subject.endpoints.size() + 1);
    const auto protocol = subject.plan.name.protocol;
    for (std::size_t i = 0; i < subject.endpoints.size(); ++i) {
        const auto& endpoint = subject.endpoints[i];
        Chain chain{tables::kNat, subject.endpoint_chains[i], {}};
        chain.rules.reserve(2 * kUsualLength);
        // An endpoint that dials itself would get the answer past this node.
        auto hairpin = subject.append(chain);
        hairpin.source(net::Prefix::host(endpoint.address));
        if (subject.context.endpoint_comments) hairpin.comment(subject.name);
        hairpin.jump(chains::kMarkMasq).end();
        auto translation = subject.append(chain);
        translation.protocol(protocol);
        if (subject.context.endpoint_comments) translation.comment(subject.name);
        if (sticks(subject)) translation.recent_set(chain.name);
        translation.protocol_module(protocol).translate(endpoint.address, endpoint.port).end();
        rules.chains.push_back(std::move(chain));
    }
}

}  // namespace ghostip::dataplane::iptables
