// One family on this node, with all that belongs to it: objects come in, its rules are in the kernel and stay there.
// Belongs to the agent's loop; what is slow it hands to other threads, whose answers the loop brings back.
//
// Changes are planned when they come. While a call of the dataplane is under way (agent/programmer.h) they gather, made
// one, and the next call brings them; what was promised of a change (health, latency, ports, UDP flows) is only done
// when the call that brought it has succeeded. With quick calls every sync() is over when it returns.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/background.h"
#include "agent/drift_guard.h"
#include "agent/flow_cleaner.h"
#include "agent/following.h"
#include "agent/health.h"
#include "agent/health_check_ports.h"
#include "agent/metrics.h"
#include "agent/plan_counts.h"
#include "agent/programmer.h"
#include "agent/programming_latency.h"
#include "agent/service_counters.h"
#include "dataplane/dataplane.h"
#include "plan/merged_delta.h"
#include "plan/planner.h"
#include "plan/stale_flows.h"

namespace ghostip::agent {

struct ProxierConfig {
    // Of the mode.
    dataplane::Calls calls = dataplane::Calls::kQuick;
    // From the end of a call that brought changes to the next one, where calls run programs.
    std::chrono::milliseconds min_sync_period{0};
    // From one look at everything that the kernel holds to the next.
    std::chrono::milliseconds full_check_interval{std::chrono::hours(1)};
    // The same while nobody tells of foreign writes.
    std::chrono::milliseconds blind_check_interval{std::chrono::minutes(1)};
    // After a failed sync, everything is looked at and applied again this much later.
    std::chrono::milliseconds retry_interval{1000};
    // It doubles while syncs go on failing.
    std::chrono::milliseconds longest_retry_interval{std::chrono::minutes(1)};
    DriftSettings drift = {};
    // For what is compared with times that the cluster notes.
    std::function<std::chrono::system_clock::time_point()> wall_clock = std::chrono::system_clock::now;
};

class Proxier {
  public:
    using Time = std::chrono::steady_clock::time_point;
    using Sight = dataplane::Dataplane::Sight;
    // What other threads have to say: to be called from there. A sight, that slow work failed, that a call is over.
    struct Answers {
        std::function<void(net::Family, Result<Sight>)> sight;
        std::function<void(net::Family, Error)> failed;
        std::function<void()> call;
    };

    // Who learns how it goes; all of them outlive this.
    struct Listeners {
        Metrics& metrics;
        Health& health;
        HealthCheckPorts& health_check_ports;
    };

    // `flows` may be null: then UDP flows are left alone.
    Proxier(net::Family family, const ProxierConfig& config, std::unique_ptr<plan::Planner> planner,
            std::unique_ptr<dataplane::Dataplane> dataplane, std::unique_ptr<FlowCleaner> flows, Listeners listeners,
            Background& background, Answers answers);

    [[nodiscard]] net::Family family() const { return family_; }
    // While no call is under way.
    [[nodiscard]] dataplane::Dataplane& dataplane() { return programmer_.dataplane(); }

    // Brings what changed into the kernel, or begins to. After an error everything is due again a little later, by
    // itself.
    [[nodiscard]] Result<void> sync(const std::vector<api::Change>& changes, const plan::HostFacts* host, Time now);
    // A call may be over: to be asked whenever Answers::call was called.
    void take_answer(Time now);
    // Everything that was handed in is in the kernel.
    [[nodiscard]] bool in_sync() const;
    // Everything was in the kernel at least once.
    [[nodiscard]] bool started() const { return started_; }
    // The first sync is over, well or not.
    [[nodiscard]] bool tried() const { return tried_; }
    // Why the kernel does not hold the plan, after a sync that failed.
    [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }
    // How many transactions were committed so far, and how many objects the kernel refuses.
    [[nodiscard]] std::uint32_t transactions() const { return transactions_; }
    [[nodiscard]] std::size_t set_aside() const { return aside_.size(); }
    // No call begins before.
    void hold(Time until) { held_until_ = until; }

    // Somebody else wrote.
    void wrote(dataplane::ForeignWrite write, Time now) { guard_.wrote(std::move(write), now); }
    // Somebody tells of all foreign writes from now on, or nobody does.
    void sighted(Time now);
    void blind(Time now);
    // Looks at everything soon.
    void check_soon(Time now) { check_at_ = now; }
    // The background's answers, handed over by the loop.
    void take_sight(Result<Sight> sight, Time now);
    void slow_work_failed(const Error& error, Time now);

