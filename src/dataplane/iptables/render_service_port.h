// All rules of one service port, split by concern. Pure; which pool answers whom comes with the plan.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/iptables/rules.h"

namespace ghostip::dataplane::iptables {

// A service port with what every concern needs of it.
struct Subject {
    const plan::ServicePortPlan& plan;
    const Context& context;
    std::uint16_t health_check_port;  // of its Service; 0: none
    std::string name;                 // "shop/web:http", for comments
    std::string hash;
    plan::Pool endpoints;                      // all that some traffic can reach
    std::vector<std::string> endpoint_chains;  // theirs, in this order

    [[nodiscard]] std::string chain(ChainKind kind) const { return chain_name(kind, hash); }
    [[nodiscard]] std::string pool_chain(plan::PoolScope scope) const {
        return chain(scope == plan::PoolScope::kCluster ? ChainKind::kCluster : ChainKind::kLocal);
    }
    // `pool` is one of the plan's.
    [[nodiscard]] std::vector<std::string_view> endpoint_chains_of(const plan::Pool& pool) const;
    [[nodiscard]] kernel::iptables::RuleText rule(std::string& out) const {
        return {out, context.form, context.family};
    }
    // Begins a rule of a chain that is written as a whole.
    [[nodiscard]] kernel::iptables::RuleText append(Chain& chain) const {
        kernel::iptables::RuleText text(chain.rules, context.form, context.family);
        text.begin("-A", chain.name);
        return text;
    }
};

[[nodiscard]] Rules render_service_port(const plan::ServicePortPlan& plan, std::uint16_t health_check_port,
                                        const Context& context);

// --- the concerns ---

// A rule's words for "from a pod of this node". False: such traffic cannot be told, and nothing is written.
bool match_pods(kernel::iptables::RuleText& rule, const plan::LocalDetector& detector, kernel::iptables::Sense sense);

// Whether some traffic to it is balanced, and which destination speaks for all external ones: they are alike.
[[nodiscard]] bool balances(const plan::Destination& destination);
[[nodiscard]] const plan::Destination* external_destination(const plan::ServicePortPlan& plan);

void render_dispatch(const Subject& subject, Rules& rules);      // addresses and ports to chains
void render_no_endpoints(const Subject& subject, Rules& rules);  // refusals
void render_firewall(const Subject& subject, Rules& rules);      // source ranges
void render_external(const Subject& subject, Rules& rules);      // who gets which pool from outside
void render_pools(const Subject& subject, Rules& rules);         // balancing and affinity
void render_endpoints(const Subject& subject, Rules& rules);     // translation, hairpins

}  // namespace ghostip::dataplane::iptables
