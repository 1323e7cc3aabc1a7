// The IPVS dataplane: a plan becomes virtual servers of its family, IP sets, addresses of the device kube-ipvs0 and a
// few fixed rules of iptables.
//
// A change is written by netlink, by the destinations that it concerns and by nothing else; the kernel is read at a
// start, after a failure, and when the whole is checked. iptables-restore runs when the node's rules change or a
// destination of external policy Local comes or goes. One thread. What is remembered between calls: the service ports
// that were asked for, as the plan's own values, what was set aside, and destinations that wait for their last
// connections.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/ipvs/compare.h"
#include "dataplane/ipvs/writer.h"

namespace ghostip::dataplane::ipvs {

[[nodiscard]] const Mode& mode();

class IpvsDataplane final : public Dataplane {
  public:
    struct Host {
        Kernel kernel;
        Kernel background;  // for look(), which is on another thread
    };
    IpvsDataplane(Host host, IpvsOptions options);

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) override;
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) override;
    [[nodiscard]] std::function<Result<Sight>()> look(const plan::Plan& plan) const override;
    // Also deletes the destinations whose last connections have ended.
    [[nodiscard]] Result<Outcome> check(const plan::Plan& plan, const Sight& sight) override;
    [[nodiscard]] std::vector<SetAside> set_aside() const override;
    [[nodiscard]] std::string_view variant_name() const override {
        return kernel::iptables::variant_name(host_.kernel.iptables->variant());
    }

    // Destinations that wait for their last connections.
    [[nodiscard]] std::size_t draining() const { return state_ ? state_->draining.size() : 0; }

  private:
    struct ByName {
        using is_transparent = void;
        bool operator()(const plan::ServicePortPlanPtr& a, const plan::ServicePortPlanPtr& b) const {
            return a->name < b->name;
        }
    };
    using ShortCircuits = std::map<plan::DestinationKey, std::string>;
    // What was asked for last, and what of it is in the kernel.
    struct State {
        plan::NodeRules node;
        std::set<plan::ServicePortPlanPtr, ByName> service_ports;
        std::map<net::IpAddress, std::uint32_t> addresses;  // of the device, with the number of fronts that want one
        std::map<plan::DestinationKey, Aside> aside;
        ShortCircuits short_circuits;
        std::set<Leaving> draining;
        std::uint64_t nat_rules = 0;
        std::uint64_t filter_rules = 0;
    };
    // What of a state tells which virtual servers are ours; for another thread too.
    struct Written {
        std::vector<plan::ServicePortPlanPtr> service_ports;
        plan::NodeRules node;
        std::set<plan::DestinationKey> absent;  // nothing of these is in the kernel

        [[nodiscard]] std::set<kernel::ipvs::ServiceKey> keys(net::Family family, const IpvsOptions& options,
                                                              const Limits& limits) const;
    };
    [[nodiscard]] Written written() const;
    using Fronts = std::map<plan::DestinationKey, Front>;
    struct Extras {
        std::vector<SetEntry> added;
        std::vector<SetEntry> removed;
    };

    [[nodiscard]] Result<void> settle(const plan::Plan& plan, Outcome& outcome);
    [[nodiscard]] std::vector<FrontChange> changes_of(const plan::Delta& delta, const plan::NodeRules& before);
    [[nodiscard]] Extras extras_of(const plan::Delta& delta) const;
    [[nodiscard]] Result<void> write(std::vector<FrontChange>& changes, const Extras& extras,
                                     const plan::NodeRules& node_before, Outcome& outcome);
    // Those that the kernel refuses are in `limits_` then, and in the result.
    [[nodiscard]] Result<std::set<net::IpAddress>> bind(const std::vector<net::IpAddress>& addresses, Outcome& outcome);
    [[nodiscard]] Result<void> unbind(const std::vector<net::IpAddress>& addresses, Outcome& outcome);
    [[nodiscard]] Result<void> try_refused_again();
    [[nodiscard]] Result<void> withdraw(const std::set<net::IpAddress>& refused, Outcome& outcome);
    void list_taken(std::vector<SetAside>& list) const;
    void list_refused_endpoints(std::vector<SetAside>& list) const;
    [[nodiscard]] Result<void> try_endpoints_again(const std::map<net::IpAddress, std::string>& refused,
                                                   Outcome& outcome);
    [[nodiscard]] Result<void> leave_to_others(std::vector<FrontChange>& changes, Outcome& outcome);
    [[nodiscard]] Result<void> give_way(std::vector<FrontChange>& changes, Outcome& outcome);
    [[nodiscard]] Result<void> take_places(const std::vector<FrontChange>& changes, Outcome& outcome);
    [[nodiscard]] std::optional<Front> front_of(const plan::DestinationKey& key) const;
    [[nodiscard]] Context context(const plan::NodeRules& node) const;
    [[nodiscard]] std::vector<Chain> chains_of(const plan::NodeRules& node, const ShortCircuits& short_circuits) const;
    [[nodiscard]] Result<void> write_rules(const RuleChange& change, Outcome& outcome);
    void report_rules(Outcome& outcome) const;

    const net::Family family_;
    const Host host_;
    const IpvsOptions options_;
    const bool random_fully_;
    Limits limits_;
    std::optional<State> state_;  // absent: nothing is known of what the kernel holds
};

// Opens the dataplane on the programs and the kernel of the calling thread's network namespace.
[[nodiscard]] Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options);
// Connections of their own to it.
[[nodiscard]] Result<Kernel> open_kernel(net::Family family, kernel::iptables::Variant variant);

}  // namespace ghostip::dataplane::ipvs
