// The node agent: object changes -> plan -> dataplane, on one thread that does nothing slow.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/background.h"
#include "agent/health.h"
#include "agent/health_check_ports.h"
#include "agent/heartbeat.h"
#include "agent/metrics.h"
#include "agent/proxier.h"
#include "api/source.h"
#include "base/fd.h"
#include "dataplane/dataplane.h"

namespace ghostip::agent {

struct AgentConfig {
    plan::NodeSettings node;
    const dataplane::Mode* mode = nullptr;
    dataplane::Options dataplane;
    // Who else writes to the kernel's rules waits while we do: this much time for each transaction, on the average.
    std::chrono::milliseconds time_per_commit{10};  // at most 100 a second
    // Least pause between the end of a sync and the next one; none unless somebody asks for it.
    std::chrono::milliseconds min_sync_period{0};
    ProxierConfig proxier;
    // A health-check node port of a Service cannot be listened on; on the loop's thread, so it must not wait.
    HealthCheckPorts::OnListenFailed on_health_check_port_failed = nullptr;
    // This node's Node object came or changed; on the loop's thread. May be empty.
    std::function<void(const api::Node&)> on_node = nullptr;
    // Null: nobody asks whether the loop moves.
    Heartbeat* heartbeat = nullptr;
    // Once, on the loop's thread, when the first list is there and nothing is programmed yet. May be empty.
    std::function<void()> on_first_list = nullptr;
    // Once, on the loop's thread, when for the first time all is programmed: with the variant of the mode that serves,
    // empty if it has none. May be empty.
    std::function<void(std::string_view variant)> on_first_sync;
};

// Whether this host does the family at all.
[[nodiscard]] bool family_enabled(net::Family family);

class Agent {
  public:
    // Opens the dataplane for every family that this host can do; an error if it can do none. Families that it cannot
    // do are logged with what is missing.
    [[nodiscard]] static Result<std::unique_ptr<Agent>> create(AgentConfig config, api::ObjectSource& source,
                                                               Health& health, Metrics& metrics);
    ~Agent();
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    // Syncs until stop() is called. An error only if the source cannot start; failed syncs are logged and retried.
    [[nodiscard]] Result<void> run();
    // One sync of everything that the source knows; an error if anything could not be programmed.
    [[nodiscard]] Result<void> run_once();
    // From any thread, also before run().
    void stop();
    // From any thread but the loop's: nothing is written and no health-check node port is open between the two, for
    // another process may do it. pause() returns when that is so; what changes meanwhile waits.
    void pause();
    void resume();

  private:
    using Time = Proxier::Time;
    // What other threads have for the loop.
    struct Inbox {
        std::vector<dataplane::ForeignWrite> writes;
        std::optional<Error> blind;  // no more of them will come
        std::vector<std::pair<net::Family, Result<Proxier::Sight>>> sights;
        std::vector<std::pair<net::Family, Error>> failures;
        std::vector<std::string> neighbours;  // warnings
    };

    Agent(AgentConfig config, api::ObjectSource& source, Health& health, Metrics& metrics);
    [[nodiscard]] Result<void> open_families();
    [[nodiscard]] std::unique_ptr<Proxier> open_family(net::Family family, const plan::HostFacts& host,
                                                       std::unique_ptr<dataplane::Dataplane> dataplane);
    [[nodiscard]] std::vector<api::Change> wait_for_first_list();
    void sync(const std::vector<api::Change>& changes);
    void wait_for_calls();
    [[nodiscard]] bool all_tried() const;
    void follow_writes();
    void tell_if_synced();
    void follow_node(const std::vector<api::Change>& changes);
    [[nodiscard]] std::unique_lock<std::mutex> begin_turn();
    void note_synced();
    void note_waiting(std::chrono::milliseconds time);
    void note_working();
    void read_inbox();
    void tick();
    void pace(bool synced);
    [[nodiscard]] std::chrono::milliseconds until_due() const;
    [[nodiscard]] std::uint32_t transactions() const;

    void start_watching();
    void watch_addresses();
    void watch_drift();
    void look_at_neighbours();
    template <typename Put>
    void post(Put put);

    const AgentConfig config_;
    api::ObjectSource& source_;
    Health& health_;
    Metrics& metrics_;
    api::ChangeQueue queue_;
    HealthCheckPorts health_check_ports_;             // owned by the loop's thread
    std::vector<std::unique_ptr<Proxier>> proxiers_;  // owned by the loop's thread
    std::vector<std::string> neighbours_told_;        // owned by the loop's thread
    Time neighbours_at_ = Time::max();                // owned by the loop's thread: when to look at them next
    bool synced_once_ = false;                        // owned by the loop's thread
    std::string variant_;                             // of the mode; constant when run
    bool following_writes_ = false;                   // owned by the loop's thread
    Time paid_until_{};        // owned by the loop's thread: when transactions so far have had their time
    std::uint32_t paced_ = 0;  // owned by the loop's thread: transactions that were paid for
    std::unique_ptr<dataplane::DriftWatch> drift_watch_;  // null: none; set before its thread starts

    std::mutex turn_;  // held by the loop while it works, not while it waits; taken before mutex_
    std::condition_variable resumed_;
    bool paused_ = false;  // guarded by turn_
    std::mutex mutex_;
    Inbox inbox_;  // guarded by mutex_
    std::atomic<bool> stop_ = false;
    std::atomic<bool> addresses_changed_ = false;
    Fd stop_event_;
    std::thread address_thread_;
    std::thread drift_thread_;
    Background background_;  // last: what it does uses the rest
};

}  // namespace ghostip::agent