    // When tick() will next have something to do.
    [[nodiscard]] Time due() const;
    // Does what is due: repairs, checks, another try. After the first sync(), which brings what exists.
    void tick(Time now);
    // Waits a little until slow work is done and flows are removed: for who ends now.
    void finish();

  private:
    // Words about UDP flows on their way to the cleaner, in the order in which they were said.
    struct FlowQueue {
        std::mutex mutex;
        plan::StaleFlows words;  // guarded by mutex
        int queued = 0;          // guarded by mutex; pieces of background work that will hand them on
    };
    // A call of the dataplane.
    struct Call {
        enum class What : std::uint8_t { kReconcile, kApply, kRepair, kCheck };
        What what = What::kReconcile;
        std::chrono::steady_clock::time_point start;
        std::size_t service_ports = 0;  // kReconcile: in the plan
    };
    using What = Call::What;

    // Whether anything is different now.
    [[nodiscard]] bool plan(const std::vector<api::Change>& changes, const plan::HostFacts* host);
    void plan_delta(const plan::Delta& delta);
    [[nodiscard]] plan::Plan applied_plan() const;

    // What is due and may begin; of several, what comes first.
    [[nodiscard]] Result<void> begin_due(Time now);
    [[nodiscard]] Result<void> begin_sync(Time now);
    void begin_repair(Time now);
    void begin_check(Time now);
    void look();
    [[nodiscard]] bool may_begin(Time now) const { return !programmer_.busy() && now >= held_until_; }
    [[nodiscard]] bool syncing() const;
    void carry();
    [[nodiscard]] Result<void> reconcile(Time now);
    [[nodiscard]] Result<void> apply(Time now);
    [[nodiscard]] Result<void> begin(What what, Programmer::Call call, Time now);

    // A call is over.
    [[nodiscard]] Result<void> ended(const Programmer::Answer& answer, Time now);
    [[nodiscard]] Result<void> sync_ended(const Programmer::Answer& answer, Time now);
    void reconciled(const dataplane::Outcome& outcome, Time now);
    void settled(bool behind_slow_work, Time now);
    void clean_flows(plan::StaleFlows stale, bool behind_slow_work);
    void take_outcome(const dataplane::Outcome& outcome, const std::vector<dataplane::SetAside>& aside);
    void failed(const Error& error, Time now);
    void tell_refusals();
    void tell_set_aside(const std::vector<dataplane::SetAside>& aside);
    void tell_node_rules(const plan::Delta& delta);
    void update_metrics();

    const net::Family family_;
    const ProxierConfig config_;
    const std::unique_ptr<plan::Planner> planner_;
    const std::unique_ptr<FlowCleaner> flows_;
    Metrics& metrics_;
    Metrics::OfFamily& counts_;
    Health& health_;
    HealthCheckPorts& health_check_ports_;
    Background& background_;
    const Answers answers_;

    plan::StaleFlowFinder flow_finder_;
    PlanCounts plan_counts_;
    const std::shared_ptr<ServiceCounters> service_counters_;  // null: nothing is counted
    ProgrammingLatency latency_;
    const std::shared_ptr<FlowQueue> flow_queue_ = std::make_shared<FlowQueue>();

    // Planned, and not handed to the kernel yet. While a reconcile is due no delta is kept: it takes the whole plan.
    plan::MergedDelta waiting_delta_;
    Following waiting_;
    std::optional<std::chrono::steady_clock::time_point> waiting_since_;  // by Health's clock
    Call call_;                                                           // under way, or the last one
    Following under_way_;                                                 // what goes with it
    std::optional<Time> reconcile_at_;    // the kernel does not hold the plan: not yet, or a sync failed
    std::chrono::milliseconds pause_{0};  // before the next try; 0: the last one went well
    std::optional<Error> failure_;        // of the last sync
    Time held_until_ = Time::min();
    Time next_sync_ = Time::min();  // least
    bool tried_ = false;
    bool started_ = false;
    std::optional<Sight> sight_;  // waits to be checked
    DriftGuard guard_;
    std::chrono::milliseconds check_interval_;
    Time check_at_;
    bool looking_ = false;                      // the background is at it
    Time looking_since_{};                      // when it began
    std::map<std::string, std::string> aside_;  // what was told: object, reason
    std::uint32_t transactions_ = 0;
    std::uint64_t flows_counted_ = 0;
    std::uint64_t repairs_counted_ = 0;
    Programmer programmer_;  // last: its thread calls the rest
};

}  // namespace ghostip::agent
