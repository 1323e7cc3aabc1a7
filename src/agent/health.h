// Is the node agent well? What the health pages say. Thread-safe: the sync loop tells, HTTP servers ask.
//
// Only the way from a change to the kernel counts: a family is unhealthy when something waits there for too long. What
// an API server does or a watch lacks is not asked, or its outage would take every node out of every load balancer.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "http/message.h"
#include "net/address.h"

namespace ghostip::agent {

// The same moment on both clocks: one counts, the other is for people.
struct Moment {
    std::chrono::steady_clock::time_point steady;
    std::chrono::system_clock::time_point wall;

    [[nodiscard]] static Moment now() { return {std::chrono::steady_clock::now(), std::chrono::system_clock::now()}; }
};

// May load balancers send to this node, going by its Node object?
enum class NodeState : std::uint8_t {
    kEligible,
    kLeaving,  // deletion has begun, or the cluster autoscaler's taint says that it will
    kUnknown,  // not seen (yet), or gone
};

enum class NodeObject : std::uint8_t {
    kExpected,  // a cluster has one for each node
    kOptional,  // manifests may lack it: an unknown node is eligible
};

struct HealthSettings {
    std::chrono::nanoseconds sync_period{std::chrono::seconds(30)};
    NodeObject node_object = NodeObject::kOptional;
};

class Health {
  public:
    using Clock = std::function<Moment()>;
    explicit Health(HealthSettings settings = {}, Clock clock = Moment::now)
        : settings_(settings), clock_(std::move(clock)) {}

    using SteadyTime = std::chrono::steady_clock::time_point;
    // A change waits to get into the kernel. The first one since updated() counts. Returns the moment that it noted.
    SteadyTime queued(net::Family family);
    // All that waited is in the kernel, but for what came at `still_waiting` or later; also to be called when the loop
    // of the family starts.
    void updated(net::Family family, std::optional<SteadyTime> still_waiting = std::nullopt);
    void set_node(NodeState state);
    // The first sync is done: everything known at the start is in the kernel.
    void synced();

    // Nothing waits for too long (twice the sync period), in any family.
    [[nodiscard]] bool healthy() const;

    [[nodiscard]] http::Response healthz() const;  // healthy, and the node is eligible
    [[nodiscard]] http::Response livez() const;    // healthy
    [[nodiscard]] http::Response readyz() const;   // after synced()

  private:
    using WallTime = std::chrono::system_clock::time_point;
    enum class Page : std::uint8_t { kHealthz, kLivez };
    struct FamilyState {
        std::optional<WallTime> last_updated;
        std::optional<SteadyTime> oldest_pending;
    };
    [[nodiscard]] bool in_time(const FamilyState& state, const Moment& now) const;
    [[nodiscard]] http::Response page(Page page) const;

    const HealthSettings settings_;
    const Clock clock_;

    mutable std::mutex mutex_;
    std::map<net::Family, FamilyState> families_;  // guarded by mutex_
    NodeState node_ = NodeState::kUnknown;         // guarded by mutex_
    bool synced_ = false;                          // guarded by mutex_
};

}  // namespace ghostip::agent
