// Keeps the plan of one family up to date: object changes in, a delta out. One changed slice re-plans one service.
//
// Deterministic: the plan depends on the objects, the node and the profile, never on the order of arrival.
// Not thread-safe; owned by the thread that owns the dataplane.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "api/objects.h"
#include "plan/plan.h"
#include "plan/refusal.h"

namespace ghostip::plan {

// Two Services want the same address and port. Reported once, when it begins.
struct Conflict {
    DestinationKey key;
    ServiceName winner;
    ServiceName loser;
};

struct PlannerStats {
    // Since construction:
    std::uint64_t services_planned = 0;  // how many times one service was planned
    std::uint64_t service_changes = 0;   // changes of Services that were taken
    std::uint64_t endpoint_changes = 0;  // changes of EndpointSlices of this family that were taken
};

class Planner {
  public:
    Planner(net::Family family, NodeSettings settings, const ModeProfile& profile, HostFacts host);
    ~Planner();
    Planner(const Planner&) = delete;
    Planner& operator=(const Planner&) = delete;

    // Takes changes of any kind (those that do not matter here are ignored) and returns what they change in the plan.
    // The first call also yields the node rules.
    [[nodiscard]] Delta apply(const std::vector<api::Change>& changes);
    // The host's addresses or gateways changed.
    [[nodiscard]] Delta set_host(HostFacts host);

    // A copy of the plan as it is; costs the size of the cluster.
    [[nodiscard]] Plan plan() const;
    // Whose endpoints a slice holds; absent: it is not known, or nobody's.
    [[nodiscard]] std::optional<ServiceName> service_of(const api::ObjectKey& slice) const;
    // How many service ports the plan has.
    [[nodiscard]] std::size_t service_port_count() const { return service_port_count_; }
    [[nodiscard]] std::vector<Conflict> take_conflicts();
    [[nodiscard]] std::vector<Refusal> take_refusals();
    [[nodiscard]] const PlannerStats& stats() const { return stats_; }
    [[nodiscard]] const ModeProfile& profile() const { return profile_; }

  private:
    struct ServiceState;
    struct Claim;
    struct NetChanges;
    using Dirty = std::unordered_set<ServiceName>;

    // Where an object enters: remember it, mark what depends on it.
    void take(const api::Change& change, Dirty& dirty);
    void take_service(const api::Change& change, Dirty& dirty);
    void take_slice(const api::Change& change, Dirty& dirty);
    void take_node(const api::Change& change, Dirty& dirty);
    void take_service_cidr(const api::Change& change);
    void detach_slice(const std::string& slice_id, Dirty& dirty);
    // What of a slice the node's rules depend on.
    void count_for_rules(const api::EndpointSlice& slice, bool present);

    // What a dirty service wants to own, and who owns it.
    void update_claims(const ServiceName& name, Dirty& dirty);
    void add_claim(const DestinationKey& key, const Claim& claim, Dirty& dirty);
    void remove_claim(const DestinationKey& key, const Claim& claim, Dirty& dirty);
    [[nodiscard]] bool owns(const DestinationKey& key, const Claim& claim) const;

    // Plan one service anew and add what differs to the delta.
    void replan(const ServiceName& name, Delta& delta, NetChanges& net);
    void update_node_rules(Delta& delta);
    [[nodiscard]] Delta settle(Dirty dirty);
    void forget_if_empty(const ServiceName& name);

    const net::Family family_;
    const NodeSettings settings_;
    const ModeProfile& profile_;
    HostFacts host_;
    std::shared_ptr<const api::Node> node_;
    std::unordered_map<std::string, std::shared_ptr<const api::ServiceCidr>> service_cidrs_;
    LocalPods local_pods_;
    NodeRules rules_;
    bool rules_known_ = false;
    bool rules_due_ = true;  // something that they depend on may have changed

    std::unordered_map<ServiceName, std::unique_ptr<ServiceState>> services_;
    std::unordered_map<std::string, std::shared_ptr<const api::EndpointSlice>> slices_;  // by namespace/name
    std::unordered_map<DestinationKey, Claim> owners_;
    std::unordered_map<DestinationKey, std::vector<Claim>> losers_;  // only where there are any
    std::unordered_map<net::IpAddress, std::uint32_t> cluster_ips_;
    std::unordered_map<Hairpin, std::uint32_t> hairpins_;
    std::vector<Conflict> conflicts_;
    std::vector<Refusal> refusals_;
    std::size_t service_port_count_ = 0;
    PlannerStats stats_;
};

}  // namespace ghostip::plan
