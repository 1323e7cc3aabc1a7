// In what the kernel differs from a plan: everything is read, nothing is written. Used by the dataplane's thread and,
// through connections of its own, by the one that looks.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "dataplane/ipvs/front.h"
#include "dataplane/ipvs/rules.h"
#include "kernel/ipset/ipset.h"
#include "kernel/iptables/iptables.h"
#include "kernel/ipvs/ipvs.h"
#include "kernel/link/link.h"
#include "plan/plan.h"

namespace ghostip::dataplane::ipvs {

struct Kernel {
    std::unique_ptr<kernel::ipvs::Ipvs> ipvs;
    std::unique_ptr<kernel::ipset::Sets> sets;
    std::unique_ptr<kernel::link::Links> links;
    std::unique_ptr<kernel::iptables::Iptables> iptables;
};

// A destination that gets no new connections any more and goes when it has none.
struct Leaving {
    kernel::ipvs::ServiceKey service;
    kernel::ipvs::DestinationKey destination;

    friend auto operator<=>(const Leaving&, const Leaving&) = default;
};

// One front on the way from what the kernel has of it to what it should have.
struct FrontChange {
    Front before;
    Front after;
};

struct Aside {
    plan::ServicePortName name;
    std::string reason;
    bool landed = false;     // the kernel has some of it, from before
    bool by_option = false;  // nothing that changes in the kernel brings it

    [[nodiscard]] static Aside of(const Front& front, std::string_view reason, bool landed = false) {
        return {front.name, fmt::format("{}: {}", front.key.text(), reason), landed, false};
    }
    // Without asking anybody. Absent: nothing that is known keeps it out.
    [[nodiscard]] static std::optional<Aside> beforehand(const Front& front, const Context& context);
};

struct Comparison {
    std::vector<FrontChange> changes;
    std::vector<SetEntry> added;    // that belong to no front
    std::vector<SetEntry> removed;  // that nobody wants
    std::vector<net::IpAddress> unbind;
    std::set<net::IpAddress> bound;                         // on the device, of this family
    std::map<net::IpAddress, std::uint32_t> addresses;      // wanted on it, with the number of fronts that do
    std::map<plan::DestinationKey, Aside> aside;            // somebody else has it
    std::map<kernel::ipvs::ServiceKey, std::string> taken;  // as Limits::taken
    std::map<plan::DestinationKey, std::string> short_circuits;
    std::set<Leaving> draining;
    bool drained = false;  // some of those can go
    ObservedRules rules;
    std::uint64_t differences = 0;
    std::vector<std::string> examples;  // the first few

    void differ(std::string example);
};

// `known`: virtual servers that this process left in the kernel, which are ours whatever the sets say by now.
[[nodiscard]] Result<Comparison> compare(const Kernel& kernel, const plan::Plan& plan, const Context& context,
                                         const std::set<kernel::ipvs::ServiceKey>& known, bool random_fully);

// Why a front cannot have a virtual server.
[[nodiscard]] std::string another_service_has(const kernel::ipvs::ServiceKey& key);
[[nodiscard]] std::string somebody_else_has(const kernel::ipvs::ServiceKey& key);

[[nodiscard]] std::string text_of(const std::map<plan::DestinationKey, std::string>& short_circuits);

}  // namespace ghostip::dataplane::ipvs
