// The objects of a cluster, from its API server: the ObjectSource of a node agent. Four reflectors and the poster of
// events share one transport and one thread.
//
// The queue is marked as synced once the Services, the EndpointSlices and this node's Node (or that there is none) have
// been listed. ServiceCIDRs never hold that up: old clusters do not have them, and roles may forbid them.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "api/source.h"
#include "source/kubernetes/event_poster.h"
#include "source/kubernetes/reflector.h"

namespace ghostip::source::kubernetes {

struct KubernetesSourceOptions {
    std::string node_name;
    ReflectorOptions reflector;  // of each
    EventReporter reporter;
    // Of all; without a `random` the source has one of its own. stats() asks the clock on its caller's thread.
    Seams seams = {};
};

struct KubernetesStats {
    ReflectorStats nodes;
    ReflectorStats services;
    ReflectorStats endpoint_slices;
    ReflectorStats service_cidrs;
    EventStats events;
};

class KubernetesSource final : public api::ObjectSource, private ReflectorListener {
  public:
    // Both are called on the source's thread.
    using OnLog = std::function<void(log::Level, const std::string&)>;
    using OnHeld = std::function<void(const HeldRemoval&)>;

    KubernetesSource(KubernetesSourceOptions options, std::unique_ptr<Transport> transport, OnLog on_log,
                     OnHeld on_held);
    ~KubernetesSource() override { stop(); }
    KubernetesSource(const KubernetesSource&) = delete;
    KubernetesSource& operator=(const KubernetesSource&) = delete;

    // Does not wait for the server, and does not fail because of it.
    [[nodiscard]] Result<void> start(api::ChangeQueue& queue) override;
    // Gives up all requests, and events that are not written yet.
    void stop() override;

    // From any thread, from construction on.
    void post(Event event) { poster_.post(std::move(event)); }
    [[nodiscard]] KubernetesStats stats() const;

  private:
    void run();
    void publish_stats();
    [[nodiscard]] std::chrono::milliseconds until_due() const;

    void changed(std::vector<api::Change> changes) override { queue_->push(std::move(changes)); }
    void synced(api::Kind kind) override;
    void held(const HeldRemoval& removal) override { on_held_(removal); }
    void say(log::Level level, std::string text) override { on_log_(level, text); }

    const KubernetesSourceOptions options_;
    const std::unique_ptr<Transport> transport_;
    const OnLog on_log_;
    const OnHeld on_held_;
    const std::function<double()> random_;
    EventPoster poster_;
    std::thread thread_;
    std::atomic<bool> stopping_ = false;

    // Owned by the thread once it runs.
    api::ChangeQueue* queue_ = nullptr;
    std::array<std::unique_ptr<Reflector>, 4> reflectors_;  // nodes, services, endpoint slices, service CIDRs
    std::set<api::Kind> awaited_{api::Kind::kNode, api::Kind::kService, api::Kind::kEndpointSlice};

    mutable std::mutex mutex_;
    std::array<ReflectorStats, 4> stats_;  // guarded by mutex_; as reflectors_
    Clock::time_point stats_at_;           // guarded by mutex_
};

}  // namespace ghostip::source::kubernetes
