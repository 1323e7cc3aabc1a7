// What rendering makes: chains that are written as a whole, and single rules in chains that all service ports share.
// Texts only; no kernel.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/iptables/names.h"
#include "kernel/iptables/rule_text.h"
#include "plan/plan.h"

namespace ghostip::dataplane::iptables {

// A chain that belongs to one owner and is only ever written as a whole.
struct Chain {
    std::string_view table;
    std::string name;
    std::string rules;  // a line each, "-A NAME ..."

    friend bool operator==(const Chain&, const Chain&) = default;
};

// Chains that hold rules of all service ports, in any order.
enum class Place : std::uint8_t {
    kServices,      // nat KUBE-SERVICES; its last rules are the node's own, and lead to kNodePorts
    kNodePorts,     // nat KUBE-NODEPORTS
    kRefusals,      // filter KUBE-SERVICES
    kExternal,      // filter KUBE-EXTERNAL-SERVICES
    kHealthChecks,  // filter KUBE-NODEPORTS
    kFirewall,      // filter KUBE-PROXY-FIREWALL
};
inline constexpr std::array<Place, 6> kPlaces{Place::kServices, Place::kNodePorts,    Place::kRefusals,
                                              Place::kExternal, Place::kHealthChecks, Place::kFirewall};
[[nodiscard]] std::string_view table_of(Place place);
[[nodiscard]] std::string_view chain_of(Place place);

// One rule in a shared chain.
struct Dispatch {
    Place place = Place::kServices;
    std::string rule;  // what stands behind the chain's name, with a space in front and no end of line

    friend bool operator==(const Dispatch&, const Dispatch&) = default;
};

struct RuleCounts {
    std::uint64_t nat = 0;
    std::uint64_t filter = 0;

    RuleCounts& operator+=(const RuleCounts& other) {
        nat += other.nat;
        filter += other.filter;
        return *this;
    }
    RuleCounts& operator-=(const RuleCounts& other) {
        nat -= other.nat;
        filter -= other.filter;
        return *this;
    }
    friend bool operator==(const RuleCounts&, const RuleCounts&) = default;
};

// Everything that one owner (a service port) has.
struct Rules {
    std::vector<Chain> chains;
    std::vector<Dispatch> dispatch;

    [[nodiscard]] const Chain* find(std::string_view table, std::string_view chain) const;
    [[nodiscard]] RuleCounts count() const;
    friend bool operator==(const Rules&, const Rules&) = default;
};

// What this host's programs and kernel can do beyond what is needed.
struct Abilities {
    bool random_fully = true;   // MASQUERADE --random-fully
    bool affinity = true;       // -m recent
    bool counters = true;       // -m nfacct, and the counters are there
    bool tcp_is_strict = true;  // the kernel does not take TCP packets outside of the window (tcp_be_liberal is 0)

    friend bool operator==(const Abilities&, const Abilities&) = default;
};

// Endpoints, known ones of all service ports together, above which rules of endpoints go without comments.
inline constexpr std::uint64_t kLargeCluster = 1000;

// What rules are made from, beside the service port. Keeps a reference to the node's rules.
struct Context {
    const plan::NodeRules& node;
    net::Family family;
    Abilities abilities;
    bool endpoint_comments = true;
    kernel::iptables::Form form = kernel::iptables::Form::kSaved;
};

}  // namespace ghostip::dataplane::iptables
