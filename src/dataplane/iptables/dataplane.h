// The iptables dataplane: a plan becomes chains and rules in the tables nat and filter of its family, those of
// Kubernetes' own proxy, written through iptables-restore.
//
// A change is written by the service ports that it concerns and by nothing else; the kernel is read at a start, after a
// failure, and when the whole is checked. One thread; all calls run programs that can take seconds. What is remembered
// between calls: the service ports that were asked for, as the plan's own values, and those that the kernel refused.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/running_programs.h"
#include "dataplane/dataplane.h"
#include "dataplane/iptables/canary.h"
#include "dataplane/iptables/comparison.h"
#include "dataplane/iptables/rules.h"
#include "dataplane/iptables/writer.h"
#include "kernel/iptables/iptables.h"
#include "kernel/nfacct/nfacct.h"
#include "kernel/sysctl/sysctl.h"

namespace ghostip::dataplane::iptables {

[[nodiscard]] const Mode& mode();

class IptablesDataplane final : public Dataplane {
  public:
    struct Host {
        std::unique_ptr<kernel::iptables::Iptables> iptables;
        std::unique_ptr<kernel::iptables::Iptables> background;  // for look(), which is on another thread
        std::unique_ptr<kernel::sysctl::Sysctl> sysctl;
        std::unique_ptr<kernel::nfacct::Nfacct> counters;  // null: the kernel has none
        std::shared_ptr<RunningPrograms> writers;          // has those of `iptables`; null: they are not listed
    };
    explicit IptablesDataplane(Host host, const Limits& limits = {});

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) override;
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) override;
    [[nodiscard]] std::function<Result<Sight>()> look(const plan::Plan& plan) const override;
    [[nodiscard]] Result<Outcome> check(const plan::Plan& plan, const Sight& sight) override;
    [[nodiscard]] std::vector<SetAside> set_aside() const override;

    [[nodiscard]] net::Family family() const { return family_; }
    [[nodiscard]] std::string_view variant_name() const override {
        return kernel::iptables::variant_name(kernel_variant());
    }
    [[nodiscard]] kernel::iptables::Variant kernel_variant() const { return host_.iptables->variant(); }
    [[nodiscard]] const CanaryCount& canaries() const { return canaries_; }
    [[nodiscard]] const std::shared_ptr<RunningPrograms>& writers() const { return host_.writers; }

  private:
    // A service port that the kernel refused: what it holds of it, and why not more.
    struct Aside {
        Rules landed;
        std::string reason;
    };
    using Asides = std::unordered_map<plan::ServicePortName, Aside>;
    struct ByName {
        using is_transparent = void;
        static const plan::ServicePortName& name(const plan::ServicePortPlanPtr& plan) { return plan->name; }
        static const plan::ServicePortName& name(const plan::ServicePortName& name) { return name; }
        template <typename A, typename B>
        bool operator()(const A& a, const B& b) const {
            return name(a) < name(b);
        }
    };
    using ServicePorts = std::set<plan::ServicePortPlanPtr, ByName>;
    using HealthPorts = std::map<plan::ServiceName, std::uint16_t>;
    // What was asked for last, and what of it is in the kernel.
    struct State {
        plan::NodeRules node;
        ServicePorts service_ports;
        HealthPorts health_ports;
        std::uint64_t known_endpoints = 0;
        RuleCounts rules;  // that serve it
        Asides aside;
    };
    // One service port on the way from one state to another.
    struct Change {
        plan::ServicePortPlanPtr before;
        plan::ServicePortPlanPtr after;
        std::uint16_t health_port_before = 0;
        std::uint16_t health_port_after = 0;
    };
    // Changes that are written together.
    using Unit = std::vector<Change>;
    using Refusals = std::map<std::size_t, std::string>;  // by number of the service port in the plan: why

    [[nodiscard]] Result<void> try_abilities();
    void open_loopback(const plan::NodeRules& node);

    [[nodiscard]] Result<void> settle(const plan::Plan& plan, Outcome& outcome);
    [[nodiscard]] Result<void> write_missing(const Comparison& comparison, Mismatch mismatch, Refusals& refusals,
                                             Outcome& outcome);
    [[nodiscard]] Result<void> remove_foreign(const Comparison& comparison, Mismatch mismatch, Outcome& outcome);
    void remember(const plan::Plan& plan, Comparison& comparison, const Refusals& refusals, Outcome& outcome);

    [[nodiscard]] std::vector<Unit> units_of(const plan::Delta& delta) const;
    [[nodiscard]] Rules rules_before(const Change& change, const Context& context) const;
    [[nodiscard]] Edit edit_of(const Unit& unit, const Context& before, const Context& after) const;
    void conclude(const Unit& unit, const Context& before, const Context& after,
                  const kernel::iptables::Refusal* refusal, Outcome& outcome);
    [[nodiscard]] std::uint16_t health_port(const plan::ServiceName& service) const;
    void report_rules(Outcome& outcome) const;

    const net::Family family_;
    const Host host_;
    const Limits limits_;
    const CanaryCount canaries_ = std::make_shared<std::atomic<std::uint64_t>>(0);
    Abilities abilities_;
    bool abilities_known_ = false;
    std::map<std::string, std::string> lacks_;  // what the host cannot do of what was asked for: what, and why
    std::optional<State> state_;                // absent: nothing is known of what the kernel holds
    Written written_;                           // by the call that runs
};

// Opens the dataplane on the programs and the kernel of the calling thread's network namespace.
[[nodiscard]] Result<std::unique_ptr<Dataplane>> open_dataplane(net::Family family, const Options& options);

}  // namespace ghostip::dataplane::iptables
