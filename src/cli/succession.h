// A process that carries traffic, the one before it and the one after it, on the same host (the same network
// namespace): listeners go from one to the next, so that nobody is refused while a node is upgraded or changes its
// mode.
//
//     before       asks its predecessor, which hands its listeners over, and goes on serving there
//     first list   the predecessor is told: it writes no more, and goes on serving
//     first sync   the predecessor is told: it serves there no more, and hands over what it knows of clients;
//                  it closes its listeners, lets its connections end, and ends
//     then         serves, and waits for a successor
//
// Where the service manager ends the old process before it starts the new one, it keeps the listeners meanwhile.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "agent/agent.h"
#include "base/result.h"
#include "base/service_manager.h"
#include "dataplane/carrier.h"
#include "relay/handover.h"

namespace ghostip::cli {

class Succession {
  public:
    // Asks at the path, empty for nobody. An error: somebody else is the successor just now. What else is wrong is
    // logged, and this process starts as if nobody were there. `kept`: by the service manager.
    [[nodiscard]] static Result<std::unique_ptr<Succession>> begin(std::string path, const ServiceManager& manager,
                                                                   ServiceManager::Kept kept);
    ~Succession();
    Succession(const Succession&) = delete;
    Succession& operator=(const Succession&) = delete;

    // What the predecessor had, or the service manager has kept. Once.
    [[nodiscard]] dataplane::Carrier::Inheritance take_listeners();
    [[nodiscard]] dataplane::Carrier::Predecessor predecessor() const {
        return predecessor_ ? dataplane::Carrier::Predecessor::kServes : dataplane::Carrier::Predecessor::kGone;
    }
    // Keeps them at the service manager. Null: there is none.
    [[nodiscard]] std::shared_ptr<dataplane::ListenerKeeper> keeper() const;
    // From now on until serve(): where the predecessor has died, its listeners are served; where it goes on by itself,
    // since the first sync here takes too long, `give_up` is told why this process is to end, from any thread.
    // `carrier` may be null.
    void watch(std::shared_ptr<dataplane::Carrier> carrier, std::function<void(Error)> give_up);
    // The first list is there, and the first sync follows, on the agent's loop. May give up.
    void about_to_write();
    // The first sync is done, on the agent's loop. `carrier` may be null: then no successor is waited for, as nothing
    // would be handed over. `pages` opens and closes pages that a successor wants to have.
    void serve(const std::shared_ptr<dataplane::Carrier>& carrier, agent::Agent& agent,
               const std::function<void(bool open)>& pages);
    // While this lives successors are waited for; afterwards nothing of the agent is touched any more.
    class Waiting {
      public:
        explicit Waiting(Succession& succession) : succession_(succession) {}
        ~Waiting();
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;

      private:
        Succession& succession_;
    };
    // A successor has taken over: the agent was ended, and what is carried goes on until it ends.
    [[nodiscard]] bool succeeded() const;
    // It has ended since, and nobody after it waits for successors.
    [[nodiscard]] bool nobody_serves() const;

  private:
    [[nodiscard]] bool take_over(dataplane::Carrier* carrier);
    void begin_watch();
    void end_watch();
    void serve_alone();
    Succession(std::string path, const ServiceManager& manager, ServiceManager::Kept kept)
        : path_(std::move(path)), manager_(manager), kept_(std::move(kept)) {}

    const std::string path_;
    const ServiceManager& manager_;
    ServiceManager::Kept kept_;
    std::optional<relay::Handover> predecessor_;   // kept, so that it knows that this process lives
    bool ask_failed_ = false;                      // constant after begin()
    std::shared_ptr<dataplane::Carrier> carrier_;  // since watch()
    std::function<void(const Error&)> give_up_;    // since watch()
    std::atomic<bool> gave_up_ = false;
    std::atomic<bool> alone_ = false;
    Fd watcher_stop_;
    std::thread watcher_;
    mutable std::mutex mutex_;
    bool succeeded_ = false;                         // guarded by mutex_
    std::unique_ptr<relay::HandoverServer> server_;  // last: its thread uses the rest
};

}  // namespace ghostip::cli
