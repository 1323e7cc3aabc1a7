// The few rules of iptables: they ask sets, so that no service has rules of its own, but for the one that leads pods
// and this node past a destination of external policy Local.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plan/node.h"

namespace ghostip::dataplane::ipvs {

struct Chain {
    std::string_view table;
    std::string_view name;
    std::string rules;  // a line each, as iptables-save prints them

    friend bool operator==(const Chain&, const Chain&) = default;
};

// A rule in one of the kernel's own chains.
struct Jump {
    std::string_view table;
    std::string_view chain;  // "INPUT"
    std::string rule;        // behind the chain's name, with a space in front and no end of line
};

struct RuleContext {
    const plan::NodeRules& node;
    net::Family family;
    bool random_fully = true;  // MASQUERADE --random-fully
};

// All chains of this mode, in an order in which they may be made. `short_circuits`: the lines of kShortCircuit.
[[nodiscard]] std::vector<Chain> render_chains(const RuleContext& context, std::string short_circuits);
// In the order in which they are put at the head of their chains.
[[nodiscard]] std::vector<Jump> render_jumps(net::Family family);

}  // namespace ghostip::dataplane::ipvs
