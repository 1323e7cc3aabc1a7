// One family on this node, with all that belongs to it: objects come in, its rules are in the kernel and stay there.
// Belongs to the agent's loop; what is slow it hands to the background thread, whose answers the loop brings back.
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
#include "agent/health.h"
#include "agent/health_check_ports.h"
#include "agent/metrics.h"
#include "agent/plan_counts.h"
#include "agent/programming_latency.h"
#include "agent/service_counters.h"
#include "dataplane/dataplane.h"
#include "plan/planner.h"
#include "plan/stale_flows.h"

namespace ghostip::agent {

struct ProxierConfig {
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
    // What the background thread has to say: to be called from there. A sight, or that slow work failed.
    struct Answers {
        std::function<void(net::Family, Result<Sight>)> sight;
        std::function<void(net::Family, Error)> failed;
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
    [[nodiscard]] dataplane::Dataplane& dataplane() { return *dataplane_; }

    // Brings what changed into the kernel. After an error everything is due again a little later, by itself.
    [[nodiscard]] Result<void> sync(const std::vector<api::Change>& changes, const plan::HostFacts* host, Time now);
    // Everything that was handed in is in the kernel.
    [[nodiscard]] bool in_sync() const { return !reconcile_at_; }
    // How many transactions were committed so far.
    [[nodiscard]] std::uint32_t transactions() const { return transactions_; }

    // Somebody else wrote.
    void wrote(dataplane::ForeignWrite write, Time now) { guard_.wrote(std::move(write), now); }
    // Nobody will tell of foreign writes from now on.
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
    using Kind = KubeProxyMetrics::Sync;
    using Ending = KubeProxyMetrics::Outcome;
    // Changes that were planned and are not in the kernel yet.
    struct Waiting {
        std::uint64_t services = 0;
        std::uint64_t endpoint_slices = 0;
    };
    [[nodiscard]] std::vector<plan::Delta> plan(const std::vector<api::Change>& changes, const plan::HostFacts* host);
    [[nodiscard]] Kind kind_of_sync() const { return reconcile_at_ ? Kind::kFull : Kind::kPartial; }
    [[nodiscard]] Result<Kind> program(const std::vector<plan::Delta>& deltas, Time now);
    [[nodiscard]] Result<void> reconcile(Time now);
    void settled(Time now);
    void clean_flows(bool behind_slow_work);
    void take_outcome(const dataplane::Outcome& outcome);
    void failed(const Error& error, Time now);
    void repair(Time now);
    void tell_refusals();
    void tell_set_aside();
    void tell_node_rules(const plan::Delta& delta);
    void update_metrics();

    const net::Family family_;
    const ProxierConfig config_;
    const std::unique_ptr<plan::Planner> planner_;
    const std::unique_ptr<dataplane::Dataplane> dataplane_;
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
    Waiting waiting_;
    const std::shared_ptr<FlowQueue> flow_queue_ = std::make_shared<FlowQueue>();
    bool slow_work_queued_ = false;       // by the sync under way
    std::chrono::milliseconds pause_{0};  // before the next try; 0: the last one went well
    plan::StaleFlows stale_flows_;        // wait for the rules that go with them
    std::optional<Time> reconcile_at_;    // the kernel does not hold the plan: not yet, or a sync failed
    bool started_ = false;                // the first sync is done
    DriftGuard guard_;
    std::chrono::milliseconds check_interval_;
    Time check_at_;
    bool looking_ = false;                      // the background is at it
    std::map<std::string, std::string> aside_;  // what was told: object, reason
    std::uint32_t transactions_ = 0;
    std::uint64_t flows_counted_ = 0;
    std::uint64_t repairs_counted_ = 0;
};

}  // namespace ghostip::agent
