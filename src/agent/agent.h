// The node agent: object changes -> plan -> dataplane, on one thread that does nothing slow.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "agent/health.h"
#include "api/source.h"
#include "base/fd.h"
#include "dataplane/dataplane.h"
#include "plan/planner.h"

namespace ghostip::agent {

struct AgentConfig {
    plan::NodeSettings node;
    const dataplane::Mode* mode = nullptr;
    // The least time from the end of one sync to the start of the next: at most 100 commits a second.
    std::chrono::milliseconds min_sync_interval{10};
    // After a failed sync, the whole plan is applied again this much later.
    std::chrono::milliseconds retry_interval{1000};
};

class Agent {
  public:
    // Opens the dataplane for every family that this host can do; an error if it can do none. Families that it cannot
    // do are logged with what is missing.
    [[nodiscard]] static Result<std::unique_ptr<Agent>> create(AgentConfig config, api::ObjectSource& source,
                                                               Health& health);
    ~Agent();
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    // Syncs until stop() is called. An error only if the source cannot start; failed syncs are logged and retried.
    [[nodiscard]] Result<void> run();
    // One sync of everything that the source knows; an error if anything could not be programmed.
    [[nodiscard]] Result<void> run_once();
    // From any thread, also before run().
    void stop();

  private:
    // One family with all that belongs to it.
    struct Proxier {
        net::Family family;
        std::unique_ptr<plan::Planner> planner;
        std::unique_ptr<dataplane::Dataplane> dataplane;
        bool needs_replace = true;  // the kernel does not hold the plan: first sync, or the last one failed
    };

    Agent(AgentConfig config, api::ObjectSource& source, Health& health);
    [[nodiscard]] std::vector<api::Change> wait_for_first_list();
    [[nodiscard]] Result<void> sync(const std::vector<api::Change>& changes);
    [[nodiscard]] Result<void> sync_family(Proxier& proxier, const std::vector<api::Change>& changes,
                                           bool host_changed);
    void watch_addresses();

    const AgentConfig config_;
    api::ObjectSource& source_;
    Health& health_;
    api::ChangeQueue queue_;
    std::vector<Proxier> proxiers_;  // owned by the sync thread
    std::atomic<bool> stop_ = false;
    std::atomic<bool> addresses_changed_ = false;
    Fd stop_event_;
    std::thread address_thread_;
};

}  // namespace ghostip::agent
